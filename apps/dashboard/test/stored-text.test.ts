import { describe, expect, it } from 'vitest';
import { storedText } from '../src/page/stored-text.js';

const blocked = (): never => {
  throw new DOMException('The operation is insecure.', 'SecurityError');
};

describe('a stored text', () => {
  it('is held by the page while storage is blocked', () => {
    const text = storedText(blocked, 'key');
    expect(text.read()).toBeUndefined();
    expect(text.write('text')).toBe(false);
    expect(text.read()).toBe('text');
    text.forget();
    expect(text.read()).toBeUndefined();
  });

  it('survives the page otherwise', () => {
    const stored = new Map<string, string>();
    const area = () => ({
      getItem: (key: string) => stored.get(key) ?? null,
      setItem: (key: string, text: string) => void stored.set(key, text),
      removeItem: (key: string) => void stored.delete(key),
    });
    expect(storedText(area, 'key').write('text')).toBe(true);
    expect(storedText(area, 'key').read()).toBe('text');
    storedText(area, 'key').forget();
    expect(storedText(area, 'key').read()).toBeUndefined();
  });

  it('that a full storage did not accept replaces the stored one', () => {
    const area = () => ({ getItem: () => 'old', setItem: blocked, removeItem: () => undefined });
    const text = storedText(area, 'key');
    text.write('new');
    expect(text.read()).toBe('new');
  });
});

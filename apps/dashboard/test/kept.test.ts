import { describe, expect, it } from 'vitest';
import { keep } from '../src/page/kept.js';

const blocked = (): never => {
  throw new DOMException('The operation is insecure.', 'SecurityError');
};

describe('a text that is kept', () => {
  it('is held by the page where storage is blocked', () => {
    const kept = keep(blocked, 'key');
    expect(kept.read()).toBeUndefined();
    kept.write('text');
    expect(kept.read()).toBe('text');
    kept.forget();
    expect(kept.read()).toBeUndefined();
  });

  it('outlives the page where it is not', () => {
    const stored = new Map<string, string>();
    const area = () => ({
      getItem: (key: string) => stored.get(key) ?? null,
      setItem: (key: string, text: string) => void stored.set(key, text),
      removeItem: (key: string) => void stored.delete(key),
    });
    keep(area, 'key').write('text');
    expect(keep(area, 'key').read()).toBe('text');
    keep(area, 'key').forget();
    expect(keep(area, 'key').read()).toBeUndefined();
  });

  it('that a full storage did not take is the newer one', () => {
    const area = () => ({ getItem: () => 'old', setItem: blocked, removeItem: () => undefined });
    const kept = keep(area, 'key');
    kept.write('new');
    expect(kept.read()).toBe('new');
  });
});

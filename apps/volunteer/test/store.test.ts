import { afterEach, describe, expect, it, vi } from 'vitest';
import { DEFAULT_SETTINGS } from '../src/decisions/settings.js';
import { store } from '../src/page/store.js';

describe('the store of the page', () => {
  afterEach(() => void vi.unstubAllGlobals());

  it('holds settings, language and credit for the page while storage is blocked', () => {
    vi.stubGlobal('localStorage', undefined);
    Object.defineProperty(globalThis, 'localStorage', {
      configurable: true,
      get: () => {
        throw new DOMException('The operation is insecure.', 'SecurityError');
      },
    });
    expect([store.settings(), store.language()]).toEqual([DEFAULT_SETTINGS, null]);
    store.saveSettings({ ...DEFAULT_SETTINGS, share: 30 });
    store.saveLanguage('zh');
    store.addCredit(1_000, 2);
    expect([store.settings().share, store.language()]).toEqual([30, 'zh']);
    expect(store.addCredit(500, 1).characters).toBe(1_500);
  });
});

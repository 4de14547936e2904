import { afterEach, expect, it, vi } from 'vitest';
import { masksNatively } from '../src/websocket/index.js';

afterEach(() => void vi.unstubAllEnvs());

it('finds the native code that masks frames, which is installed with the package', () => {
  expect(masksNatively()).toBe(true);
});

it('says that JavaScript masks frames where the native code is turned off', () => {
  vi.stubEnv('WS_NO_BUFFER_UTIL', '1');
  expect(masksNatively()).toBe(false);
});

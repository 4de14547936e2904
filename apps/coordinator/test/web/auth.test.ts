import type { IncomingMessage } from 'node:http';
import { describe, expect, it } from 'vitest';
import { bearer, createAuth } from '../../src/web/auth.js';

const SECRETS = {
  token: 'worker secret',
  adminToken: 'admin secret',
  metricsToken: 'metrics secret',
};
const closed = createAuth({ ...SECRETS, public: false });
const open = createAuth({ ...SECRETS, public: true });
const refused = (code: string) => expect.objectContaining({ name: 'ApiFailure', code, remedy: expect.stringMatching(/./) });
const request = (headers: Record<string, string>) => ({ headers }) as unknown as IncomingMessage;

describe('tokens', () => {
  it('of admins grant everything', () => {
    for (const need of ['worker', 'join', 'metrics', 'read', 'admin'] as const)
      expect(closed.admit('admin secret', need)).toEqual(['read', 'admin']);
  });

  it('of workers grant the run, and nothing else', () => {
    expect(closed.admit('worker secret', 'worker')).toEqual([]);
    expect(closed.admit('worker secret', 'join')).toEqual([]);
    expect(() => closed.admit('worker secret', 'read')).toThrow(refused('wrong_token'));
    expect(() => closed.admit('worker secret', 'admin')).toThrow(refused('wrong_token'));
  });

  it('for metrics grant metrics, and nothing else', () => {
    expect(closed.admit('metrics secret', 'metrics')).toEqual([]);
    for (const need of ['worker', 'join', 'read', 'admin'] as const)
      expect(() => closed.admit('metrics secret', need)).toThrow(refused('wrong_token'));
    expect(() => closed.admit('worker secret', 'metrics')).toThrow(refused('wrong_token'));
    const none = createAuth({ ...SECRETS, metricsToken: undefined, public: false });
    expect(() => none.admit('', 'metrics')).toThrow(refused('wrong_token'));
  });

  it('are not needed to read a public run, but to control it', () => {
    expect(open.admit(undefined, 'read')).toEqual(['read']);
    expect(open.admit('worker secret', 'read')).toEqual(['read']);
    expect(() => open.admit(undefined, 'admin')).toThrow(refused('no_token'));
  });

  it('are needed to join a public run', () => {
    expect(open.admit('worker secret', 'join')).toEqual(['read']);
    expect(() => open.admit(undefined, 'join')).toThrow(refused('no_token'));
    expect(() => open.admit('metrics secret', 'join')).toThrow(refused('wrong_token'));
  });

  it.each(['', 'admin secre', 'admin secret ', 'ADMIN SECRET', 'x'.repeat(100_000)])(
    'that are wrong grant nothing: %.20s',
    (token) => {
      for (const auth of [closed, open]) {
        for (const need of ['worker', 'join', 'metrics', 'read', 'admin'] as const)
          expect(() => auth.admit(token, need)).toThrow(refused('wrong_token'));
      }
    },
  );

  it('are required', () => {
    expect(() => closed.admit(undefined, 'worker')).toThrow(refused('no_token'));
  });

  it('are sent as bearer tokens', () => {
    expect(bearer(request({}))).toBeUndefined();
    expect(bearer(request({ authorization: 'Bearer abc' }))).toBe('abc');
    expect(bearer(request({ authorization: 'bearer  abc ' }))).toBe('abc');
    expect(bearer(request({ authorization: 'Basic abc' }))).toBe('');
  });
});

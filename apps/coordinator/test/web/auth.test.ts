import type { IncomingMessage } from 'node:http';
import os from 'node:os';
import { describe, expect, it } from 'vitest';
import { bearer, createAuth } from '../../src/web/auth.js';
import { createForwarded } from '../../src/server/forwarded.js';

const SECRETS = {
  token: 'worker secret',
  adminToken: 'admin secret',
  allowedHosts: ['train.example.org', 'proxy.example.org:8443'],
  forwarded: createForwarded(false),
};
const closed = createAuth({ ...SECRETS, public: false });
const open = createAuth({ ...SECRETS, public: true });
const refused = (code: string) => expect.objectContaining({ name: 'ApiFailure', code, remedy: expect.stringMatching(/./) });
const request = (headers: Record<string, string>) => ({ headers }) as unknown as IncomingMessage;

describe('tokens', () => {
  it('of an admin open everything', () => {
    for (const need of ['worker', 'read', 'admin'] as const)
      expect(closed.admit('admin secret', need)).toEqual(['read', 'admin']);
  });

  it('of workers open the run, and nothing else', () => {
    expect(closed.admit('worker secret', 'worker')).toEqual([]);
    expect(() => closed.admit('worker secret', 'read')).toThrow(refused('wrong_token'));
    expect(() => closed.admit('worker secret', 'admin')).toThrow(refused('wrong_token'));
  });

  it('are not needed to read a public run, but to steer it', () => {
    expect(open.admit(undefined, 'read')).toEqual(['read']);
    expect(open.admit('worker secret', 'read')).toEqual(['read']);
    expect(() => open.admit(undefined, 'admin')).toThrow(refused('no_token'));
  });

  it.each(['', 'admin secre', 'admin secret ', 'ADMIN SECRET', 'x'.repeat(100_000)])(
    'that are wrong open nothing: %.20s',
    (token) => {
      for (const auth of [closed, open]) {
        for (const need of ['worker', 'read', 'admin'] as const)
          expect(() => auth.admit(token, need)).toThrow(refused('wrong_token'));
      }
    },
  );

  it('are missed where there is none', () => {
    expect(() => closed.admit(undefined, 'worker')).toThrow(refused('no_token'));
  });

  it('come as bearers', () => {
    expect(bearer(request({}))).toBeUndefined();
    expect(bearer(request({ authorization: 'Bearer abc' }))).toBe('abc');
    expect(bearer(request({ authorization: 'bearer  abc ' }))).toBe('abc');
    expect(bearer(request({ authorization: 'Basic abc' }))).toBe('');
  });
});

describe('a request', () => {
  it.each([
    '127.0.0.1:7070',
    '[::1]:7070',
    '10.1.2.3',
    'localhost:7070',
    'LOCALHOST',
    'x.localhost',
    `${os.hostname()}:7070`,
    'train.example.org',
    'proxy.example.org:8443',
    'proxy.example.org',
  ])('to a name of ours may come in: %s', (host) => {
    expect(() => closed.checkSite(request({ host }))).not.toThrow();
  });

  it.each([
    'evil.example',
    'evil.example:7070',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    'train.example.org.evil',
    '',
  ])('to a name that only leads here is turned down: %s', (host) => {
    expect(() => closed.checkSite(request({ host }))).toThrow(refused('unknown_host'));
  });

  it('from a page of another site is turned down', () => {
    const host = '127.0.0.1:7070';
    for (const origin of ['http://evil.example', 'null', 'http://127.0.0.1:7071', 'nonsense']) {
      expect(() => closed.checkSite(request({ host, origin }))).toThrow(refused('other_site'));
    }
    for (const origin of ['http://127.0.0.1:7070', 'https://127.0.0.1:7070']) {
      expect(() => closed.checkSite(request({ host, origin }))).not.toThrow();
    }
  });

  it('may come from a page under a name that is allowed, which a proxy has not handed on', () => {
    const host = '127.0.0.1:7070';
    expect(() => closed.checkSite(request({ host, origin: 'https://train.example.org' }))).not.toThrow();
    const lax = createAuth({ ...SECRETS, public: false, allowedHosts: ['*'] });
    expect(() => lax.checkSite(request({ host, origin: 'https://evil.example' }))).toThrow(refused('other_site'));
  });

  it('may come under a name of the certificate, as it is now', () => {
    const names = ['lab.example'];
    const auth = createAuth({ ...SECRETS, public: false, certified: () => names });
    const [before, after] = ['lab.example:7070', 'new.example:7070'].map((host) => request({ host, origin: `https://${host}` }));
    expect(() => auth.checkSite(before)).not.toThrow();
    expect(() => auth.checkSite(after)).toThrow(refused('unknown_host'));
    names.splice(0, 1, 'new.example');
    expect(() => auth.checkSite(after)).not.toThrow();
    expect(() => auth.checkSite(before)).toThrow(refused('unknown_host'));
  });

  it('is judged by the name that a proxy tells, where there is one', () => {
    const asked = request({ host: '127.0.0.1:7070', 'x-forwarded-host': 'evil.example', origin: 'https://evil.example' });
    const behind = createAuth({ ...SECRETS, public: false, forwarded: createForwarded(true) });
    expect(() => behind.checkSite(asked)).toThrow(refused('unknown_host'));
    expect(() => closed.checkSite(asked)).toThrow(refused('other_site'));
    const headers = { host: 'coordinator:7070', origin: 'https://train.example.org' };
    expect(() => behind.checkSite(request({ ...headers, 'x-forwarded-host': 'train.example.org' }))).not.toThrow();
    expect(() => closed.checkSite(request({ ...headers, 'x-forwarded-host': 'train.example.org' }))).toThrow(
      refused('unknown_host'),
    );
  });

  it('may come under any name where that is allowed', () => {
    const lax = createAuth({ ...SECRETS, public: false, allowedHosts: ['*'] });
    expect(() => lax.checkSite(request({ host: 'anything.example' }))).not.toThrow();
  });
});

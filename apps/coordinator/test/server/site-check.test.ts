import type { IncomingMessage } from 'node:http';
import os from 'node:os';
import { describe, expect, it } from 'vitest';
import { createForwarded } from '../../src/server/forwarded.js';
import { createSiteCheck } from '../../src/server/site-check.js';

const OPTIONS = {
  allowedHosts: ['train.example.org', 'proxy.example.org:8443'],
  forwarded: createForwarded(0),
};
const checkSite = createSiteCheck(OPTIONS);
const refused = (code: string) => expect.objectContaining({ name: 'ApiFailure', code, remedy: expect.stringMatching(/./) });
const request = (headers: Record<string, string>) => ({ headers }) as unknown as IncomingMessage;

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
  ])('to a name of this server is accepted: %s', (host) => {
    expect(() => checkSite(request({ host }))).not.toThrow();
  });

  it.each([
    'evil.example',
    'evil.example:7070',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    'train.example.org.evil',
    '',
  ])('to another name that leads here is refused: %s', (host) => {
    expect(() => checkSite(request({ host }))).toThrow(refused('unknown_host'));
  });

  it('from a page of another site is refused', () => {
    const host = '127.0.0.1:7070';
    for (const origin of ['http://evil.example', 'null', 'http://127.0.0.1:7071', 'nonsense']) {
      expect(() => checkSite(request({ host, origin }))).toThrow(refused('other_site'));
    }
    for (const origin of ['http://127.0.0.1:7070', 'https://127.0.0.1:7070']) {
      expect(() => checkSite(request({ host, origin }))).not.toThrow();
    }
  });

  it('is accepted from a page under an allowed name that a proxy has not forwarded', () => {
    const host = '127.0.0.1:7070';
    expect(() => checkSite(request({ host, origin: 'https://train.example.org' }))).not.toThrow();
    const lax = createSiteCheck({ ...OPTIONS, allowedHosts: ['*'] });
    expect(() => lax(request({ host, origin: 'https://evil.example' }))).toThrow(refused('other_site'));
  });

  it('is accepted under a name in the current certificate', () => {
    const names = ['lab.example'];
    const certified = createSiteCheck({ ...OPTIONS, certified: () => names });
    const [before, after] = ['lab.example:7070', 'new.example:7070'].map((host) => request({ host, origin: `https://${host}` }));
    expect(() => certified(before)).not.toThrow();
    expect(() => certified(after)).toThrow(refused('unknown_host'));
    names.splice(0, 1, 'new.example');
    expect(() => certified(after)).not.toThrow();
    expect(() => certified(before)).toThrow(refused('unknown_host'));
  });

  it('is checked by the name that a proxy reports', () => {
    const asked = request({ host: '127.0.0.1:7070', 'x-forwarded-host': 'evil.example', origin: 'https://evil.example' });
    const behind = createSiteCheck({ ...OPTIONS, forwarded: createForwarded(1) });
    expect(() => behind(asked)).toThrow(refused('unknown_host'));
    expect(() => checkSite(asked)).toThrow(refused('other_site'));
    const headers = { host: 'coordinator:7070', origin: 'https://train.example.org' };
    expect(() => behind(request({ ...headers, 'x-forwarded-host': 'train.example.org' }))).not.toThrow();
    expect(() => checkSite(request({ ...headers, 'x-forwarded-host': 'train.example.org' }))).toThrow(refused('unknown_host'));
  });

  it('is accepted under any name if that is allowed', () => {
    const lax = createSiteCheck({ ...OPTIONS, allowedHosts: ['*'] });
    expect(() => lax(request({ host: 'anything.example' }))).not.toThrow();
  });
});

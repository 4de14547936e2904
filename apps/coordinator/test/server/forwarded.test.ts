import type { IncomingMessage } from 'node:http';
import { describe, expect, it } from 'vitest';
import { createForwarded } from '../../src/server/forwarded.js';

const PROXY = '10.0.0.1';
const request = (headers: Record<string, string>, encrypted?: boolean): IncomingMessage =>
  ({ headers, socket: { remoteAddress: PROXY, encrypted } }) as unknown as IncomingMessage;

describe('without a proxy', () => {
  const forwarded = createForwarded(0);

  it('headers of a client are ignored', () => {
    const claimed = request({
      host: 'Lab.example:7070',
      'x-forwarded-for': '203.0.113.7',
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'evil.example',
    });
    expect(forwarded.forwardedFor(claimed)).toBeUndefined();
    expect([forwarded.address(claimed), forwarded.scheme(claimed), forwarded.host(claimed)]).toEqual([
      PROXY,
      'http',
      'lab.example:7070',
    ]);
  });

  it('a TLS socket is https', () => {
    expect(forwarded.scheme(request({}, true))).toBe('https');
  });
});

describe('behind a proxy', () => {
  const forwarded = createForwarded(1);

  it('its headers are trusted', () => {
    const proxied = request({
      host: '127.0.0.1:7070',
      'x-forwarded-for': '203.0.113.7',
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'Train.example.org',
    });
    expect([forwarded.address(proxied), forwarded.scheme(proxied), forwarded.host(proxied)]).toEqual([
      '203.0.113.7',
      'https',
      'train.example.org',
    ]);
  });

  it('the last of several entries counts; the others are claims of the client', () => {
    const proxied = request({
      'x-forwarded-for': '127.0.0.1, 203.0.113.7',
      'x-forwarded-proto': 'http, https',
      'x-forwarded-host': 'localhost, train.example.org',
    });
    expect([forwarded.address(proxied), forwarded.scheme(proxied), forwarded.host(proxied)]).toEqual([
      '203.0.113.7',
      'https',
      'train.example.org',
    ]);
  });

  it.each([
    ['2001:db8::7', '2001:db8::7'],
    ['[2001:db8::7]:443', '2001:db8::7'],
    ['203.0.113.7:51234', '203.0.113.7'],
    ['unknown', PROXY],
    ['', PROXY],
    ['203.0.113.7, <script>', PROXY],
    ['x'.repeat(100_000), PROXY],
  ])('an invalid address is replaced by that of the socket: %.20s', (header, address) => {
    expect(forwarded.address(request({ 'x-forwarded-for': header }))).toBe(address);
  });

  it('what it does not report is taken from the request', () => {
    const bare = request({ host: 'train.example.org', 'x-forwarded-proto': 'gopher' }, true);
    expect([forwarded.address(bare), forwarded.scheme(bare), forwarded.host(bare)]).toEqual([
      PROXY,
      'https',
      'train.example.org',
    ]);
  });
});

describe('behind two proxies', () => {
  const forwarded = createForwarded(2);

  it('the entries of the outer one count', () => {
    const proxied = request({
      'x-forwarded-for': '9.9.9.9, 203.0.113.7, 10.0.0.2',
      'x-forwarded-proto': 'http, https, http',
      'x-forwarded-host': 'evil.example, train.example.org, inner:8080',
    });
    expect([forwarded.address(proxied), forwarded.scheme(proxied), forwarded.host(proxied)]).toEqual([
      '203.0.113.7',
      'https',
      'train.example.org',
    ]);
  });

  it('an entry that the inner one replaces counts', () => {
    const proxied = request({ 'x-forwarded-proto': 'https', 'x-forwarded-host': 'train.example.org' });
    expect([forwarded.scheme(proxied), forwarded.host(proxied)]).toEqual(['https', 'train.example.org']);
  });
});

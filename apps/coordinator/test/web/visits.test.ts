import type { IncomingMessage } from 'node:http';
import { describe, expect, it } from 'vitest';
import { createVisits } from '../../src/web/visits.js';

const PROXY = '10.0.0.1';
const request = (headers: Record<string, string>, encrypted?: boolean): IncomingMessage =>
  ({ headers, socket: { remoteAddress: PROXY, encrypted } }) as unknown as IncomingMessage;

describe('without a proxy', () => {
  const visits = createVisits(false);

  it('what a client claims to be changes nothing', () => {
    const claimed = request({
      host: 'Lab.example:7070',
      'x-forwarded-for': '203.0.113.7',
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'evil.example',
    });
    expect(visits.forwardedFor(claimed)).toBeUndefined();
    expect([visits.address(claimed), visits.scheme(claimed), visits.host(claimed)]).toEqual([PROXY, 'http', 'lab.example:7070']);
  });

  it('a socket with a certificate is https', () => {
    expect(visits.scheme(request({}, true))).toBe('https');
  });
});

describe('behind a proxy', () => {
  const visits = createVisits(true);

  it('its word holds', () => {
    const forwarded = request({
      host: '127.0.0.1:7070',
      'x-forwarded-for': '203.0.113.7',
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'Train.example.org',
    });
    expect([visits.address(forwarded), visits.scheme(forwarded), visits.host(forwarded)]).toEqual([
      '203.0.113.7',
      'https',
      'train.example.org',
    ]);
  });

  it('of several entries the last one counts: those before it are claims of the client', () => {
    const forwarded = request({
      'x-forwarded-for': '127.0.0.1, 203.0.113.7',
      'x-forwarded-proto': 'http, https',
      'x-forwarded-host': 'localhost, train.example.org',
    });
    expect([visits.address(forwarded), visits.scheme(forwarded), visits.host(forwarded)]).toEqual([
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
  ])('an address is one, or it is that of the socket: %.20s', (header, address) => {
    expect(visits.address(request({ 'x-forwarded-for': header }))).toBe(address);
  });

  it('what it does not tell is taken from the request', () => {
    const bare = request({ host: 'train.example.org', 'x-forwarded-proto': 'gopher' }, true);
    expect([visits.address(bare), visits.scheme(bare), visits.host(bare)]).toEqual([PROXY, 'https', 'train.example.org']);
  });
});

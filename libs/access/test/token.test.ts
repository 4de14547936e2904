import { createHmac } from 'node:crypto';
import { LIMITS } from '@troupe/config';
import { describe, expect, it } from 'vitest';
import { isSigned, MAX_LINKS, SCOPES, sign, verify, type Claims } from '../src/token.js';

const key = { secret: new Uint8Array(32).fill(1) };
const other = { secret: new Uint8Array(32).fill(2) };
const CLAIMS: Claims = { id: '0123456789', scope: 'worker', expiresAtS: 1_770_000_000, maxLinks: 40 };

/** The token with other claims under the old signature. */
function forged(token: string, claims: string): string {
  const [prefix, , signature] = token.split('.');
  return [prefix, Buffer.from(claims).toString('base64url'), signature].join('.');
}

describe('a signed token', () => {
  it.each(SCOPES)('of a %s is verified by the key that signed it, and by no other', (scope) => {
    const token = sign({ ...CLAIMS, scope }, key.secret);
    expect(verify(token, [other, key])).toEqual({ claims: { ...CLAIMS, scope }, key });
    expect(verify(token, [other])).toBeUndefined();
    expect(verify(token, [])).toBeUndefined();
  });

  it('is recognisable, needs no quoting, and fits the messages of the protocol with its largest claims', () => {
    const token = sign({ id: 'ffffffffff', scope: 'volunteer', expiresAtS: 99_999_999_999, maxLinks: MAX_LINKS }, key.secret);
    expect(isSigned(token)).toBe(true);
    expect(token).toMatch(/^troupe_v1\.[\w-]+\.[\w-]{43}$/);
    expect(token.length).toBeLessThanOrEqual(LIMITS.tokenLength);
  });

  it('is the HMAC-SHA-256 of prefix and claims', () => {
    // The expected value comes from: printf %s "$SIGNED" | openssl dgst -sha256 -mac HMAC -macopt hexkey:$KEY
    const token = sign({ id: '0123456789', scope: 'viewer', expiresAtS: 1 }, key.secret);
    const [, claims] = token.split('.');
    expect(Buffer.from(claims, 'base64url').toString()).toBe('{"id":"0123456789","scope":"viewer","exp":1}');
    expect(Buffer.from(token.split('.')[2], 'base64url').toString('hex')).toBe(
      'dca69ce81032a7baf2764a1a9f12dab648f7879c244fc31a01c462f7aa5a52c8',
    );
  });

  it('is not valid with other claims, another signature or another form', () => {
    const token = sign(CLAIMS, key.secret);
    const changed = JSON.stringify({ id: CLAIMS.id, scope: 'admin', exp: CLAIMS.expiresAtS });
    const last = token.at(-1) === 'A' ? 'B' : 'A';
    const wrong = [
      forged(token, changed),
      token.slice(0, -1) + last,
      token.slice(0, -1),
      `${token}A`,
      `${token}=`,
      ` ${token}`,
      token.replace('troupe_v1.', 'troupe_v2.'),
      token.replace('troupe_v1.', ''),
      'troupe_v1.',
      'troupe_v1..',
      '',
      `troupe_v1.${'A'.repeat(1_000_000)}.${'A'.repeat(43)}`,
    ];
    for (const text of wrong) expect(verify(text, [key])).toBeUndefined();
  });

  it.each([
    '[]',
    'null',
    '{',
    '{"id":"0123456789","scope":"root","exp":1}',
    '{"id":"../../etc","scope":"worker","exp":1}',
    '{"id":"0123456789","scope":"worker","exp":-1}',
    '{"id":"0123456789","scope":"worker","exp":1e99}',
    '{"id":"0123456789","scope":"worker","exp":1,"links":0}',
    '{"id":"0123456789","scope":"worker","exp":1,"more":1}',
  ])('is not valid with claims that make no sense, even if they are signed: %s', (claims) => {
    expect(verify(signText(claims), [key])).toBeUndefined();
  });
});

describe('texts that are no signed tokens', () => {
  it.each(['', 'secret', 'troupe', 'troupe_v1', 'TROUPE_V1.a.b'])('%j', (text) => {
    expect(isSigned(text)).toBe(false);
  });
});

function signText(claims: string): string {
  // Signs any claims: the claims of `sign` are always right.
  const signed = `troupe_v1.${Buffer.from(claims).toString('base64url')}`;
  return `${signed}.${createHmac('sha256', key.secret).update(signed).digest('base64url')}`;
}

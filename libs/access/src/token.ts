/**
 * A signed token: `troupe_v1.CLAIMS.SIGNATURE`. CLAIMS is JSON and SIGNATURE the HMAC-SHA-256 (RFC 2104) of everything before it, both in
 * base64url (RFC 4648, section 5), so a token needs no quoting in a link, a header or a shell. It holds no secret but its signature.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { LIMITS } from '@troupe/config/limits';
import * as v from 'valibot';

/** The version is part of the prefix: another format is another prefix. */
export const TOKEN_PREFIX = 'troupe_v1.';

/**
 * What a token is for. `worker`: join from Node or a browser · `volunteer`: join from the page for volunteers · `viewer`: read what
 * the dashboard shows · `admin`: everything.
 */
export const SCOPES = ['worker', 'volunteer', 'viewer', 'admin'] as const;
export type Scope = (typeof SCOPES)[number];

/** Links that a token may have at a time. */
export const MAX_LINKS = 1_000_000;

export interface Claims {
  /** Names the token in lists and logs. Not secret. */
  readonly id: string;
  readonly scope: Scope;
  /** Unix time, s. */
  readonly expiresAtS: number;
  /** How many links it may have at a time. Absent: any number. */
  readonly maxLinks?: number | undefined;
}

export const idSchema = v.pipe(v.string(), v.regex(/^[0-9a-f]{10}$/));
export const scopeSchema = v.picklist(SCOPES);
export const maxLinksSchema = v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(MAX_LINKS)));

const ClaimsSchema = v.strictObject({
  id: idSchema,
  scope: scopeSchema,
  exp: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  links: maxLinksSchema,
});

/** Bytes of a signature, and of the secrets that sign. */
export const SECRET_BYTES = 32;
const FORMAT = /^(troupe_v1\.([\w-]+))\.([\w-]{43})$/;

/** Whether a text claims to be a signed token. No other token may begin so. */
export function isSigned(text: string): boolean {
  return text.startsWith(TOKEN_PREFIX);
}

/** @param secret SECRET_BYTES bytes */
export function sign({ id, scope, expiresAtS, maxLinks }: Claims, secret: Uint8Array): string {
  const claims = JSON.stringify({ id, scope, exp: expiresAtS, links: maxLinks });
  const signed = TOKEN_PREFIX + Buffer.from(claims).toString('base64url');
  return `${signed}.${signatureOf(signed, secret)}`;
}

/**
 * Finds the secret that signed a token, in time that does not depend on how much of the signature is right.
 * @returns undefined if none did. The claims are read only once the signature is verified
 */
export function verify<K extends { readonly secret: Uint8Array }>(
  text: string,
  keys: readonly K[],
): { readonly claims: Claims; readonly key: K } | undefined {
  const [, signed, claims, signature] = (text.length <= LIMITS.tokenLength && FORMAT.exec(text)) || [];
  if (signed === undefined) return undefined;
  const given = Buffer.from(signature);
  const key = keys.find(({ secret }) => timingSafeEqual(given, Buffer.from(signatureOf(signed, secret))));
  return key && withClaims(claims, key);
}

function withClaims<K>(text: string, key: K): { readonly claims: Claims; readonly key: K } | undefined {
  const result = v.safeParse(v.pipe(v.string(), v.parseJson(), ClaimsSchema), Buffer.from(text, 'base64url').toString('utf8'));
  if (!result.success) return undefined;
  const { id, scope, exp, links } = result.output;
  return { claims: { id, scope, expiresAtS: exp, maxLinks: links }, key };
}

function signatureOf(signed: string, secret: Uint8Array): string {
  return createHmac('sha256', secret).update(signed).digest('base64url');
}

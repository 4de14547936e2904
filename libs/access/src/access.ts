/** The signing keys of a coordinator and the tokens that they have signed. Every change is a pure function of the state before. */
import { sign, verify, type Claims, type Scope } from './token.js';

/** `signing`: signs new tokens, one key does · `verifying`: its tokens are valid until they expire · `revoked`: they are not. */
export const KEY_STATES = ['signing', 'verifying', 'revoked'] as const;

export interface SigningKey {
  readonly id: string;
  readonly secret: Uint8Array;
  /** Unix time, ms. */
  readonly createdAtMs: number;
  readonly state: (typeof KEY_STATES)[number];
}

/** What is known of a token. The token itself is kept nowhere. */
export interface TokenEntry {
  readonly id: string;
  readonly keyId: string;
  readonly scope: Scope;
  readonly label: string;
  readonly createdAtMs: number;
  readonly expiresAtMs: number;
  /** Absent: any number. */
  readonly maxLinks?: number | undefined;
  /** Absent: it is not revoked. */
  readonly revokedAtMs?: number | undefined;
}

export interface AccessState {
  readonly keys: readonly SigningKey[];
  readonly tokens: readonly TokenEntry[];
}

export const NO_ACCESS: AccessState = { keys: [], tokens: [] };

/** The largest state. A coordinator tries every key for every token that it is shown. */
export const MAX_KEYS = 8;
export const MAX_TOKENS = 10_000;
/** How long the list keeps a token that has expired. */
const KEEP_MS = 30 * 86_400_000;

/** A change that is not possible. */
export class AccessError extends Error {
  override readonly name = 'AccessError';
  readonly code: 'no_such_token' | 'too_many_tokens' | 'too_many_keys' | 'bad_access_file' | 'cannot_write';
  readonly remedy: string;
  constructor(code: AccessError['code'], message: string, remedy: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.remedy = remedy;
  }
}

/** What a change takes from outside. */
export interface Chance {
  /** Unix time, ms. */
  readonly nowMs: number;
  random(bytes: number): Uint8Array;
}

export interface TokenRequest {
  readonly scope: Scope;
  readonly label: string;
  readonly lifetimeMs: number;
  readonly maxLinks?: number | undefined;
}

/** Signs a token; with the first one comes the first key. @throws AccessError `too_many_tokens` */
export function createToken(
  before: AccessState,
  { scope, label, lifetimeMs, maxLinks }: TokenRequest,
  chance: Chance,
): { readonly state: AccessState; readonly token: string; readonly entry: TokenEntry } {
  const { keys, tokens } = withSigningKey(prune(before, chance.nowMs), chance);
  if (tokens.length >= MAX_TOKENS) {
    throw new AccessError(
      'too_many_tokens',
      `there are already ${MAX_TOKENS} tokens`,
      'Use one token for several workers, or another access file: --access-file FILE.',
    );
  }
  const key = keys.find(({ state }) => state === 'signing')!;
  // A token holds its expiry in whole seconds.
  const expiresAtS = Math.ceil((chance.nowMs + lifetimeMs) / 1000);
  const id = hex(chance.random(5));
  const entry: TokenEntry = {
    ...{ id, keyId: key.id, scope, label, createdAtMs: chance.nowMs, expiresAtMs: expiresAtS * 1000 },
    ...(maxLinks === undefined ? {} : { maxLinks }),
  };
  return { state: { keys, tokens: [...tokens, entry] }, token: sign({ id, scope, expiresAtS, maxLinks }, key.secret), entry };
}

/** Revokes tokens by their ids. Those that are revoked already stay so. @throws AccessError `no_such_token`, and revokes none */
export function revokeTokens({ keys, tokens }: AccessState, ids: readonly string[], nowMs: number): AccessState {
  const unknown = ids.find((id) => !tokens.some((token) => token.id === id));
  if (unknown !== undefined) {
    throw new AccessError(
      'no_such_token',
      `no token has the id ${unknown}`,
      'See the ids with: troupe token list. Add --access-file FILE if the coordinator uses another file.',
    );
  }
  return { keys, tokens: tokens.map((token) => (ids.includes(token.id) ? revoked(token, nowMs) : token)) };
}

/**
 * Signs with a new key from now on.
 * @param revokeOld tokens that are signed with earlier keys are no longer valid. This is never refused
 * @throws AccessError `too_many_keys`
 */
export function rotateKeys(before: AccessState, revokeOld: boolean, chance: Chance): AccessState {
  const { keys: needed, tokens } = prune(before, chance.nowMs);
  const keys = withRoom(needed, revokeOld);
  if (keys.length >= MAX_KEYS) {
    throw new AccessError(
      'too_many_keys',
      `${MAX_KEYS} signing keys still have tokens that have not expired`,
      'Wait until some have expired, add --revoke-old, which ends all of them, or begin another access file: --access-file FILE.',
    );
  }
  return {
    keys: [...keys.map((key) => retired(key, revokeOld)), newKey(chance)],
    tokens: revokeOld ? tokens.map((token) => revoked(token, chance.nowMs)) : tokens,
  };
}

/** Without as many of the oldest revoked keys as a new key needs room for: their tokens are then unknown instead of revoked. */
function withRoom(keys: readonly SigningKey[], revokeOld: boolean): readonly SigningKey[] {
  const revokedFirst = [
    ...keys.filter(({ state }) => state === 'revoked'),
    ...(revokeOld ? keys.filter(({ state }) => state !== 'revoked') : []),
  ];
  const dropped = new Set(revokedFirst.slice(0, Math.max(0, keys.length - (MAX_KEYS - 1))));
  return keys.filter((key) => !dropped.has(key));
}

function retired(key: SigningKey, revoke: boolean): SigningKey {
  return { ...key, state: revoke || key.state === 'revoked' ? 'revoked' : 'verifying' };
}

function revoked(token: TokenEntry, nowMs: number): TokenEntry {
  return token.revokedAtMs === undefined ? { ...token, revokedAtMs: nowMs } : token;
}

/** Without tokens that expired long ago, and without the keys that only those needed. */
function prune({ keys, tokens }: AccessState, nowMs: number): AccessState {
  const kept = tokens.filter(({ expiresAtMs }) => expiresAtMs + KEEP_MS > nowMs);
  const needed = new Set(kept.filter(({ expiresAtMs }) => expiresAtMs > nowMs).map(({ keyId }) => keyId));
  return { keys: keys.filter(({ id, state }) => state === 'signing' || needed.has(id)), tokens: kept };
}

function withSigningKey(state: AccessState, chance: Chance): AccessState {
  if (state.keys.some((key) => key.state === 'signing')) return state;
  return { ...state, keys: [...state.keys, newKey(chance)] };
}

function newKey({ nowMs, random }: Chance): SigningKey {
  return { id: hex(random(4)), secret: random(32), createdAtMs: nowMs, state: 'signing' };
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

export type Validity = 'valid' | 'expired' | 'revoked';

export function validityOf({ expiresAtMs, revokedAtMs }: TokenEntry, nowMs: number): Validity {
  if (revokedAtMs !== undefined) return 'revoked';
  return nowMs >= expiresAtMs ? 'expired' : 'valid';
}

/** A token whose signature is right. */
export interface KnownToken extends Claims {
  readonly keyId: string;
}

/** Answers for one state which tokens are valid. */
export interface TokenJudge {
  /** @returns undefined if none of the keys signed it */
  recognise(text: string): KnownToken | undefined;
  /** A token whose key is gone is revoked: somebody removed the key. */
  validity(token: KnownToken, nowMs: number): Validity;
}

export function createTokenJudge({ keys, tokens }: AccessState): TokenJudge {
  const revokedTokens = new Set(tokens.filter(({ revokedAtMs }) => revokedAtMs !== undefined).map(({ id }) => id));
  const goodKeys = new Set(keys.filter(({ state }) => state !== 'revoked').map(({ id }) => id));
  return {
    recognise(text) {
      const found = verify(text, keys);
      return found && { ...found.claims, keyId: found.key.id };
    },
    validity({ id, keyId, expiresAtS }, nowMs) {
      if (revokedTokens.has(id) || !goodKeys.has(keyId)) return 'revoked';
      return nowMs >= expiresAtS * 1000 ? 'expired' : 'valid';
    },
  };
}

import { LIMITS } from '@troupe/config/limits';
import type { IceServer } from './rtc.js';

export interface TurnAccess {
  /** The secret of the TURN server (coturn: `static-auth-secret`). It stays on this machine. */
  readonly secret: string;
  /** For the server's log: the id of a worker. It holds no colon. */
  readonly user: string;
  /** Seconds from now on in which the credentials are accepted. Default 600: a path that exists outlives them. */
  readonly ttlS?: number;
  /** Unix time, ms. */
  readonly nowMs: number;
}

/** The part of `crypto.subtle`, of browsers and Node alike, that is used here. */
export interface HmacCrypto<Key> {
  importKey(
    format: 'raw',
    key: Uint8Array<ArrayBuffer>,
    algorithm: { readonly name: 'HMAC'; readonly hash: 'SHA-1' },
    extractable: boolean,
    usages: 'sign'[],
  ): Promise<Key>;
  sign(algorithm: 'HMAC', key: Key, data: Uint8Array<ArrayBuffer>): Promise<ArrayBuffer>;
}

/**
 * Credentials that a TURN server with `use-auth-secret` accepts for a short time, so that no lasting password is given to a worker
 * (draft-uberti-behave-turn-rest-00).
 * @throws RangeError when `user` holds a colon
 */
export async function turnCredentials<Key>(
  { secret, user, ttlS = LIMITS.turnCredentialsS, nowMs }: TurnAccess,
  crypto: HmacCrypto<Key>,
): Promise<Required<Pick<IceServer, 'username' | 'credential'>>> {
  if (user.includes(':')) throw new RangeError(`the user "${user}" of a TURN server holds a colon`);
  const encoder = new TextEncoder();
  const username = `${Math.floor(nowMs / 1000) + ttlS}:${user}`;
  const key = await crypto.importKey('raw', encoder.encode(secret), { name: 'HMAC', hash: 'SHA-1' }, false, ['sign']);
  const code = new Uint8Array(await crypto.sign('HMAC', key, encoder.encode(username)));
  return { username, credential: btoa(String.fromCharCode(...code)) };
}

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

/**
 * Credentials that a TURN server with `use-auth-secret` accepts for a short time, so that no lasting password is given to a worker
 * (draft-uberti-behave-turn-rest-00).
 * @param hmacSha1 HMAC-SHA-1 of a text under a key, both in UTF-8, in base64
 * @throws RangeError when `user` holds a colon
 */
export function turnCredentials(
  { secret, user, ttlS = LIMITS.turnCredentialsS, nowMs }: TurnAccess,
  hmacSha1: (key: string, text: string) => string,
): Required<Pick<IceServer, 'username' | 'credential'>> {
  if (user.includes(':')) throw new RangeError(`the user "${user}" of a TURN server holds a colon`);
  const username = `${Math.floor(nowMs / 1000) + ttlS}:${user}`;
  return { username, credential: hmacSha1(secret, username) };
}

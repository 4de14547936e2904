/** What the holder of a token may do in one run. */
import type { IncomingMessage } from 'node:http';
import { LIMITS, sameText } from '@troupe/protocol';
import type { Access } from '@troupe/run';
import { ApiFailure } from '../server/http.js';

/**
 * `worker`: may see what volunteers see. `join`: may join the run, which takes a token even if the run is public. `metrics`: may read
 * /metrics.
 */
export type Need = 'worker' | 'join' | 'metrics' | Access;

/** The secrets of one run. */
export interface Tokens {
  /** The token of workers. */
  readonly token: string;
  readonly adminToken: string;
  /** The token for /metrics alone. Undefined: there is none. */
  readonly metricsToken?: string | undefined;
}

export interface AuthOptions extends Tokens {
  /** Everyone may read. */
  readonly public: boolean;
}

export interface Auth {
  /**
   * @param token undefined if the request has none
   * @returns what the sender may do
   * @throws ApiFailure 401 if that is less than `need`
   */
  admit(token: string | undefined, need: Need): readonly Access[];
}

export function createAuth(options: AuthOptions): Auth {
  return {
    admit(token, need) {
      const granted = grants(options, token);
      if (granted.includes(need)) return granted.filter((one) => one === 'read' || one === 'admin');
      throw refused(token, need);
    },
  };
}

/** `authorization: Bearer TOKEN`. */
export function bearer({ headers: { authorization } }: IncomingMessage): string | undefined {
  return authorization === undefined ? undefined : (/^Bearer +(\S+) *$/i.exec(authorization)?.[1] ?? '');
}

function grants(options: AuthOptions, token: string | undefined): readonly Need[] {
  const anyone: readonly Need[] = options.public ? ['worker', 'metrics', 'read'] : [];
  if (token === undefined) return anyone;
  if (token.length > LIMITS.tokenLength) return [];
  const { token: workers, adminToken, metricsToken } = options;
  // It is always compared with all, so that the time taken does not reveal which one it resembles.
  const [isAdmin, isWorker, isMetrics] = [adminToken, workers, metricsToken].map(
    (one) => one !== undefined && sameText(token, one),
  );
  if (isAdmin) return ['worker', 'join', 'metrics', 'read', 'admin'];
  if (isWorker) return ['worker', 'join', ...anyone];
  return isMetrics ? ['metrics', ...anyone] : [];
}

function refused(token: string | undefined, need: Need): ApiFailure {
  const where =
    'Open the dashboard with the link that the coordinator printed when it started, or send authorization: Bearer TOKEN.';
  if (token === undefined) return new ApiFailure(401, 'no_token', 'this request needs a token', where);
  const what = need === 'admin' ? 'this request needs the admin token' : 'the token is wrong';
  return new ApiFailure(401, 'wrong_token', what, where);
}

/** What the holder of a token may do in one run. */
import type { IncomingMessage } from 'node:http';
import { isSigned, type KnownToken, type Scope } from '@troupe/access';
import { LIMITS, sameText } from '@troupe/protocol';
import type { Access } from '@troupe/run';
import { TokenRefused, type SignedTokens } from '../access/signed-tokens.js';
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
  /** The token of volunteers, whose work is audited. */
  readonly volunteerToken: string;
  readonly adminToken: string;
  /** The token for /metrics alone. Undefined: there is none. */
  readonly metricsToken?: string | undefined;
}

export interface AuthOptions extends Tokens {
  /** Everyone may read. */
  readonly public: boolean;
  readonly signed: SignedTokens;
}

/** Who reads the state of a run. */
export interface Reader {
  readonly access: readonly Access[];
  /** By a signed token: it ends, so its holder is not told the tokens of the run, which do not. */
  readonly isSigned: boolean;
}

/** What the holder of a token may do, for as long as a link is open. */
export interface Admission extends Reader {
  /** Aborts, with an ApiFailure as its reason, when the token is no longer valid. Undefined: it never ends. */
  readonly ended?: AbortSignal;
  /** The link has closed. */
  release(): void;
}

export interface Auth {
  /**
   * For one request.
   * @param token undefined if the request has none
   * @returns what the sender may do
   * @throws ApiFailure 401, or 403 for a token of another scope, if that is less than `need`
   */
  admit(token: string | undefined, need: Need): readonly Access[];
  /** For a link, which counts as one of those that the token may have. @throws ApiFailure also 429 */
  hold(token: string | undefined, need: Need): Admission;
}

export function createAuth(options: AuthOptions): Auth {
  const { signed } = options;
  const admitSigned = (token: KnownToken, need: Need): readonly Access[] => {
    const granted = [...SCOPE_GRANTS[token.scope], ...publicGrants(options)];
    if (!granted.includes(need)) signed.refuseScope(token, DEEDS[need].what, DEEDS[need].scope);
    return accessIn(granted);
  };
  const admitPlain = (token: string | undefined, need: Need): readonly Access[] => {
    const granted = grants(options, token);
    if (granted.includes(need)) return accessIn(granted);
    throw refused(token, need);
  };
  return {
    admit(token, need) {
      if (!holdsSigned(token)) return admitPlain(token, need);
      return withFailures(() => admitSigned(signed.check(token), need));
    },
    hold(token, need) {
      if (!holdsSigned(token)) return { access: admitPlain(token, need), isSigned: false, release: () => undefined };
      return withFailures(() => {
        const known = signed.check(token);
        const access = admitSigned(known, need);
        const { ended, release } = signed.hold(known);
        return { access, isSigned: true, release, ended: mapped(ended) };
      });
    },
  };
}

export function holdsSigned(token: string | undefined): token is string {
  return token !== undefined && isSigned(token);
}

/** What the scopes of signed tokens allow. */
const SCOPE_GRANTS: Readonly<Record<Scope, readonly Need[]>> = {
  worker: ['worker', 'join'],
  volunteer: ['worker'],
  viewer: ['worker', 'metrics', 'read'],
  admin: ['worker', 'join', 'metrics', 'read', 'admin'],
};

/** What a need is for, and the scope of a token that allows just that. */
const DEEDS: Readonly<Record<Need, { readonly what: string; readonly scope: Scope }>> = {
  worker: { what: 'see the run', scope: 'viewer' },
  join: { what: 'join as a worker', scope: 'worker' },
  metrics: { what: 'read metrics', scope: 'viewer' },
  read: { what: 'see the dashboard', scope: 'viewer' },
  admin: { what: 'control the run', scope: 'admin' },
};

function accessIn(granted: readonly Need[]): readonly Access[] {
  return (['read', 'admin'] as const).filter((one) => granted.includes(one));
}

const STATUS: Readonly<Record<TokenRefused['code'], number>> = {
  ...{ wrong_token: 401, token_expired: 401, token_revoked: 401 },
  ...{ wrong_scope: 403, too_many_links: 429, rate_limited: 429 },
};

function failureOf(error: unknown): unknown {
  return error instanceof TokenRefused ? new ApiFailure(STATUS[error.code], error.code, error.message, error.remedy) : error;
}

function withFailures<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw failureOf(error);
  }
}

function mapped(ended: AbortSignal): AbortSignal {
  const ends = new AbortController();
  ended.addEventListener('abort', () => ends.abort(failureOf(ended.reason)), { once: true });
  return ends.signal;
}

/** `authorization: Bearer TOKEN`. */
export function bearer({ headers: { authorization } }: IncomingMessage): string | undefined {
  return authorization === undefined ? undefined : (/^Bearer +(\S+) *$/i.exec(authorization)?.[1] ?? '');
}

function publicGrants(options: Pick<AuthOptions, 'public'>): readonly Need[] {
  return options.public ? ['worker', 'metrics', 'read'] : [];
}

function grants(options: AuthOptions, token: string | undefined): readonly Need[] {
  const anyone = publicGrants(options);
  if (token === undefined) return anyone;
  if (token === '' || token.length > LIMITS.tokenLength) return [];
  const { token: workers, volunteerToken, adminToken, metricsToken } = options;
  // It is always compared with all, so that the time taken does not reveal which one it resembles.
  const [isAdmin, isWorker, isVolunteer, isMetrics] = [adminToken, workers, volunteerToken, metricsToken].map(
    (one) => one !== undefined && sameText(token, one),
  );
  if (isAdmin) return ['worker', 'join', 'metrics', 'read', 'admin'];
  if (isWorker) return ['worker', 'join', ...anyone];
  if (isVolunteer) return ['worker', ...anyone];
  return isMetrics ? ['metrics', ...anyone] : [];
}

function refused(token: string | undefined, need: Need): ApiFailure {
  const where =
    'Open the dashboard with the link that the coordinator printed when it started, or send authorization: Bearer TOKEN.';
  if (token === undefined) return new ApiFailure(401, 'no_token', 'this request needs a token', where);
  const what = need === 'admin' ? 'this request needs the admin token' : 'the token is wrong';
  return new ApiFailure(401, 'wrong_token', what, where);
}

/** Who may see and steer: tokens, and whether a request comes from our own pages. */
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import os from 'node:os';
import { LIMITS, sameText } from '@troupe/protocol';
import type { Access } from '@troupe/run';
import { ApiFailure } from '../server/http.js';
import type { Forwarded } from '../server/forwarded.js';

/** `worker`: joins, and sees what volunteers see. */
export type Need = 'worker' | Access;

export interface AuthOptions {
  readonly token: string;
  readonly adminToken: string;
  /** Anyone may read. */
  readonly public: boolean;
  /** Names of this server besides its own, in lower case; `*` = any. */
  readonly allowedHosts: readonly string[];
  /** Names that our certificate, as it is now, proves ours; in lower case. */
  certified?(): readonly string[];
  readonly forwarded: Pick<Forwarded, 'host'>;
}

export interface Auth {
  /** What the holder of a token, or nobody in particular, may do. @throws ApiFailure 401 when that is less than `need` */
  admit(token: string | undefined, need: Need): readonly Access[];
  /**
   * That the page which asks is ours. A name of another site that leads here (DNS rebinding) is no name of ours; a page of another
   * site says so in `origin`. @throws ApiFailure 403
   */
  checkSite(request: IncomingMessage): void;
}

export function createAuth(options: AuthOptions): Auth {
  const ownNames = [os.hostname(), `${os.hostname()}.local`, 'localhost'].map((name) => name.toLowerCase());
  const allowed = new Set(options.allowedHosts.map(hostName));
  const isOwn = (name: string): boolean =>
    isIP(name) !== 0 ||
    name.endsWith('.localhost') ||
    [name, '*'].some((one) => allowed.has(one)) ||
    ownNames.includes(name) ||
    (options.certified?.().includes(name) ?? false);
  /** A proxy before us may have put another name in `host` than that by which the page was opened. */
  const ownPage = (origin: string, host: string): boolean => {
    const site = originHost(origin);
    return site !== undefined && (site === host || allowed.has(hostName(site)));
  };

  return {
    admit(token, need) {
      const granted = grants(options, token);
      if (granted.includes(need)) return granted.filter((one) => one !== 'worker');
      throw refused(token, need);
    },
    checkSite(request) {
      const { origin } = request.headers;
      const host = options.forwarded.host(request);
      const name = hostName(host);
      if (!isOwn(name)) {
        throw new ApiFailure(
          403,
          'unknown_host',
          `"${name.slice(0, 100)}" is no name of this coordinator`,
          'Open it by its address or as localhost, or start the coordinator with --allow-host NAME.',
        );
      }
      if (origin !== undefined && !ownPage(origin, host)) {
        throw new ApiFailure(
          403,
          'other_site',
          'the request comes from a page of another site',
          'Use the pages of this coordinator.',
        );
      }
    },
  };
}

/** `authorization: Bearer TOKEN`. */
export function bearer({ headers: { authorization } }: IncomingMessage): string | undefined {
  return authorization === undefined ? undefined : (/^Bearer +(\S+) *$/i.exec(authorization)?.[1] ?? '');
}

function grants(options: AuthOptions, token: string | undefined): readonly Need[] {
  const anyone: readonly Need[] = options.public ? ['worker', 'read'] : [];
  if (token === undefined) return anyone;
  if (token.length > LIMITS.tokenLength) return [];
  // Both are compared, whichever it is.
  const [isAdmin, isWorker] = [sameText(token, options.adminToken), sameText(token, options.token)];
  if (isAdmin) return ['worker', 'read', 'admin'];
  return isWorker ? [...new Set<Need>(['worker', ...anyone])] : [];
}

function refused(token: string | undefined, need: Need): ApiFailure {
  const where =
    'Open the dashboard by the link that the coordinator printed when it started, or send authorization: Bearer TOKEN.';
  if (token === undefined) return new ApiFailure(401, 'no_token', 'this takes a token', where);
  const what = need === 'admin' ? 'the token is not that of an admin' : 'the token is not one of this run';
  return new ApiFailure(401, 'wrong_token', what, where);
}

/** Without the port and, of IPv6, the brackets. */
function hostName(host: string): string {
  return host.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
}

function originHost(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host.toLowerCase() : undefined;
}

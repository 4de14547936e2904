/** Checks that a request names a host of this server, and comes from a page of this server. */
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import os from 'node:os';
import type { Forwarded } from './forwarded.js';
import { ApiFailure } from './http.js';

export interface SiteCheckOptions {
  /** Additional names of this server, in lower case; `*` allows any. */
  readonly allowedHosts: readonly string[];
  /** Names in the current certificate, in lower case. */
  certified?(): readonly string[];
  readonly forwarded: Pick<Forwarded, 'host'>;
}

export interface SiteCheck {
  /**
   * Protects against DNS rebinding: another site's name that resolves to this server is not one of its names. The header `origin`
   * reveals a page of another site.
   * @throws ApiFailure 403
   */
  (request: IncomingMessage): void;
  /** Whether the request is not from a page of another site. Workers may use any name of this server, and send no origin. */
  isOwnPage(request: IncomingMessage): boolean;
}

export function createSiteCheck(options: SiteCheckOptions): SiteCheck {
  const ownNames = [os.hostname(), `${os.hostname()}.local`, 'localhost'].map((name) => name.toLowerCase());
  const allowed = new Set(options.allowedHosts.map(hostName));
  const isOwn = (name: string): boolean =>
    isIP(name) !== 0 ||
    name.endsWith('.localhost') ||
    [name, '*'].some((one) => allowed.has(one)) ||
    ownNames.includes(name) ||
    (options.certified?.().includes(name) ?? false);
  /** A proxy may have replaced the host name by which the browser opened the page. */
  const isOwnPage = (request: IncomingMessage): boolean => {
    const { origin } = request.headers;
    if (origin === undefined) return true;
    const site = originHost(origin);
    return site !== undefined && (site === options.forwarded.host(request) || allowed.has(hostName(site)));
  };
  const check = (request: IncomingMessage): void => {
    const name = hostName(options.forwarded.host(request));
    if (!isOwn(name)) throw unknownHost(name);
    if (!isOwnPage(request)) throw otherSite();
  };
  return Object.assign(check, { isOwnPage });
}

function unknownHost(name: string): ApiFailure {
  const message = `"${name.slice(0, 100)}" is not a host name of this coordinator`;
  const remedy = 'Use its IP address or localhost, or start the coordinator with --allow-host NAME.';
  return new ApiFailure(403, 'unknown_host', message, remedy);
}

function otherSite(): ApiFailure {
  return new ApiFailure(
    403,
    'other_site',
    'the request comes from a page of another site',
    'Use the pages of this coordinator instead.',
  );
}

/** Without the port and, for IPv6, the brackets. */
function hostName(host: string): string {
  return host.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
}

function originHost(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host.toLowerCase() : undefined;
}

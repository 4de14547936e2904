/** HTTP and SOCKS proxies between this machine and others, as the environment names them. */
import http from 'node:http';
import https from 'node:https';
import { BlockList, isIP } from 'node:net';
import { Readable } from 'node:stream';
import { HttpsProxyAgent } from 'https-proxy-agent';
import { SocksProxyAgent } from 'socks-proxy-agent';
import { TransportError } from '../connection.js';

export type Environment = Readonly<Record<string, string | undefined>>;

const DEFAULT_PORTS: Readonly<Record<string, string>> = { 'http:': '80', 'ws:': '80', 'https:': '443', 'wss:': '443' };

/** The first of these variables that is set, in lower case or upper case, as curl and others look for it. */
function variable(env: Environment, ...names: readonly string[]): { readonly name: string; readonly value: string } | undefined {
  const found = names.flatMap((name) => [name.toLowerCase(), name]).find((name) => env[name]);
  return found === undefined ? undefined : { name: found, value: env[found]! };
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host.endsWith('.localhost') || host === '::1' || /^127(\.\d+){3}$/.test(host);
}

/** "[::1]", "::1" -> "::1"; undefined for names and IPv4 addresses, which may have a port. */
function ipv6(entry: string): string | undefined {
  const bare = entry.replace(/^\[(.*)\]$/, '$1');
  return isIP(bare) === 6 ? bare : undefined;
}

/** Whether a host is an address of a network, such as "10.0.0.0/8" or "fd00::/8". */
function isInNetwork(host: string, entry: string): boolean {
  const [, network, bits] = /^\[?([\da-f:.]+)\]?\/(\d{1,3})$/.exec(entry) ?? [];
  const versions = [isIP(host), isIP(network ?? '')];
  if (versions.includes(0) || Number(bits) > (versions[1] === 4 ? 32 : 128)) return false;
  const [ours, theirs] = versions.map((version): 'ipv4' | 'ipv6' => (version === 4 ? 'ipv4' : 'ipv6'));
  const members = new BlockList();
  members.addSubnet(network, Number(bits), theirs);
  return members.check(host, ours);
}

/**
 * Whether NO_PROXY excepts a host. It lists names, domains ("example.org", ".example.org"),
 * addresses, with or without a port, and networks ("10.0.0.0/8"), or is "*". An entry that is none
 * of these excepts nothing.
 */
function isExcepted(list: string, host: string, port: string): boolean {
  const entries = list.toLowerCase().split(/[\s,]+/);
  return entries.filter(Boolean).some((entry) => {
    const address = ipv6(entry);
    if (address !== undefined) return isInNetwork(host, `${address}/128`);
    if (entry.includes('/')) return isInNetwork(host, entry);
    const [, name, only = port] = /^(.*?)(?::(\d+))?$/.exec(entry)!;
    const domain = name.replace(/^\*?\./, '').replace(/^\[(.*)\]$/, '$1');
    return only === port && (domain === '*' || host === domain || host.endsWith(`.${domain}`));
  });
}

/** A proxy, and the variable that names it. */
export interface Proxy {
  readonly url: URL;
  readonly variable: string;
}

/**
 * The proxy for a URL: that of HTTPS_PROXY for https and wss, of HTTP_PROXY for http and ws, or of
 * ALL_PROXY. This machine and the hosts of NO_PROXY need none.
 * @throws TransportError `invalid_address` if the variable is not a URL of a proxy
 */
export function proxyFor(url: URL, env: Environment): Proxy | undefined {
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1').toLowerCase();
  const port = url.port || DEFAULT_PORTS[url.protocol];
  if (isLoopback(host) || isExcepted(variable(env, 'NO_PROXY')?.value ?? '', host, port)) return undefined;
  const isSecure = url.protocol === 'https:' || url.protocol === 'wss:';
  const found = variable(env, isSecure ? 'HTTPS_PROXY' : 'HTTP_PROXY', 'ALL_PROXY');
  if (found === undefined) return undefined;
  const text = /^[a-z][a-z\d+.-]*:\/\//i.test(found.value) ? found.value : `http://${found.value}`;
  if (URL.canParse(text) && /^(https?|socks[45]?[ah]?):$/.test(new URL(text).protocol))
    return { url: new URL(text), variable: found.name };
  throw new TransportError(
    'invalid_address',
    `${found.name} does not name a proxy`,
    `Set ${found.name} to http://HOST:PORT or socks5://HOST:PORT, or unset it.`,
  );
}

/** A proxy in words, without its password: "the proxy squid:3128 (of HTTPS_PROXY)". */
export function nameOf({ url, variable }: Proxy): string {
  return `the proxy ${url.host} (of ${variable})`;
}

/** An agent for one request through a proxy. */
export interface Tunnel {
  readonly agent: http.Agent;
  /** Whether the proxy has connected to the host. Until then, errors and answers are its own. */
  isOpen(): boolean;
}

class ConnectTunnel extends HttpsProxyAgent<string> {
  isOpen = false;

  override async connect(...[request, options]: Parameters<HttpsProxyAgent<string>['connect']>) {
    request.once('proxyConnect', (answer: { readonly statusCode: number }) => (this.isOpen = answer.statusCode === 200));
    return super.connect(request, options);
  }
}

class SocksTunnel extends SocksProxyAgent {
  isOpen = false;

  override async connect(...[request, options]: Parameters<SocksProxyAgent['connect']>) {
    const socket = await super.connect(request, options);
    this.isOpen = true;
    return socket;
  }
}

export function openTunnel({ url }: Proxy): Tunnel {
  const agent = url.protocol.startsWith('socks') ? new SocksTunnel(url) : new ConnectTunnel(url);
  return { agent, isOpen: () => agent.isOpen };
}

const REDIRECTS = new Set([301, 302, 303, 307, 308]);
const MOST_REDIRECTS = 5;

/** `fetch` for downloads, through the proxy of the environment if there is one. Only GET. */
export function createFetch(env: Environment): typeof globalThis.fetch {
  return async (input, options) => {
    const url = new URL(input instanceof Request ? input.url : input);
    return proxyFor(url, env) === undefined ? fetch(input, options) : fetchThrough(url, env, options ?? {}, MOST_REDIRECTS);
  };
}

async function fetchThrough(url: URL, env: Environment, options: RequestInit, redirects: number): Promise<Response> {
  const proxy = proxyFor(url, env);
  const answer = await get(url, proxy, options);
  const { statusCode = 0, headers } = answer;
  if (REDIRECTS.has(statusCode) && headers.location !== undefined && redirects > 0) {
    answer.destroy();
    return fetchThrough(new URL(headers.location, url), env, options, redirects - 1);
  }
  const shown = Object.entries(headers).flatMap(([name, value]) =>
    typeof value === 'string' ? [[name, value] as [string, string]] : [],
  );
  return new Response(Readable.toWeb(answer) as ReadableStream, { status: statusCode, headers: shown });
}

function get(url: URL, proxy: Proxy | undefined, { signal, headers }: RequestInit): Promise<http.IncomingMessage> {
  const tunnel = proxy && openTunnel(proxy);
  return new Promise((resolve, reject) => {
    const request = (url.protocol === 'https:' ? https : http).get(url, {
      headers: Object.fromEntries(new Headers(headers)),
      ...(tunnel === undefined ? {} : { agent: tunnel.agent }),
      ...(signal ? { signal } : {}),
    });
    const own = (): boolean => tunnel !== undefined && !tunnel.isOpen();
    request.once('response', (answer) => {
      if (!own()) return resolve(answer);
      answer.destroy();
      reject(new Error(`${nameOf(proxy!)} answers with HTTP ${answer.statusCode} instead of a connection`));
    });
    request.once('error', (error) => reject(own() ? new Error(`${nameOf(proxy!)}: ${error.message}`, { cause: error }) : error));
  });
}

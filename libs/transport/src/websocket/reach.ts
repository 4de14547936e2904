/** The steps before a WebSocket, one by one, for a person who looks for the one that fails. */
import { lookup } from 'node:dns/promises';
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { TransportError } from '../connection.js';
import { connectError, proxyError } from './connect.js';
import { nameOf, proxyFor, type Environment } from './proxy.js';

export interface ReachOptions {
  /** Names the proxies, as for `connectWebSocket`. */
  readonly env: Environment;
  readonly signal: AbortSignal;
  /** For each step. */
  readonly timeoutMs: number;
  /** Monotonic, ms. */
  readonly nowMs: () => number;
}

export interface LookedUp {
  readonly addresses: readonly string[];
  readonly ms: number;
}

/**
 * @returns undefined when this machine looks up nothing: the host is an address, or a proxy looks it up
 * @throws TransportError `unreachable`, `timeout`, or `invalid_address` for a wrong proxy; the reason of the signal
 */
export async function lookUpHost(url: URL, { env, signal, timeoutMs, nowMs }: ReachOptions): Promise<LookedUp | undefined> {
  const host = bare(url.hostname);
  if (isIP(host) !== 0 || proxyFor(url, env)) return undefined;
  const startedMs = nowMs();
  try {
    const found = await settled<{ readonly address: string }[]>(signal, timeoutMs, (resolve, reject) => {
      lookup(host, { all: true }).then(resolve, reject);
    });
    return { addresses: found.map(({ address }) => address), ms: nowMs() - startedMs };
  } catch (error) {
    throw failureOf(error, signal, url, `the host name ${host} was not resolved within ${timeoutMs / 1000} s`);
  }
}

export interface Reached {
  readonly tcpMs: number;
  /** What was reached instead, in words: a proxy, which connects to the host. */
  readonly proxy?: string;
  /** Without a proxy, for https and wss. */
  readonly tls?: { readonly version: string; readonly ms: number };
}

/**
 * Connects to the host of a URL, or to the proxy for it, and closes the connection.
 * @throws TransportError `unreachable`, `refused`, `timeout`, or `invalid_address` for a wrong proxy; the reason of the signal
 */
export async function measureConnection(url: URL, options: ReachOptions): Promise<Reached> {
  const proxy = proxyFor(url, options.env);
  const secure = url.protocol === 'wss:' || url.protocol === 'https:';
  if (!proxy) return connectTo(url, secure, options).catch((error: unknown) => reject(error, url, options));
  const { tcpMs } = await connectTo(proxy.url, false, options).catch((error: unknown) => {
    options.signal.throwIfAborted();
    throw proxyError(url, proxy, (error as Error).message, error as Error);
  });
  return { tcpMs, proxy: nameOf(proxy) };
}

function reject(error: unknown, url: URL, { signal, timeoutMs }: ReachOptions): never {
  throw failureOf(error, signal, url, `${url.host} did not answer within ${timeoutMs / 1000} s`);
}

async function connectTo(url: URL, secure: boolean, { signal, timeoutMs, nowMs }: ReachOptions): Promise<Reached> {
  const host = bare(url.hostname);
  const startedMs = nowMs();
  const tcp = connectTcp({ host, port: Number(url.port) || (secure ? 443 : defaultPort(url)) });
  try {
    await opened(tcp, 'connect', signal, timeoutMs);
    const tcpMs = nowMs() - startedMs;
    if (!secure) return { tcpMs };
    const tls: TLSSocket = connectTls({ socket: tcp, servername: isIP(host) === 0 ? host : '', host });
    await opened(tls, 'secureConnect', signal, timeoutMs);
    return { tcpMs, tls: { version: tls.getProtocol() ?? 'TLS', ms: nowMs() - startedMs - tcpMs } };
  } finally {
    tcp.destroy();
  }
}

/** SOCKS has a port of its own. */
function defaultPort({ protocol }: URL): number {
  return protocol.startsWith('socks') ? 1080 : protocol === 'https:' ? 443 : 80;
}

function opened(socket: Socket, event: 'connect' | 'secureConnect', signal: AbortSignal, timeoutMs: number): Promise<void> {
  return settled(signal, timeoutMs, (resolve, fail) => {
    socket.once(event, resolve);
    // The listener stays: the connection is closed in the middle of whatever it does.
    socket.on('error', fail);
  });
}

class Late extends Error {}

/** @throws Late after the time, the reason of the signal, and what `begin` reports */
async function settled<T>(
  signal: AbortSignal,
  timeoutMs: number,
  begin: (resolve: (value: T) => void, reject: (error: Error) => void) => void,
): Promise<T> {
  signal.throwIfAborted();
  let stop = (): void => {};
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    return await new Promise<T>((resolve, fail) => {
      stop = () => fail(signal.reason as Error);
      signal.addEventListener('abort', stop, { once: true });
      timer = setTimeout(() => fail(new Late()), timeoutMs);
      begin(resolve, fail);
    });
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
  }
}

function failureOf(error: unknown, signal: AbortSignal, url: URL, late: string): TransportError {
  signal.throwIfAborted();
  if (!(error instanceof Late)) return connectError(url, error as Error);
  return new TransportError('timeout', late, 'Check the network of this machine, the address, and any firewall in between.');
}

/** "[::1]" -> "::1". */
function bare(host: string): string {
  return host.replace(/^\[|\]$/g, '');
}

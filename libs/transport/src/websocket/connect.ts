import { lookup } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import { domainToUnicode } from 'node:url';
import { WebSocket } from 'ws';
import { DEFAULT_FRAME_BYTES, TransportError, type Connection } from '../connection.js';
import { aborted } from '../link.js';
import { createConnection, type WebSocketOptions } from './connection.js';
import { nameOf, openTunnel, proxyFor, type Environment, type Proxy } from './proxy.js';

export interface ConnectOptions extends WebSocketOptions {
  readonly signal?: AbortSignal;
  /** Default 10 s. */
  readonly connectTimeoutMs?: number;
  /** Names the proxies to use: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY. Default: none. */
  readonly env?: Environment;
  /**
   * Chooses among the IP addresses of the host, before a connection to one is opened. It may throw a TransportError. Not asked about a name
   * that a proxy resolves.
   */
  readonly admit?: (addresses: readonly string[]) => readonly string[];
  /** Told the IP address to which the link is open; undefined: a proxy has resolved the name. */
  readonly onOpen?: (address: string | undefined) => void;
}

/** Resolves names as Node does, and leaves out what `admit` does. */
function admittedLookup(admit: NonNullable<ConnectOptions['admit']>): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, found) => {
      if (error) return callback(error, []);
      try {
        const admitted = admit(found.map(({ address }) => address));
        const left = found.filter(({ address }) => admitted.includes(address));
        if (options.all) callback(null, left);
        else callback(null, left[0].address, left[0].family);
      } catch (refusedFor) {
        callback(refusedFor as Error, []);
      }
    });
  };
}

function literalAddress({ hostname }: URL): string | undefined {
  const plain = hostname.replace(/^\[|\]$/g, '');
  return isIP(plain) === 0 ? undefined : plain;
}

function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url && (url.protocol === 'ws:' || url.protocol === 'wss:') && url.hash === '') return url;
  throw new TransportError(
    'invalid_address',
    `"${text}" is not a WebSocket address`,
    'Write it as ws://HOST:PORT or wss://HOST:PORT.',
  );
}

/** The answer was HTTP, not WebSocket. */
function refusal(url: URL, status: number | undefined): TransportError {
  if (status === 404) {
    const message = `${url.host} answers, but ${url.pathname} does not exist there`;
    return new TransportError('refused', message, 'Check the path, and that a coordinator uses this port.');
  }
  if (status === 426) {
    const message = `${url.host} answers, but a proxy in front of it has removed the header Upgrade`;
    return new TransportError('refused', message, 'The organizer must make the proxy forward WebSockets: see deploy/README.md.');
  }
  const message = `${url.host} answers with HTTP ${status ?? '?'} instead of a WebSocket`;
  return new TransportError('refused', message, 'Check that a coordinator uses this host and port.');
}

const TLS_CODE = /CERT|SSL|TLS|EPROTO|SELF_SIGNED|UNABLE_TO_(GET|VERIFY)/;
const UNKNOWN_SIGNER = /SELF_SIGNED|UNABLE_TO_(GET|VERIFY)/;
/** The answer was not a TLS handshake. */
const PLAIN_ANSWER = /WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|EPROTO/;

/** What is wrong with a secure link, and what the user can do about it. */
function insecure(url: URL, code: string, error: Error): { readonly message: string; readonly remedy: string } {
  const message = `no secure connection to ${url.host}: ${error.message}`;
  if (UNKNOWN_SIGNER.test(code)) {
    const remedy =
      'This machine does not know who signed the certificate of the coordinator. If you trust it, copy the certificate of its authority ' +
      'here (a self-signed certificate is its own authority), and start again with NODE_EXTRA_CA_CERTS=FILE in the environment.';
    return { message, remedy };
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return { message, remedy: 'Use a name that the certificate covers, or get a certificate that covers this name.' };
  }
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID') {
    return { message, remedy: 'Check the clock of this machine; if it is right, the coordinator needs a new certificate.' };
  }
  if (PLAIN_ANSWER.test(code))
    return { message, remedy: 'The coordinator seems to have no certificate: try ws:// instead of wss://.' };
  return { message, remedy: 'Check the certificate, and whether the coordinator uses ws:// instead of wss://.' };
}

export function connectError(url: URL, error: Error): TransportError {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  const fail = (kind: TransportError['code'], message: string, remedy: string) =>
    new TransportError(kind, message, remedy, { cause: error });
  if (code === 'ECONNREFUSED') {
    const remedy = `Is the coordinator running at ${url.host}? Check the host and the port.`;
    return fail('unreachable', `nothing listens at ${url.host}`, remedy);
  }
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
    return fail(
      'unreachable',
      `the host name ${domainToUnicode(url.hostname)} cannot be resolved`,
      'Check the spelling, or use the IP address.',
    );
  }
  if (code === 'EHOSTUNREACH' || code === 'ENETUNREACH' || code === 'ETIMEDOUT') {
    return fail('unreachable', `${url.hostname} cannot be reached (${code})`, 'Check the network and any firewall in between.');
  }
  if (TLS_CODE.test(code)) {
    const { message, remedy } = insecure(url, code, error);
    return fail('refused', message, remedy);
  }
  if (code.startsWith('HPE_') || error.message.startsWith('Invalid ')) {
    return fail(
      'refused',
      `${url.host} does not speak WebSocket`,
      'Check that a coordinator uses this port, and whether it needs ws:// or wss://.',
    );
  }
  if (url.protocol === 'ws:' && (code === 'ECONNRESET' || code === 'EPIPE')) {
    const remedy =
      'If the coordinator has a certificate, its address begins with wss://. Otherwise check that a coordinator uses this port.';
    return fail('refused', `${url.host} closed the connection`, remedy);
  }
  return fail(
    'unreachable',
    `no connection to ${url.host}: ${error.message}`,
    'Check the host and the port, and that the coordinator is running.',
  );
}

export function proxyError(url: URL, proxy: Proxy, reason: string, cause?: Error): TransportError {
  const remedy =
    `Check ${proxy.variable}` +
    (reason.includes('407') ? ', which needs a name and a password: http://NAME:PASSWORD@HOST:PORT.' : ' and the proxy.') +
    ` For a connection without a proxy, add ${url.hostname} to NO_PROXY.`;
  return new TransportError('unreachable', `no connection to ${url.host} through ${nameOf(proxy)}: ${reason}`, remedy, {
    cause,
  });
}

/**
 * Opens a link to `address` ("ws://host:port/path").
 * @throws TransportError `invalid_address`, `unreachable`, `refused`, `timeout` or `aborted`
 */
export async function connectWebSocket(address: string, options: ConnectOptions = {}): Promise<Connection> {
  const url = parseUrl(address);
  const { signal, connectTimeoutMs = 10_000, env = {}, admit } = options;
  const literal = literalAddress(url);
  if (literal !== undefined) admit?.([literal]);
  const proxy = proxyFor(url, env);
  const tunnel = proxy && openTunnel(proxy);
  if (signal?.aborted) throw aborted(signal);
  return new Promise<Connection>((resolve, reject) => {
    const socket = new WebSocket(url, {
      perMessageDeflate: false,
      maxPayload: options.frameBytes ?? DEFAULT_FRAME_BYTES,
      ...(tunnel === undefined ? {} : { agent: tunnel.agent }),
      ...(admit && tunnel === undefined && { lookup: admittedLookup(admit) }),
    });
    /** The proxy has not connected to the host, so a failure is its own. */
    const ofProxy = (): Proxy | undefined => (tunnel?.isOpen() ? undefined : proxy);
    const settle = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    };
    const fail = (error: TransportError) => {
      settle();
      reject(error);
      socket.terminate();
    };
    const onAbort = () => fail(aborted(signal!));
    const onError = (error: Error) => {
      if (error instanceof TransportError) return fail(error);
      const own = ofProxy();
      fail(own === undefined ? connectError(url, error) : proxyError(url, own, error.message, error));
    };
    const timer = setTimeout(() => {
      const through = proxy === undefined ? '' : ` through ${nameOf(proxy)}`;
      const message = `${url.host} did not answer${through} within ${connectTimeoutMs / 1000} s`;
      fail(new TransportError('timeout', message, 'Check the host and the port, and that the coordinator is not overloaded.'));
    }, connectTimeoutMs);
    signal?.addEventListener('abort', onAbort, { once: true });
    // The listener stays after a failure, because the terminated socket reports its end as an error.
    socket.on('error', onError);
    socket.on('unexpected-response', (_request, { statusCode }) => {
      const own = ofProxy();
      fail(own === undefined ? refusal(url, statusCode) : proxyError(url, own, `it answers with HTTP ${statusCode ?? '?'}`));
    });
    socket.once('upgrade', ({ socket: { remoteAddress } }) => options.onOpen?.(tunnel === undefined ? remoteAddress : literal));
    socket.once('open', () => {
      settle();
      resolve(createConnection(socket, url.host, options));
      socket.off('error', onError);
    });
  });
}

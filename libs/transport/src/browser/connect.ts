import { TransportError, type Connection } from '../connection.js';
import { aborted } from '../link.js';
import { createConnection, type BrowserConnectionOptions } from './connection.js';
import type { BrowserSocket, BrowserSocketConstructor } from './socket.js';

export interface BrowserOptions extends BrowserConnectionOptions {
  readonly signal?: AbortSignal;
  /** Default 10 s. */
  readonly connectTimeoutMs?: number;
  /** Default: the platform's own. */
  readonly WebSocket?: BrowserSocketConstructor;
}

const ADDRESS = /^wss?:\/\/([^/?#]+)[^#]*$/;

/**
 * Opens a link to `address` ("ws://host:port/path") with the WebSocket of browsers. Browsers do not say why a link cannot be opened, so that
 * pages cannot scan networks: the error is always `unreachable`, even after an HTTP answer.
 *
 * A link whose other end vanished is detected after some silence. A caller that knows of a network change or of a sleep should close the
 * link and connect again.
 * @throws TransportError `invalid_address`, `unreachable`, `timeout` or `aborted`
 */
export async function connectBrowser(address: string, options: BrowserOptions = {}): Promise<Connection> {
  const host = ADDRESS.exec(address)?.[1];
  if (host === undefined) throw invalid(address);
  const { signal, connectTimeoutMs = 10_000 } = options;
  if (signal?.aborted) throw aborted(signal);
  const socket = open(address, options.WebSocket ?? platformSocket());
  return new Promise<Connection>((resolve, reject) => {
    const settle = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      [socket.onopen, socket.onerror, socket.onclose] = [null, null, null];
    };
    const fail = (error: TransportError): void => {
      settle();
      // The error listener stays: where sockets are event emitters, an error without a listener ends the process.
      socket.onerror = () => {};
      reject(error);
      socket.close();
    };
    const onAbort = (): void => fail(aborted(signal!));
    const timer = setTimeout(() => {
      const message = `${host} did not answer within ${connectTimeoutMs / 1000} s`;
      fail(new TransportError('timeout', message, 'Check the host and the port, and that the coordinator is not overloaded.'));
    }, connectTimeoutMs);
    signal?.addEventListener('abort', onAbort, { once: true });
    socket.onerror = () => fail(unreachable(host));
    socket.onclose = () => fail(unreachable(host));
    socket.onopen = () => {
      settle();
      resolve(createConnection(socket, host, options));
    };
  });
}

function invalid(address: string): TransportError {
  const remedy = 'Write it as ws://HOST:PORT or wss://HOST:PORT. A page loaded over https can only use wss.';
  return new TransportError('invalid_address', `"${address}" is not a WebSocket address`, remedy);
}

function unreachable(host: string): TransportError {
  return new TransportError(
    'unreachable',
    `no WebSocket connection to ${host}`,
    'Check that the coordinator is running, and that no proxy, firewall or browser extension blocks WebSockets.',
  );
}

function platformSocket(): BrowserSocketConstructor {
  const { WebSocket } = globalThis as { readonly WebSocket?: BrowserSocketConstructor };
  if (WebSocket) return WebSocket;
  const remedy = 'In Node before version 22, use @troupe/transport/websocket.';
  throw new TransportError('unreachable', 'this platform has no built-in WebSocket', remedy);
}

function open(address: string, WebSocket: BrowserSocketConstructor): BrowserSocket {
  try {
    const socket = new WebSocket(address);
    socket.binaryType = 'arraybuffer';
    return socket;
  } catch {
    // A SyntaxError: the address is wrong, or a page loaded over https uses ws.
    throw invalid(address);
  }
}

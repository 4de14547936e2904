import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import { createServer as createHttpsServer, Server as HttpsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import { DEFAULT_FRAME_BYTES, TransportError, type Connection, type Listener } from '../connection.js';
import { createQueue } from '../link.js';
import { createConnection, type WebSocketOptions } from './connection.js';

export interface AttachOptions extends WebSocketOptions {
  /** The client's IP address, without a port, where a proxy reports it; undefined: the socket's address is the client's. */
  clientAddress?(request: IncomingMessage): string | undefined;
  /** A link is open. It is told before the link can be accepted. */
  onOpen?(connection: Connection, request: IncomingMessage): void;
}

export interface ListenOptions extends WebSocketOptions, Pick<AttachOptions, 'onOpen'> {
  /** An address of this machine; "0.0.0.0" for all. */
  readonly host: string;
  /** 0 takes a free port; see `Listener.address`. */
  readonly port: number;
  /** Default "/". */
  readonly path?: string;
  /** PEM. With it, links are wss. */
  readonly certificate?: { readonly cert: Buffer; readonly key: Buffer } | undefined;
  /** Asked for each socket, before anything is read from it. @returns whether it may stay. Default: all may */
  accepts?(socket: Socket): boolean;
}

type Upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

/** The handler of each path of each HTTP server. */
const routes = new WeakMap<Server, Map<string, Upgrade>>();

function answerAndClose(socket: Duplex, status: string): void {
  // The client may be gone already; then there is nothing to answer.
  socket.on('error', () => socket.destroy());
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}

function routesOf(server: Server): Map<string, Upgrade> {
  const known = routes.get(server);
  if (known) return known;
  const table = new Map<string, Upgrade>();
  routes.set(server, table);
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const path = (request.url ?? '/').split('?', 1)[0];
    const upgrade = table.get(path);
    if (upgrade) upgrade(request, socket, head);
    else answerAndClose(socket, '404 Not Found');
  });
  return table;
}

function withPort(host: string, port: number | undefined): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port ?? '?'}`;
}

function remoteOf(request: IncomingMessage, { clientAddress }: AttachOptions): string {
  const client = clientAddress?.(request);
  // In brackets as before a port, so that the part after the last colon never belongs to the address.
  if (client !== undefined) return client.includes(':') ? `[${client}]` : client;
  const { remoteAddress, remotePort } = request.socket;
  return withPort(remoteAddress ?? '?', remotePort);
}

function addressOf(server: Server): string {
  const { address, port } = server.address() as AddressInfo;
  return withPort(address, port);
}

/**
 * Accepts WebSockets at `path` of an HTTP server that the caller owns, starts and stops. Each path can be attached once; an upgrade of
 * any other path is answered with 404. Until the server listens, `address` is only the path.
 */
export function attachWebSocket(server: Server, path: string, options: AttachOptions = {}): Listener {
  const table = routesOf(server);
  if (table.has(path)) {
    throw new TransportError('port_in_use', `${path} of this server already has a listener`, 'Close it, or use another path.');
  }
  const upgrader = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: options.frameBytes ?? DEFAULT_FRAME_BYTES,
  });
  const incoming = createQueue<Connection>();
  const open = new Set<Connection>();
  table.set(path, (request, socket, head) => {
    const remote = remoteOf(request, options);
    upgrader.handleUpgrade(request, socket, head, (webSocket) => {
      const connection = createConnection(webSocket, remote, options);
      open.add(connection);
      options.onOpen?.(connection, request);
      void connection.closed.then(() => open.delete(connection));
      incoming.push(connection);
    });
  });
  return {
    get address() {
      return server.listening
        ? `${server instanceof HttpsServer ? 'wss' : 'ws'}://${addressOf(server)}${path === '/' ? '' : path}`
        : path;
    },
    accept: (signal) => incoming.take(signal),
    async close(reason) {
      table.delete(path);
      incoming.end(new TransportError('closed', `${path} no longer listens: ${reason}`, 'Listen again to accept more.'));
      await closeAll(open, reason);
    },
  };
}

async function closeAll(open: ReadonlySet<Connection>, reason: string): Promise<void> {
  const connections = [...open];
  for (const connection of connections) connection.close(reason);
  await Promise.all(connections.map((connection) => connection.closed));
}

function listenError(host: string, port: number, error: NodeJS.ErrnoException): TransportError {
  const at = withPort(host, port);
  if (error.code === 'EADDRINUSE') {
    const remedy = 'Use --port with another number (0 takes a free port), or stop the program that uses it.';
    return new TransportError('port_in_use', `port ${port} is in use on ${host}`, remedy, { cause: error });
  }
  if (error.code === 'EACCES') {
    return new TransportError('refused', `no permission to listen at ${at}`, 'Use --port with a number above 1023.', {
      cause: error,
    });
  }
  if (error.code === 'EADDRNOTAVAIL' || error.code === 'ENOTFOUND') {
    const remedy = 'Use an address of this machine, 127.0.0.1 for this machine only, or 0.0.0.0 for every network.';
    return new TransportError('invalid_address', `${host} is not an address of this machine`, remedy, { cause: error });
  }
  return new TransportError('invalid_address', `cannot listen at ${at}: ${error.message}`, 'Check the host and the port.', {
    cause: error,
  });
}

/**
 * Starts `server`.
 * @returns "host:port", with the port that was taken
 * @throws TransportError `port_in_use`, `refused` or `invalid_address`
 */
export async function listenHttp(server: Server, givenHost: string, port: number): Promise<string> {
  // Addresses in links have brackets: [::1].
  const host = givenHost.replace(/^\[(.*)\]$/, '$1');
  await new Promise<void>((resolve, reject) => {
    const onError = (error: Error) => reject(listenError(host, port, error));
    server.once('error', onError);
    try {
      server.listen(port, host, () => {
        server.off('error', onError);
        resolve();
      });
    } catch (error) {
      // Node throws synchronously for a port outside 0..65535.
      server.off('error', onError);
      onError(error as Error);
    }
  });
  return addressOf(server);
}

/**
 * Listens on its own port.
 * @throws TransportError `port_in_use`, `refused` or `invalid_address`
 */
export async function listenWebSocket(options: ListenOptions): Promise<Listener> {
  const { certificate, accepts } = options;
  const answer: RequestListener = (_request, response) => void response.writeHead(426, { Upgrade: 'websocket' }).end();
  const server = certificate ? createHttpsServer(certificate, answer) : createServer(answer);
  if (accepts) {
    server.on('connection', (socket: Socket) => {
      if (!accepts(socket)) socket.destroy();
    });
  }
  const listener = attachWebSocket(server, options.path ?? '/', options);
  await listenHttp(server, options.host, options.port);
  // Stored, because a closed server does not know its address.
  const { address } = listener;
  return {
    address,
    accept: (signal) => listener.accept(signal),
    async close(reason) {
      const stopped = new Promise<void>((resolve) => server.close(() => resolve()));
      await listener.close(reason);
      server.closeAllConnections();
      await stopped;
    },
  };
}

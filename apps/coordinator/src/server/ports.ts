/** The sockets a server listens on: its port, with TLS where there is a certificate, and a plain one for workers of this machine. */
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { LIMITS } from '@troupe/protocol';
import { listenHttp } from '@troupe/transport/websocket';
import type { Certificate } from './certificate.js';

export interface ListenOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /**
   * Where there is a certificate, also listen without it on a free port of the loopback, for workers that are started on this
   * machine: the certificate may not name the loopback, Node may not know who signed it, and encryption takes time of the cores
   * that compute.
   */
  readonly local: boolean;
  /** The server fails later, for want of file handles for example. It goes on. */
  onFailed(error: Error): void;
}

export interface Listening {
  /** "127.0.0.1:7070". */
  readonly address: string;
  /** The port without TLS. */
  readonly localAddress: string | undefined;
}

export interface Ports {
  /** The one shown now; undefined = plain http. */
  readonly certificate: Certificate | undefined;
  /** Shows this one from now on; links that are open keep the one before. */
  renew(certificate: Certificate): void;
  /** @throws TransportError `port_in_use`, `refused` or `invalid_address` */
  listen(options: ListenOptions): Promise<Listening>;
  close(): void;
}

export interface PortHandlers {
  readonly onRequest: RequestListener;
  onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
}

/** A TLS handshake that takes longer is cut off. */
const HANDSHAKE_MS = 10_000;
/** Two links for each worker, and room for viewers and requests. */
const MAX_CONNECTIONS = 2 * LIMITS.workers + 2_000;

export function createPorts({ onRequest, onUpgrade }: PortHandlers, first?: Certificate): Ports {
  let certificate = first;
  const secure = first && createSecureServer({ cert: first.cert, key: first.key, handshakeTimeout: HANDSHAKE_MS }, onRequest);
  const local = createServer(onRequest);
  const server = secure ?? createServer(onRequest);
  const dropHandshakes = secure ? watchHandshakes(secure) : () => undefined;
  for (const one of [server, local]) {
    one.maxConnections = MAX_CONNECTIONS;
    one.on('upgrade', onUpgrade);
  }
  return {
    get certificate() {
      return certificate;
    },
    renew(renewed) {
      certificate = renewed;
      secure?.setSecureContext({ cert: renewed.cert, key: renewed.key });
    },
    async listen({ host, port, local: wanted, onFailed }) {
      const address = await open(server, host, port, onFailed);
      return { address, localAddress: wanted && secure ? await open(local, '127.0.0.1', 0, onFailed) : undefined };
    },
    close() {
      for (const one of [server, local]) {
        one.close();
        one.closeAllConnections();
      }
      dropHandshakes();
    },
  };
}

async function open(server: Server, host: string, port: number, onFailed: (error: Error) => void): Promise<string> {
  const address = await listenHttp(server, host, port);
  server.on('error', onFailed);
  return address;
}

/** A server does not know the connections whose handshake is under way, and they would delay its end. @returns what drops them */
function watchHandshakes(server: Server): () => void {
  const shaking = new Map<string, Socket>();
  const keyOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`;
  server.on('connection', (socket: Socket) => {
    const key = keyOf(socket);
    shaking.set(key, socket);
    socket.once('close', () => shaking.delete(key));
  });
  server.on('secureConnection', (socket: Socket) => shaking.delete(keyOf(socket)));
  return () => shaking.forEach((socket) => socket.destroy());
}

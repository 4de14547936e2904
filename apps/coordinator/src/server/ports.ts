/** The sockets of a server: its port, with TLS if there is a certificate, and a port without TLS for workers on this machine. */
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { LIMITS } from '@troupe/protocol';
import { listenHttp } from '@troupe/transport/websocket';
import type { Certificate } from './certificate.js';

export interface ListenOptions {
  readonly host: string;
  /** 0 = any free port. */
  readonly port: number;
  /**
   * If there is a certificate, also listen without TLS on a free port of the loopback, for workers that are started on this
   * machine. The certificate may not include the loopback, Node may not know its issuer, and encryption takes time from the
   * cores that compute.
   */
  readonly local: boolean;
  /** An error while the server listens, for example too many open files. It continues. */
  onFailed(error: Error): void;
}

export interface Listening {
  /** "127.0.0.1:7070". */
  readonly address: string;
  /** The address without TLS. */
  readonly localAddress: string | undefined;
}

export interface Ports {
  /** The certificate in use. Undefined: plain http. */
  readonly certificate: Certificate | undefined;
  /** Uses this certificate for new connections. */
  renew(certificate: Certificate): void;
  /** @throws TransportError `port_in_use`, `refused` or `invalid_address` */
  listen(options: ListenOptions): Promise<Listening>;
  close(): void;
}

export interface PortHandlers {
  readonly onRequest: RequestListener;
  onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** @returns whether the connection may stay. It is asked before a TLS handshake */
  accepts(socket: Socket): boolean;
  /** Sees every request, those for upgrades as well, before it is answered. */
  hear?(request: IncomingMessage): void;
}

export function createPorts({ onRequest, onUpgrade, accepts, hear = () => undefined }: PortHandlers, first?: Certificate): Ports {
  let certificate = first;
  const secure =
    first && createSecureServer({ cert: first.cert, key: first.key, handshakeTimeout: LIMITS.tlsHandshakeMs }, onRequest);
  const local = createServer(onRequest);
  const server = secure ?? createServer(onRequest);
  const dropHandshakes = secure ? watchHandshakes(secure) : () => undefined;
  for (const one of [server, local]) {
    one.prependListener('request', hear);
    one.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      hear(request);
      onUpgrade(request, socket, head);
    });
    one.on('connection', (socket: Socket) => {
      if (!accepts(socket)) socket.destroy();
    });
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

/** A server does not track connections during the handshake, and they would delay its end. @returns a function that drops them */
function watchHandshakes(server: Server): () => void {
  const inHandshake = new Map<string, Socket>();
  const keyOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`;
  server.on('connection', (socket: Socket) => {
    const key = keyOf(socket);
    inHandshake.set(key, socket);
    socket.once('close', () => inHandshake.delete(key));
  });
  server.on('secureConnection', (socket: Socket) => inHandshake.delete(keyOf(socket)));
  return () => inHandshake.forEach((socket) => socket.destroy());
}

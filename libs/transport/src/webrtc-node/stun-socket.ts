/** Sockets for STUN, over UDP, TCP or TLS. */
import { createSocket } from 'node:dgram';
import type { LookupAddress } from 'node:dns';
import { lookup } from 'node:dns/promises';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { messageLength } from './stun-message.js';

export type StunTransport = 'udp' | 'tcp' | 'tls';

export interface StunPlace {
  readonly host: string;
  readonly port: number;
  readonly transport: StunTransport;
}

export interface StunSocket {
  send(message: Uint8Array): void;
  /** Each is a whole message. */
  onmessage: (message: Buffer) => void;
  onerror: (error: Error) => void;
  close(): void;
}

/** @throws Error when nothing listens there, or the name does not resolve; aborts with the reason of the signal */
export type OpenStunSocket = (place: StunPlace, signal: AbortSignal) => Promise<StunSocket>;

export const openStunSocket: OpenStunSocket = (place, signal) =>
  place.transport === 'udp' ? openUdp(place, signal) : openStream(place, signal);

async function openUdp({ host, port }: StunPlace, signal: AbortSignal): Promise<StunSocket> {
  const { address, family } = await resolve(host, signal);
  const socket = createSocket(family === 6 ? 'udp6' : 'udp4');
  const opened: StunSocket = {
    // An error comes as an event too.
    send: (message) => socket.send(message, port, address, (error) => void (error && opened.onerror(error))),
    onmessage: () => {},
    onerror: () => {},
    close: () => socket.close(),
  };
  socket.on('message', (message) => opened.onmessage(message));
  socket.on('error', (error) => opened.onerror(error));
  return opened;
}

/** A look-up cannot be stopped, but nobody has to wait for it. */
async function resolve(host: string, signal: AbortSignal): Promise<LookupAddress> {
  let stop = (): void => {};
  const stopped = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason as Error);
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
  });
  try {
    return await Promise.race([lookup(host), stopped]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

async function openStream({ host, port, transport }: StunPlace, signal: AbortSignal): Promise<StunSocket> {
  const socket = transport === 'tls' ? connectTls({ host, port, servername: serverName(host) }) : connectTcp({ host, port });
  await opening(socket, transport === 'tls' ? 'secureConnect' : 'connect', signal);
  const opened: StunSocket = {
    send: (message) => void socket.write(message),
    onmessage: () => {},
    onerror: () => {},
    close: () => void socket.destroy(),
  };
  let rest: Buffer = Buffer.alloc(0);
  socket.on('data', (data: Buffer) => {
    rest = Buffer.concat([rest, data]);
    for (let length = messageLength(rest); length !== undefined && rest.length >= length; length = messageLength(rest)) {
      opened.onmessage(rest.subarray(0, length));
      rest = rest.subarray(length);
    }
  });
  socket.on('error', (error: Error) => opened.onerror(error));
  socket.on('close', () => opened.onerror(new Error('the server closed the connection')));
  return opened;
}

/** TLS takes names alone. */
function serverName(host: string): string {
  return /^[\d.]+$|:/.test(host) ? '' : host;
}

async function opening(socket: Socket, event: string, signal: AbortSignal): Promise<void> {
  const stop = (): void => void socket.destroy(signal.reason as Error);
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once(event, resolve);
      socket.on('error', reject);
      signal.addEventListener('abort', stop, { once: true });
      if (signal.aborted) stop();
    });
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/** A port of an all-reduce on which strangers keep nobody out. */
import type { Socket } from 'node:net';
import { createDoorkeeper, LIMITS, remoteKey } from '@troupe/protocol';
import type { Connection, Listener } from '@troupe/transport';
import { listenWebSocket, type ListenOptions } from '@troupe/transport/websocket';
import type { StarServiceOptions } from '../star/index.js';

export interface GuardedPortOptions extends Pick<ListenOptions, 'host' | 'port' | 'certificate'> {
  /** How many sockets may be open. */
  readonly places: number;
}

export interface GuardedPort {
  readonly listener: Listener;
  /** For the service behind it, which says who has been admitted. */
  readonly doors: Required<Pick<StarServiceOptions, 'addressOf' | 'onAdmitted'>>;
}

/**
 * Sockets that show no ticket and no secret make room for new ones, the oldest of the address that has most.
 * @throws TransportError `port_in_use`, `refused` or `invalid_address`
 */
export async function listenGuarded({ places, ...options }: GuardedPortOptions): Promise<GuardedPort> {
  const keeper = createDoorkeeper(places, false);
  const sockets = new WeakMap<Connection, Socket>();
  const listener = await listenWebSocket({
    ...options,
    frameBytes: LIMITS.frameBytes,
    accepts: (socket) => keeper.enter(socket),
    onOpen: (link, { socket }) => void sockets.set(link, socket),
  });
  return {
    listener,
    doors: {
      addressOf: ({ remote }) => remoteKey(remote) ?? 'this machine',
      onAdmitted(link) {
        const socket = sockets.get(link);
        if (socket) keeper.admit(socket);
      },
    },
  };
}

/** Which sockets of a server stay open. There is always room for one more stranger: the oldest stranger goes. */
import { addressKey } from './address-key.js';
import { Strangers, type Stranger } from './strangers.js';

/** What a doorkeeper needs of a TCP socket. */
export interface DoorSocket {
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
  destroy(): unknown;
  once(event: 'close', listener: () => void): unknown;
}
type Address = Pick<DoorSocket, 'remoteAddress' | 'remotePort'>;

export interface Doorkeeper {
  /** A socket has been accepted. @returns whether it may stay */
  enter(socket: DoorSocket): boolean;
  /** A request has come over the socket. @param address of the client, where a proxy reports it */
  hear(socket: Address, address: string): void;
  /** The client has shown a token: its socket stays. */
  admit(socket: Address): void;
  /** Sockets that are open, and those of them on which nobody has been admitted. */
  readonly open: number;
  readonly strangers: number;
}

/** Strangers have at most this part of all places, so that those who are admitted find some. */
const STRANGERS_PART = 0.5;
/** The most strangers whatever the number of places, because finding the oldest takes time. It is enough for a large run whose workers all reconnect at once. */
const MOST_STRANGERS = 4_096;

interface Guest {
  readonly socket: DoorSocket;
  stranger: Stranger | undefined;
}

/**
 * @param places how many sockets may be open
 * @param behindProxy all sockets come from a proxy: until a request says whose it is, a socket counts by itself
 */
export function createDoorkeeper(places: number, behindProxy: boolean): Doorkeeper {
  const strangers = new Strangers(Math.max(1, Math.min(MOST_STRANGERS, Math.floor(places * STRANGERS_PART))));
  // A request comes over another object than that which was accepted, if there is TLS.
  const guests = new Map<string, Guest>();

  const countedAs = (address: string): string => addressKey(address, behindProxy) ?? 'this machine';

  function watch(guest: Guest, address: string): void {
    guest.stranger?.leave();
    const stranger = strangers.enter(address);
    guest.stranger = stranger;
    // A graceful close would wait for a client that does not read.
    stranger.ended.addEventListener('abort', () => guest.socket.destroy(), { once: true });
  }
  return {
    get open() {
      return guests.size;
    },
    get strangers() {
      return strangers.count;
    },
    enter(socket) {
      if (guests.size >= places && !strangers.evict()) return false;
      const key = keyOf(socket);
      const guest: Guest = { socket, stranger: undefined };
      guests.set(key, guest);
      socket.once('close', () => {
        guest.stranger?.leave();
        if (guests.get(key) === guest) guests.delete(key);
      });
      watch(guest, behindProxy ? key : countedAs(socket.remoteAddress ?? '?'));
      return true;
    },
    hear(socket, address) {
      const guest = guests.get(keyOf(socket));
      if (guest?.stranger) watch(guest, countedAs(address));
    },
    admit(socket) {
      const guest = guests.get(keyOf(socket));
      guest?.stranger?.leave();
      if (guest) guest.stranger = undefined;
    },
  };
}

const keyOf = ({ remoteAddress, remotePort }: Address): string => `${remoteAddress} ${remotePort}`;

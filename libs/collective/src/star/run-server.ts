/** What a service does for one run: it decides what counts, or sums a range. */
import { ProtocolError, type Channel, type Message, type MessageOf } from '@troupe/protocol';
import type { Connection } from '@troupe/transport';
import type { RtcLinks } from '@troupe/transport/webrtc';
import type { LinksOptions, NewLink } from './links.js';

export interface ServerOptions extends LinksOptions {
  /** The secret that coordinators, and the services of reducers, must send. */
  readonly token: string;
  /** A clock, ms, for `serviceMs` in `counted`; absent: that is 0. */
  readonly nowMs?: () => number;
  /** An unguessable text in letters, digits, - and _. */
  readonly secret: () => string;
  /** The reducers of this service; those that a host names come after them. */
  readonly reducers?: readonly ReducerAddress[];
  /** Opens a link to a reducer, or gives up within seconds. Absent: there are none. @throws TransportError */
  readonly connect?: (address: string, signal: AbortSignal) => Promise<Connection>;
  /** STUN and TURN servers for WebRTC links of this worker, with credentials for it. Absent: none. */
  readonly iceServers?: (workerId: string) => MessageOf<'iceServers'>['servers'];
  /** Answers workers that open a link to this reducer over WebRTC. Absent: it does not. */
  readonly rtc?: RtcLinks;
}

/** Where a reducer is. */
export interface ReducerAddress {
  /** For the service. */
  readonly address: string;
  /** For workers; see the message `joined`. */
  readonly forWorkers: string;
}

export interface RunServer {
  /** What the host, or the service of a reducer, said first. */
  readonly hello: MessageOf<'host'> | MessageOf<'assign'>;
  readonly host: Channel;
  /** Body bytes of a message from a link of this run. @throws ProtocolError for a message that must not come */
  bodyBytes(message: Message): number;
  /** Follows the orders of the host until its link ends. Rejects with what ends it. */
  serveHost(): Promise<void>;
  /** Serves a worker until its link ends. Rejects with what ends it. */
  serveMember(link: NewLink, join: MessageOf<'join'>): Promise<void>;
  /** Has a worker sum ranges that offered it, until its link ends. Rejects with what ends it. */
  servePeer(link: NewLink, offer: MessageOf<'offer'>): Promise<void>;
  /** The host is gone. Workers find the run again through its coordinator, so their links close too. Idempotent. */
  end(): void;
}

export function unexpected(message: Message, rule: string): ProtocolError {
  return new ProtocolError(
    'unexpected_message',
    `${message.type} at the wrong moment: ${rule}`,
    'Run the same version of Troupe on all machines.',
  );
}

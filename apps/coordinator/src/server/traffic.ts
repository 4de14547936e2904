/** Sockets, and binary links with their traffic, that count for the address that they come from, and for their token. */
import type { Socket } from 'node:net';
import { addressKey, ProtocolError, remoteKey } from '@troupe/protocol';
import type { Connection } from '@troupe/transport';
import type { Account, Caps, Excess } from './caps.js';

/** Whose caps are exceeded, in words. */
type Whose = 'this address' | 'this token';

/** An account that a link counts for. */
export interface Charge {
  readonly account: Account;
  readonly whose: Whose;
}

export interface Traffic {
  readonly caps: Caps;
  nowMs(): number;
  /** The same link, counted. If it is too much, what it receives is refused: its server answers with the reason. */
  meter(link: Connection): Connection;
  /** The key of the account that a link counts for because of its address; see `addressKey`. */
  keyOf(link: Connection): string | undefined;
  /** Somebody with a token is at the other end. */
  admit(link: Connection): void;
  /** What the link counts for. More may be added, and counts from then on. Empty for a link that is not metered. */
  charges(link: Connection): Charge[];
}

/**
 * Counts the sockets of each address, whatever they are used for: most of them may never send a request.
 * @param nowMs monotonic, ms
 * @returns says whether a new socket may stay, and counts it until it closes
 */
export function createSocketCount(caps: Caps, nowMs: () => number): (socket: Pick<Socket, 'remoteAddress' | 'once'>) => boolean {
  return (socket) => {
    const key = addressKey(socket.remoteAddress ?? '?', false);
    if (key === undefined) return true;
    const account = caps.account(key);
    if (account.open(nowMs())) return false;
    socket.once('close', () => account.close());
    return true;
  };
}

/**
 * @param nowMs monotonic, ms
 * @param onAdmitted somebody with a token is at the other end of this link, as it came
 */
export function createTraffic(
  caps: Caps,
  nowMs: () => number,
  onAdmitted: (link: Connection) => void = () => undefined,
): Traffic {
  const charged = new WeakMap<Connection, Charge[]>();
  /** As they came, by the same links counted. */
  const originals = new WeakMap<Connection, Connection>();
  return {
    caps,
    nowMs,
    keyOf: ({ remote }) => remoteKey(remote),
    meter(link) {
      const charges: Charge[] = [];
      const failure = openAt(remoteKey(link.remote), link, charges);
      const metered = counted(link, charges, nowMs, failure);
      charged.set(metered, charges);
      originals.set(metered, link);
      return metered;
    },
    admit: (link) => onAdmitted(originals.get(link) ?? link),
    charges: (link) => charged.get(link) ?? [],
  };

  function openAt(key: string | undefined, link: Connection, charges: Charge[]): ProtocolError | undefined {
    if (key === undefined) return undefined;
    const account = caps.account(key);
    const excess = account.open(nowMs());
    if (excess) return excessError(excess, 'this address');
    charges.push({ account, whose: 'this address' });
    void link.closed.then(() => account.close());
    return undefined;
  }
}

/** @param failure why nothing is received at all */
function counted(
  link: Connection,
  charges: readonly Charge[],
  nowMs: () => number,
  failure: ProtocolError | undefined,
): Connection {
  let refused = failure;
  return {
    remote: link.remote,
    closed: link.closed,
    get bufferedBytes() {
      return link.bufferedBytes;
    },
    send: (frame) => link.send(frame),
    drained: (most, signal) => link.drained(most, signal),
    close: (reason) => link.close(reason),
    async receive(signal) {
      if (refused) throw refused;
      const frame = await link.receive(signal);
      for (const { account, whose } of charges) {
        const excess = account.frame(frame.byteLength, nowMs());
        if (excess) throw (refused = excessError(excess, whose));
      }
      return frame;
    },
  };
}

const PLACES = new Intl.NumberFormat('en');

/** What has been exceeded; {} is the cap. */
const EXCESSES: Readonly<Record<Excess['kind'], string>> = {
  links: 'already has {} links, which is as many as it may have',
  openings: 'has opened more than {} links within a minute',
  frames: 'has sent more than {} messages within a minute',
  bytes: 'has sent more than {} bytes within a minute',
  leases: 'has been given more than {} leases within a minute',
};

export function excessError({ kind, cap }: Excess, whose: Whose): ProtocolError {
  const message = `${whose} ${EXCESSES[kind].replace('{}', PLACES.format(cap))}`;
  const wait = kind === 'links' ? 'Try again when another link has closed.' : 'Try again in a minute.';
  const remedy =
    whose === 'this token' && kind === 'links'
      ? `${wait} For more links at a time, ask the organizer for another token.`
      : `${wait} The organizer can start the coordinator with --cap-scale 4 to allow four times as much.`;
  return new ProtocolError(kind === 'links' ? 'too_many_links' : 'rate_limited', message, remedy);
}

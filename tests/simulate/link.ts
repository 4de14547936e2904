/**
 * A link between two hosts with latency, bandwidth and faults. Without faults it gives the
 * guarantees of a transport: frames arrive whole and in order, and a side that hears nothing for a
 * while considers the link dead.
 */
import type { Connection } from '@troupe/transport';
import { createMemoryPair, type MemoryConnection } from '@troupe/transport/memory';
import type { Clock } from './clock.js';
import type { Host } from './host.js';
import type { Random } from './random.js';

/**
 * As in the WebSocket transport. Ticks are counted, so that a host that was frozen does not think
 * that others were silent.
 */
const HEARTBEAT_MS = 5_000;
const HEARTBEATS_MISSED = 4;
/** How long a frame that is to be reordered waits for the next one. */
const OVERTAKING_MS = 1_000;
const HEADER_BYTES = 16;

/** Damage that a transport never does to a frame. */
export const TAMPERINGS = ['drop', 'duplicate', 'reorder', 'header', 'truncate', 'garbage'] as const;
export type Tampering = (typeof TAMPERINGS)[number];

export interface LinkOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly name: string;
  /** One way, ms. */
  readonly latencyMs: number;
  readonly bytesPerMs: number;
  /** How many times slower the host sends now. */
  slownessOf(host: Host): number;
  /** What all links of a host have in common; absent: each link has its own bandwidth. */
  uplinkOf?(host: Host): Line;
  /** The same for what reaches a host; absent: its bandwidth is no limit. */
  downlinkOf?(host: Host): Line | undefined;
  /** Until this time nothing passes between the hosts; it may change. */
  cutUntilMs(): number;
  /** Sees every frame as it was sent. */
  onFrame(from: Host, to: Host, frame: Uint8Array): void;
  /** How to tamper with this frame, if at all. */
  fateOf(from: Host, to: Host, frame: Uint8Array): Tampering | undefined;
  onTamper(link: string, how: Tampering): void;
}

/** Everything that leaves a host, or reaches it, takes turns on it. */
export interface Line {
  readonly bytesPerMs: number;
  freeAtMs: number;
}

export interface Link {
  readonly name: string;
  /** The host that dialled and the host that answered. */
  readonly hosts: readonly [Host, Host];
  /** Whether at least one side considers it open. */
  readonly open: boolean;
  readonly connections: readonly [Connection, Connection];
  /** Breaks the link: both sides see it at once, and frames under way are lost. */
  break(reason: string): void;
  /** Tampers with the next frame from that host. */
  tamper(side: 0 | 1, how: Tampering): void;
  /**
   * The process has died. Its operating system tells the other side, unless the whole machine is
   * gone (`silently`).
   */
  forget(host: Host, silently: boolean): void;
}

type Parcel =
  | { readonly kind: 'frame'; readonly frame: Uint8Array }
  | { readonly kind: 'ping' }
  | { readonly kind: 'close' | 'reset'; readonly reason: string };

interface End {
  readonly host: Host;
  /** The host's end of a memory link, and the simulation's. */
  readonly near: MemoryConnection;
  readonly box: MemoryConnection;
  silentTicks: number;
  over: boolean;
  /** Sent by the host, and not in the pipe yet. */
  unpipedBytes: number;
}

/** One direction of a link. */
interface Pipe {
  readonly bufferedBytes: number;
  /** When at most `bytes` of what is under way now will not have departed. */
  drainedAtMs(bytes: number): number;
  carry(parcel: Parcel): void;
  tamper(how: Tampering): void;
  clear(): void;
}

export function createLink(options: LinkOptions, hosts: readonly [Host, Host]): Link {
  const ends = hosts.map((host, i) => createEnd(host, hosts[1 - i].name)) as [End, End];
  const pipes = ends.map((from, i) => createPipe(options, from, ends[1 - i], (parcel) => arrive(ends[1 - i], parcel))) as [
    Pipe,
    Pipe,
  ];
  const lose = (end: End, reason: string): void => {
    end.over = true;
    end.box.breakLink(reason);
  };
  ends.forEach((end, i) => {
    void forward(end, pipes[i]);
    beat(end, pipes[i]);
  });

  return {
    name: options.name,
    hosts,
    connections: [connectionOf(ends[0], pipes[0], options.clock), connectionOf(ends[1], pipes[1], options.clock)],
    get open() {
      return ends.some(({ over }) => !over);
    },
    break(reason) {
      for (const pipe of pipes) pipe.clear();
      for (const end of ends) if (!end.over) end.host.admit(() => lose(end, reason));
    },
    tamper: (side, how) => pipes[side].tamper(how),
    forget(host, silently) {
      ends.forEach((end, i) => {
        if (end.host !== host || end.over) return;
        end.over = true;
        if (!silently) pipes[i].carry({ kind: 'reset', reason: 'the process at the other end has died' });
      });
    },
  };

  function arrive(end: End, parcel: Parcel): void {
    if (end.over) return;
    end.silentTicks = 0;
    if (parcel.kind === 'frame') end.box.send(parcel.frame);
    else if (parcel.kind === 'reset') lose(end, parcel.reason);
    else if (parcel.kind === 'close') {
      end.over = true;
      end.box.close(parcel.reason);
    }
  }

  function beat(end: End, pipe: Pipe): void {
    end.host.after(HEARTBEAT_MS, `heartbeat of ${options.name}`, () => {
      if (end.over) return;
      if (++end.silentTicks > HEARTBEATS_MISSED) {
        lose(end, `no sign of life for ${(HEARTBEATS_MISSED * HEARTBEAT_MS) / 1000} s`);
        pipe.carry({ kind: 'reset', reason: 'the other side gave up on the link' });
        return;
      }
      pipe.carry({ kind: 'ping' });
      beat(end, pipe);
    });
  }

  /** Passes the host's frames into the pipe until the link closes. */
  async function forward(end: End, pipe: Pipe): Promise<void> {
    try {
      for (;;) {
        const frame = await end.box.receive();
        options.onFrame(end.host, hosts[1 - ends.indexOf(end)], frame);
        pipe.carry({ kind: 'frame', frame });
        end.unpipedBytes -= frame.byteLength;
      }
    } catch {
      const { kind, reason } = await end.box.closed;
      if (end.over || kind === 'lost') return;
      end.over = true;
      pipe.carry({ kind: 'close', reason });
    }
  }
}

function createEnd(host: Host, other: string): End {
  const [near, box] = createMemoryPair([host.name, other]);
  return { host, near, box, silentTicks: 0, over: false, unpipedBytes: 0 };
}

function connectionOf(end: End, pipe: Pipe, clock: Clock): Connection {
  const { host, near } = end;
  return {
    remote: near.remote,
    closed: near.closed,
    get bufferedBytes() {
      return end.unpipedBytes + pipe.bufferedBytes;
    },
    send(frame) {
      near.send(frame);
      end.unpipedBytes += frame.byteLength;
    },
    receive: (signal) => near.receive(signal),
    async drained(most, signal) {
      await near.drained(most, signal);
      while (end.unpipedBytes + pipe.bufferedBytes > most) {
        // What the host has sent is in the pipe a moment later, by the clock in the same instant.
        if (end.unpipedBytes === 0) await host.sleep(Math.max(1, pipe.drainedAtMs(most) - clock.nowMs), signal);
        await near.drained(most, signal);
      }
    },
    close: (reason) => near.close(reason),
  };
}

/** A parcel under way. */
interface Passage {
  readonly parcel: Parcel;
  readonly bytes: number;
  /** When it leaves the line that it is on, or the last one. */
  departsMs: number;
  /** Undefined before it is on the last line. */
  atMs: number | undefined;
}

function createPipe(options: LinkOptions, from: End, to: End, arrive: (parcel: Parcel) => void): Pipe {
  const { clock, latencyMs, bytesPerMs } = options;
  const tamper = createTamperer(options, from.host, to.host);
  let under: Passage[] = [];
  const uplink = options.uplinkOf?.(from.host) ?? { freeAtMs: 0, bytesPerMs };
  const downlink = options.downlinkOf?.(to.host);
  let pumping = false;

  const pump = (): void => {
    const first = under[0]?.atMs;
    if (pumping || first === undefined) return;
    pumping = true;
    const atMs = Math.max(first, options.cutUntilMs());
    to.host.after(atMs - clock.nowMs, `frame for ${to.host.name}`, () => {
      pumping = false;
      const blocked = options.cutUntilMs() > clock.nowMs;
      const parcel = blocked ? undefined : under.shift()?.parcel;
      if (parcel) arrive(parcel);
      pump();
    });
  };
  /** It has left the sender's line. Others reach the receiver meanwhile, so its turn there is known only now. */
  const descend = (passage: Passage, line: Line): void => {
    passage.departsMs = occupy(line, clock.nowMs, passage.bytes);
    passage.atMs = passage.departsMs + latencyMs;
    pump();
  };
  const queue = (parcel: Parcel): void => {
    if (to.over || !to.host.alive) return;
    const bytes = parcel.kind === 'frame' ? parcel.frame.byteLength : HEADER_BYTES;
    const departsMs = occupy(uplink, clock.nowMs, bytes * options.slownessOf(from.host));
    const passage: Passage = { parcel, bytes, departsMs, atMs: downlink ? undefined : departsMs + latencyMs };
    under.push(passage);
    if (downlink) clock.after(departsMs - clock.nowMs, `downlink of ${to.host.name}`, () => descend(passage, downlink));
    else pump();
  };
  return {
    get bufferedBytes() {
      const waiting = under.filter(({ atMs, departsMs }) => atMs === undefined || departsMs > clock.nowMs);
      return waiting.reduce((sum, { parcel, bytes }) => sum + (parcel.kind === 'frame' ? bytes : 0), 0);
    },
    drainedAtMs(most) {
      let left = most;
      for (const { departsMs, parcel, bytes } of under.toReversed()) {
        if (parcel.kind === 'frame') left -= bytes;
        if (left < 0) return departsMs;
      }
      return clock.nowMs;
    },
    carry(parcel) {
      if (!from.host.alive && parcel.kind !== 'reset') return;
      if (parcel.kind === 'frame') tamper.pass(parcel.frame, (frame) => queue({ kind: 'frame', frame }));
      else queue(parcel);
    },
    tamper: (how) => tamper.next(how),
    clear() {
      under = [];
    },
  };
}

/** @returns when these bytes have passed */
function occupy(line: Line, nowMs: number, bytes: number): number {
  line.freeAtMs = Math.max(line.freeAtMs, nowMs) + bytes / line.bytesPerMs;
  return line.freeAtMs;
}

interface Tamperer {
  next(how: Tampering): void;
  pass(frame: Uint8Array, on: (frame: Uint8Array) => void): void;
}

function createTamperer(options: LinkOptions, from: Host, to: Host): Tamperer {
  const { clock, random, name, onTamper } = options;
  let due: Tampering | undefined;
  let overtaken: (() => void) | undefined;
  const apply = (how: Tampering, frame: Uint8Array, on: (frame: Uint8Array) => void): void => {
    onTamper(name, how);
    if (how === 'drop') return;
    if (how === 'duplicate') for (let i = 0; i < 2; i++) on(frame.slice());
    else if (how === 'truncate') on(frame.slice(0, Math.floor(frame.length / 2)));
    else if (how === 'reorder') {
      const release = (): void => {
        overtaken = undefined;
        on(frame);
      };
      overtaken = release;
      clock.after(OVERTAKING_MS, `frame for ${to.name}`, () => overtaken === release && release());
    } else on(damaged(frame, how, random));
  };
  return {
    next: (how) => (due = how),
    pass(frame, on) {
      const how = due ?? options.fateOf(from, to, frame);
      due = undefined;
      if (how) return apply(how, frame, on);
      on(frame);
      overtaken?.();
    },
  };
}

/**
 * Flips a bit of the header, outside the bytes that name a transfer, or makes a message
 * undecodable.
 */
function damaged(frame: Uint8Array, how: 'header' | 'garbage', random: Random): Uint8Array {
  const copy = frame.slice();
  if (how === 'garbage' && frame[0] === 1) copy[HEADER_BYTES] = 0xc1;
  else copy[random.pick([0, 1, 2, 3, 8, 9, 10, 11])] ^= 1 << Math.floor(random.next() * 8);
  return copy;
}

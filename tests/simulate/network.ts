/** The network: addresses that hosts listen on, and open links. */
import { TransportError, type Connection } from '@troupe/transport';
import type { Clock } from './clock.js';
import type { Host } from './host.js';
import { createLink, type Line, type Link, type LinkOptions } from './link.js';
import type { Random } from './random.js';

const CONNECT_MS = 10_000;
const RETRY_MS = 250;

export type Serve = (link: Connection) => Promise<void>;

export interface Network {
  readonly links: readonly Link[];
  /** What the host has sent and received. */
  trafficOf(name: string): Traffic;
  /** Makes `serve` reachable as "sim://HOST/PATH" until the host dies. */
  listen(host: Host, path: string, serve: Serve): void;
  /** @throws TransportError */
  dial(from: Host, address: string, signal: AbortSignal): Promise<Connection>;
  /** Silently drops the host off the network for `ms`. */
  isolate(name: string, ms: number): void;
  /** Silently drops what passes between the two hosts for `ms`. */
  separate(names: readonly [string, string], ms: number): void;
  /** Everything that leaves the host, on links of now and later, takes that many times longer for `ms`. */
  slow(name: string, times: number, ms: number): void;
  /** Kills the process and ends its links. */
  kill(host: Host, silently: boolean): void;
}

export interface Traffic {
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

/** Bandwidths of a host that all of its links share, bytes/ms. */
export interface Lines {
  readonly up: number;
  readonly down: number;
}

export interface NetworkOptions extends Pick<LinkOptions, 'bytesPerMs' | 'onFrame' | 'fateOf' | 'onTamper'> {
  readonly clock: Clock;
  readonly random: Random;
  /** One way, ms: from and to. */
  readonly latencyMs: readonly [number, number];
  /** Whether all links of a host share its bandwidth. */
  readonly sharedUplinks?: boolean;
  /** Absent: nothing but `bytesPerMs` limits a link. */
  linesOf?(name: string): Lines;
}

interface Endpoint {
  readonly host: Host;
  readonly serve: Serve;
}

export function createNetwork(options: NetworkOptions): Network {
  const { clock, random } = options;
  const endpoints = new Map<string, Endpoint>();
  const { linesOf } = options;
  const uplinkOf = createLines((name) => linesOf?.(name).up ?? options.bytesPerMs);
  const downlinkOf = linesOf && createLines((name) => linesOf(name).down);
  const isShared = options.sharedUplinks === true || linesOf !== undefined;
  const traffic = new Map<string, { sentBytes: number; receivedBytes: number }>();
  const trafficOf = (name: string): { sentBytes: number; receivedBytes: number } => {
    const found = traffic.get(name) ?? { sentBytes: 0, receivedBytes: 0 };
    traffic.set(name, found);
    return found;
  };
  let links: Link[] = [];
  /** By a host, or by two of them. */
  const cutsUntilMs = new Map<string, number>();
  const slowed = new Map<string, { readonly times: number; readonly untilMs: number }>();
  let made = 0;

  const pairOf = (a: string, b: string): string => [a, b].sort().join(' ');
  const cut = (what: string, ms: number): void =>
    void cutsUntilMs.set(what, Math.max(cutsUntilMs.get(what) ?? 0, clock.nowMs + ms));
  const cutUntilMs = (a: string, b: string): number =>
    Math.max(...[a, b, pairOf(a, b)].map((what) => cutsUntilMs.get(what) ?? 0));
  const slownessOf = ({ name }: Host): number => {
    const found = slowed.get(name);
    return found && found.untilMs > clock.nowMs ? found.times : 1;
  };

  return {
    get links() {
      return links.filter(({ open }) => open);
    },
    trafficOf: (name) => ({ ...trafficOf(name) }),
    listen: (host, path, serve) => void endpoints.set(`${host.name}${path}`, { host, serve }),
    dial,
    isolate: cut,
    separate: (names, ms) => cut(pairOf(...names), ms),
    slow: (name, times, ms) => void slowed.set(name, { times, untilMs: clock.nowMs + ms }),
    kill(host, silently) {
      host.kill();
      for (const link of links) link.forget(host, silently);
    },
  };

  async function dial(from: Host, address: string, signal: AbortSignal): Promise<Connection> {
    const [, name, path] = /^sim:\/\/([^/]+)(\/.*)$/.exec(address)!;
    const latencyMs = random.between(...options.latencyMs);
    const pause = (ms: number): Promise<void> =>
      from.sleep(ms, signal).catch((cause: unknown) => {
        throw new TransportError('aborted', 'the connection attempt was cancelled', 'Connect again if needed.', { cause });
      });
    await pause(2 * latencyMs);
    for (let waitedMs = 0; waitedMs < CONNECT_MS; waitedMs += RETRY_MS) {
      const endpoint = endpoints.get(`${name}${path}`);
      const reached = cutUntilMs(from.name, name) <= clock.nowMs;
      if (reached && !endpoint?.host.alive)
        throw new TransportError('unreachable', `nothing listens at ${address}`, 'Try again later.');
      if (reached && endpoint && !endpoint.host.frozen) return open(from, endpoint, latencyMs);
      await pause(RETRY_MS);
    }
    throw new TransportError('timeout', `no answer from ${address} in ${CONNECT_MS} ms`, 'Try again later.');
  }

  function open(from: Host, { host, serve }: Endpoint, latencyMs: number): Connection {
    const name = `${from.name}-${host.name}-${made++}`;
    const own = { name, latencyMs, random: random.fork(name), slownessOf, cutUntilMs: () => cutUntilMs(from.name, host.name) };
    const lines = { ...(isShared && { uplinkOf }), ...(downlinkOf && { downlinkOf }) };
    const link = createLink({ ...options, ...own, ...lines, onFrame }, [from, host]);
    links = [...links.filter((old) => old.open), link];
    host.after(0, 'accept', () => void serve(link.connections[1]));
    return link.connections[0];
  }

  function onFrame(from: Host, to: Host, frame: Uint8Array): void {
    trafficOf(from.name).sentBytes += frame.byteLength;
    trafficOf(to.name).receivedBytes += frame.byteLength;
    options.onFrame(from, to, frame);
  }
}

/** One line for each host, made when it is first needed. */
function createLines(bytesPerMsOf: (name: string) => number): (host: Host) => Line {
  const lines = new Map<string, Line>();
  return ({ name }) => {
    const line = lines.get(name) ?? { bytesPerMs: bytesPerMsOf(name), freeAtMs: 0 };
    lines.set(name, line);
    return line;
  };
}

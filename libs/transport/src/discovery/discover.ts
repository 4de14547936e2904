/** Looks for runs on the networks of this machine. */
import os from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type mdns from 'multicast-dns';
import { openSocket, placesOf, type Interfaces } from './network.js';
import { DISCOVERY_LIMITS, runsIn, SERVICE, type FoundRun } from './records.js';

/** Between two questions: packets get lost. */
const ASK_MS = 1_000;
/** After the first answer, time for the others. */
const OTHERS_MS = 1_200;
const LOOK_MS = 50;

export interface DiscoverOptions {
  /** Time for the first answer. */
  readonly forMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly interfaces?: () => Interfaces;
}

export interface Discovery {
  /** In the order of their names. */
  readonly runs: readonly FoundRun[];
  /** Networks that were asked: "eth0, udp4". Empty on a machine without a network. */
  readonly asked: readonly string[];
  /** Why others could not be. */
  readonly problems: readonly string[];
}

/** @throws the reason of `signal` when it aborts */
export async function discover({
  forMs,
  signal,
  interfaces = () => os.networkInterfaces(),
}: DiscoverOptions): Promise<Discovery> {
  const places = placesOf(interfaces(), process.platform);
  const runs = new Map<string, FoundRun>();
  const problems = new Map<string, string>();
  const sockets = places.map((place): mdns.MulticastDNS => {
    const socket = openSocket(place);
    socket.on('error', ({ message }) => problems.set(place.key, `${place.key}: ${message}`));
    socket.on('warning', () => undefined);
    socket.on('response', ({ answers = [], additionals = [] }, { address }) => {
      for (const run of runsIn([...answers, ...additionals], address)) {
        // The same run is heard on several networks: any of its addresses will do.
        if (!runs.has(run.id) && runs.size < DISCOVERY_LIMITS.runs) runs.set(run.id, run);
      }
    });
    return socket;
  });
  try {
    await listen(sockets, () => runs.size > 0, forMs, signal);
  } finally {
    await Promise.all(sockets.map((socket) => new Promise<void>((resolve) => socket.destroy(resolve))));
  }
  const asked = places.map(({ key }) => key).filter((key) => !problems.has(key));
  return { runs: [...runs.values()].sort((a, b) => a.name.localeCompare(b.name)), asked, problems: [...problems.values()] };
}

/** Asks again and again until there has been time for the first answer, and for the others after it. */
async function listen(
  sockets: readonly mdns.MulticastDNS[],
  hasFound: () => boolean,
  forMs: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const startedMs = performance.now();
  let [askAtMs, endMs] = [startedMs, startedMs + forMs];
  let isFirst = true;
  while (sockets.length > 0 && performance.now() < endMs) {
    if (performance.now() >= askAtMs) {
      for (const socket of sockets) socket.query(SERVICE, 'PTR');
      askAtMs = performance.now() + ASK_MS;
    }
    await sleep(LOOK_MS, undefined, { signal });
    if (isFirst && hasFound()) {
      isFirst = false;
      endMs = Math.min(endMs, performance.now() + OTHERS_MS);
    }
  }
}

/** Reproducible random numbers, and links that tests disturb. */
import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Chance {
  /** Uniform in [0, most). */
  between(least: number, most: number): number;
  /** Uniform, both included. */
  whole(least: number, most: number): number;
  pick<T>(items: readonly T[]): T;
  shuffled<T>(items: readonly T[]): T[];
}

/** The upper half of the linear congruential generator of Knuth's MMIX. */
export function createChance(seed: number): Chance {
  let state = BigInt(seed);
  const fraction = (): number => {
    state = BigInt.asUintN(64, state * 6364136223846793005n + 1442695040888963407n);
    return Number(state >> 32n) / 2 ** 32;
  };
  const whole = (least: number, most: number): number => least + Math.floor(fraction() * (most - least + 1));
  return {
    between: (least, most) => least + fraction() * (most - least),
    whole,
    pick: (items) => items[whole(0, items.length - 1)],
    shuffled(items) {
      const left = [...items];
      return items.map(() => left.splice(whole(0, left.length - 1), 1)[0]);
    },
  };
}

/** Runs a random test with a deadline. A failure names the seed and the steps so far. */
export async function byChance(
  deadlineMs: number,
  run: (chance: Chance, note: (what: string) => void) => Promise<void>,
): Promise<void> {
  const seed = Number(process.env.TROUPE_CHAOS_SEED ?? Date.now() % 2 ** 31);
  const done: string[] = [];
  const startMs = performance.now();
  const note = (what: string): void => void done.push(`${((performance.now() - startMs) / 1000).toFixed(1)} s ${what}`);
  const over = new AbortController();
  const late = sleep(deadlineMs, undefined, { signal: over.signal }).then(() => {
    throw new Error(`not done after ${deadlineMs / 1000} s`);
  });
  try {
    await Promise.race([run(createChance(seed), note), late]);
  } catch (error) {
    throw new Error(`with TROUPE_CHAOS_SEED=${seed}: ${(error as Error).message}\n  ${done.join('\n  ')}`, { cause: error });
  } finally {
    over.abort();
    late.catch(() => undefined);
  }
}

/** A TCP link that passes through this process. */
export interface Link {
  /** Resets both halves. */
  cut(): void;
  /** Drops all bytes in both directions without closing anything. */
  stall(ms: number): void;
  /** Delays every piece by `ms`. */
  delay(ms: number): void;
}

export interface Proxy {
  readonly port: number;
  /** The open links. */
  readonly links: ReadonlySet<Link>;
  close(): void;
}

/** Forwards links to a port of this machine. */
export async function createProxy(target: () => number): Promise<Proxy> {
  const links = new Set<Link>();
  const server = net.createServer((near) => {
    const far = net.connect(target(), '127.0.0.1');
    const link = join(near, far);
    links.add(link);
    near.once('close', () => links.delete(link));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as net.AddressInfo).port,
    links,
    close() {
      server.close();
      for (const link of links) link.cut();
    },
  };
}

function join(near: net.Socket, far: net.Socket): Link {
  let delayMs = 0;
  let stalled: Promise<void> = Promise.resolve();
  const cut = (): void => {
    near.resetAndDestroy();
    far.resetAndDestroy();
  };
  const pass = async (from: net.Socket, to: net.Socket): Promise<void> => {
    for await (const chunk of from) {
      await stalled;
      if (delayMs > 0) await sleep(delayMs);
      if (!to.write(chunk as Buffer)) await Promise.race([once(to, 'drain'), once(to, 'close')]);
    }
    to.end();
  };
  for (const socket of [near, far]) socket.setNoDelay(true).on('error', cut);
  pass(near, far).catch(cut);
  pass(far, near).catch(cut);
  return {
    cut,
    stall(ms) {
      stalled = Promise.all([stalled, sleep(ms)]).then(() => undefined);
    },
    delay(ms) {
      delayMs = ms;
    },
  };
}

/** How much a worker sends and receives, and how fast. */
import { createMeter, type Connection, type Traffic } from '@troupe/transport';
import { createRateLimit, type WorkerPorts } from '@troupe/worker';

export interface TrafficSettings {
  /** Sent and received together, bytes. Undefined: no limit. */
  readonly limitBytes: number | undefined;
  /** In each direction, Mbit/s. Undefined: no limit. */
  readonly rateMbit: number | undefined;
}

/** The worker has used up its limit, and ends. */
export interface LimitReached extends Traffic {
  readonly kind: 'limit';
  readonly limitBytes: number;
}

export interface TrafficWatch {
  /** Aborts when the limit is reached. */
  readonly spent: AbortSignal;
  /** Undefined while there is some left. */
  readonly reached: LimitReached | undefined;
  /** The same link, counted and limited. */
  watch(link: Connection): Connection;
}

export function watchTraffic(
  { limitBytes = Infinity, rateMbit }: TrafficSettings,
  clock: Pick<WorkerPorts, 'nowMs' | 'sleep'>,
): TrafficWatch {
  const spent = new AbortController();
  const meter = createMeter(({ sentBytes, receivedBytes }) => {
    if (sentBytes + receivedBytes >= limitBytes && !spent.signal.aborted)
      spent.abort(new Error('paused: the traffic limit is reached'));
  });
  const rate = rateMbit === undefined ? undefined : createRateLimit(clock, rateMbit);
  return {
    spent: spent.signal,
    get reached(): LimitReached | undefined {
      const { sentBytes, receivedBytes } = meter;
      return spent.signal.aborted ? { kind: 'limit', limitBytes, sentBytes, receivedBytes } : undefined;
    },
    watch(link) {
      const counted = meter.count(link);
      return rate ? rate.limit(counted) : counted;
    },
  };
}

const UNITS = { MB: 1e6, GB: 1e9, TB: 1e12 } as const;

/** @param text such as "250MB" or "1.5 GB"; units are powers of 1000. @returns bytes */
export function parseSize(text: string): number {
  const [, amount, unit] = /^([\d.]+) ?([MGT]B)$/i.exec(text)!;
  return Number(amount) * UNITS[unit.toUpperCase() as keyof typeof UNITS];
}

/** "251 MB". */
export function sizeText(bytes: number): string {
  const [unit, size] = Object.entries(UNITS).findLast(([, one]) => bytes >= one) ?? ['MB', 1e6];
  return `${(bytes / size).toLocaleString('en', { maximumSignificantDigits: 3 })} ${unit}`;
}

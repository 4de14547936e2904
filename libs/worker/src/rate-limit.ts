/** Limits what a worker sends and receives a second, over all of its links together. */
import { MessageBudget } from '@troupe/protocol';
import { throttle, type Connection, type Pacer } from '@troupe/transport';
import type { WorkerPorts } from './ports.js';

export interface RateLimit {
  /** In each direction, from now on, Mbit/s (10^6 bits); 0: no limit. */
  set(mbit: number): void;
  /** The same link, limited. */
  limit(link: Connection): Connection;
}

/** What may pass at once after a rest, as seconds of the rate. */
const BURST_S = 0.1;

export function createRateLimit(clock: Pick<WorkerPorts, 'nowMs' | 'sleep'>, mbit = 0): RateLimit {
  const pacers = { sending: createPacer(clock), receiving: createPacer(clock) };
  const set = (next: number): void => Object.values(pacers).forEach((pacer) => pacer.set(next));
  set(mbit);
  return { set, limit: (link) => throttle(link, pacers) };
}

function createPacer({ nowMs, sleep }: Pick<WorkerPorts, 'nowMs' | 'sleep'>): Pacer & { set(mbit: number): void } {
  let budget: MessageBudget | undefined;
  return {
    set(mbit) {
      const perSecond = (mbit * 1e6) / 8;
      budget = mbit > 0 ? new MessageBudget({ burst: perSecond * BURST_S, perSecond }, nowMs()) : undefined;
    },
    waitMs: () => budget?.take(nowMs(), 0) ?? 0,
    passed: (bytes) => void budget?.take(nowMs(), bytes),
    sleep,
  };
}

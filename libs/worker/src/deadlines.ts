/** How long a worker waits, by the clock and the timers of its ports. */
import type { WorkerPorts } from './ports.js';

type Clock = Pick<WorkerPorts, 'nowMs' | 'sleep'>;

/** A step of the clock counts at most this much: a machine that slept for an hour has not waited for an hour. */
const SLICE_MS = 60_000;

/** Resolves after `ms`, although timers may fire early. Rejects with the signal's reason when it aborts. */
export async function elapse(ms: number, { nowMs, sleep }: Clock, signal: AbortSignal): Promise<void> {
  for (let leftMs = ms; leftMs > 0;) {
    const startMs = nowMs();
    await sleep(Math.min(leftMs, SLICE_MS), signal);
    signal.throwIfAborted();
    leftMs -= Math.min(nowMs() - startMs, SLICE_MS);
  }
}

/** Makes signals that abort after `ms`; after the end of the session they never do. */
export function createDeadlines(clock: Clock, session: AbortSignal): (ms: number) => AbortSignal {
  return (ms) => {
    const over = new AbortController();
    elapse(ms, clock, session).then(
      () => over.abort(new Error(`${ms} ms have passed`)),
      (error: unknown) => {
        if (!session.aborted) over.abort(error);
      },
    );
    return over.signal;
  };
}

/** Waits for something that was requested. */
export interface Expectation {
  /** It was requested. */
  begin(): void;
  /** It has begun to arrive. */
  met(): void;
  /** It comes later: if it is expected, the wait starts again. */
  prolong(): void;
  /** Nothing is read during `work`, so the wait starts again after it. */
  pausedDuring(work: () => Promise<void>): Promise<void>;
}

export function createExpectation(deadline: () => AbortSignal, onLate: () => void): Expectation {
  let expected = false;
  let running: AbortSignal | undefined;
  const start = (): void => {
    const over = deadline();
    running = over;
    const strike = (): void => {
      if (running === over) onLate();
    };
    over.addEventListener('abort', strike, { once: true });
  };
  return {
    begin() {
      expected = true;
      start();
    },
    met() {
      expected = false;
      running = undefined;
    },
    prolong() {
      if (expected) start();
    },
    async pausedDuring(work) {
      running = undefined;
      await work();
      if (expected) start();
    },
  };
}

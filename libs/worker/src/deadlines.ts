/** How long a worker waits, all by the clock and the timers of its ports. */
import type { WorkerPorts } from './ports.js';

type Clock = Pick<WorkerPorts, 'nowMs' | 'sleep'>;

/** Of the time between two looks at the clock no more than this counts: a machine that was asleep for an hour did not wait for an hour. */
const SLICE_MS = 60_000;

/** Resolves when `ms` have been waited for; timers may be early. Rejects with the signal's reason when it aborts. */
export async function pass(ms: number, { nowMs, sleep }: Clock, signal: AbortSignal): Promise<void> {
  for (let leftMs = ms; leftMs > 0;) {
    const startMs = nowMs();
    await sleep(Math.min(leftMs, SLICE_MS), signal);
    signal.throwIfAborted();
    leftMs -= Math.min(nowMs() - startMs, SLICE_MS);
  }
}

/** Makes signals that abort after so many ms; those of a session that is over never do. */
export function createDeadlines(clock: Clock, session: AbortSignal): (ms: number) => AbortSignal {
  return (ms) => {
    const over = new AbortController();
    pass(ms, clock, session).then(
      () => over.abort(new Error(`${ms} ms have passed`)),
      (error: unknown) => {
        if (!session.aborted) over.abort(error);
      },
    );
    return over.signal;
  };
}

/** A wait for something that was asked for. */
export interface Expectation {
  /** It was asked for. */
  begin(): void;
  /** It begins to arrive. */
  met(): void;
  /** Who is busy hears nothing: the wait starts anew when `work` is done. */
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
    async pausedDuring(work) {
      running = undefined;
      await work();
      if (expected) start();
    },
  };
}

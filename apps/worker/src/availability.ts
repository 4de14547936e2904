/** Lets a worker compute in its hours, and while other programs leave the processor idle. */
import type { WorkerEnd } from '@troupe/worker';
import { clockTime, isWithin, nextBeginning, type Hours } from './hours.js';
import { IDLE_MS, observeOthers, othersShare, type Idleness, type ProcessorTimes } from './idleness.js';

/** Time between two looks at the clock and the processor. */
const LOOK_MS = 5_000;

/** When its owner lends the machine. */
export interface Lending {
  /** Undefined: at any time. */
  readonly hours: Hours | undefined;
  readonly onlyWhenIdle: boolean;
}

export interface AvailabilityPorts {
  /** Local time. */
  now(): Date;
  /** Monotonic, ms. */
  nowMs(): number;
  processorTimes(): ProcessorTimes;
  /** Resolves after `ms`; rejects with the signal's reason when aborted. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

/** Why a worker waits. `reason` is a text without a full stop. */
export interface Waiting {
  readonly kind: 'waiting';
  readonly why: 'hours' | 'busy';
  readonly reason: string;
}

interface Watch {
  /** Looks at the clock and the processor. Undefined: the worker may compute. */
  look(): Waiting | undefined;
}

function watchOver({ hours, onlyWhenIdle }: Lending, ports: AvailabilityPorts): Watch {
  let times = ports.processorTimes();
  let observedMs = ports.nowMs();
  let idleness: Idleness | undefined;
  let share = 0;
  const observe = (): void => {
    const nowMs = ports.nowMs();
    // Times over a short while say little.
    if (nowMs - observedMs < LOOK_MS / 2) return;
    observedMs = nowMs;
    const now = ports.processorTimes();
    share = othersShare(times, now);
    idleness = observeOthers(idleness, share, nowMs);
    times = now;
  };
  return {
    look() {
      if (onlyWhenIdle) observe();
      const now = ports.now();
      if (hours && !isWithin(hours, now)) return outsideHours(hours, now);
      return idleness?.isBusy ? busy(share) : undefined;
    },
  };
}

function outsideHours(hours: Hours, now: Date): Waiting {
  return { kind: 'waiting', why: 'hours', reason: `outside its hours; it continues at ${clockTime(nextBeginning(hours, now))}` };
}

function busy(share: number): Waiting {
  const percent = Math.round(share * 100);
  const until = `it continues when they have left it idle for ${IDLE_MS / 1000} s`;
  return { kind: 'waiting', why: 'busy', reason: `other programs use ${percent} % of the processor; ${until}` };
}

/**
 * Works whenever it is allowed, until the coordinator ends the run or `signal` aborts. `work` leaves when its own signal aborts.
 * @param onWaiting hears why the worker waits, each time that it begins to
 * @param spent aborts when the worker shall leave for good once its work counts
 * @throws what `work` throws
 */
export async function workWhenAllowed(
  lending: Lending,
  ports: AvailabilityPorts,
  signal: AbortSignal,
  work: (leave: AbortSignal) => Promise<WorkerEnd>,
  onWaiting: (waiting: Waiting) => void,
  spent: AbortSignal,
): Promise<WorkerEnd> {
  const watch = watchOver(lending, ports);
  // The first look at the processor needs some time to compare.
  if (lending.onlyWhenIdle) await pause(ports, signal);
  while (!signal.aborted && !spent.aborted) {
    await untilAllowed(watch, ports, signal, onWaiting);
    if (signal.aborted) return 'left';
    const leave = new AbortController();
    const leaveForGood = (): void => leave.abort(spent.reason);
    spent.addEventListener('abort', leaveForGood, { once: true });
    const over = new AbortController();
    const watching = leaveWhenForbidden(watch, ports, over.signal, leave);
    try {
      if ((await work(leave.signal)) === 'stopped') return 'stopped';
    } finally {
      spent.removeEventListener('abort', leaveForGood);
      over.abort(new Error('the worker has left'));
      await watching;
    }
  }
  return 'left';
}

async function untilAllowed(
  watch: Watch,
  ports: AvailabilityPorts,
  signal: AbortSignal,
  onWaiting: (waiting: Waiting) => void,
): Promise<void> {
  let told: Waiting['why'] | undefined;
  for (let waiting = watch.look(); waiting !== undefined && !signal.aborted; waiting = watch.look()) {
    if (waiting.why !== told) onWaiting(waiting);
    told = waiting.why;
    await pause(ports, signal);
  }
}

async function leaveWhenForbidden(
  watch: Watch,
  ports: AvailabilityPorts,
  over: AbortSignal,
  leave: AbortController,
): Promise<void> {
  while (!over.aborted && !leave.signal.aborted) {
    await pause(ports, over);
    const waiting = over.aborted ? undefined : watch.look();
    if (waiting !== undefined) leave.abort(new Error(`paused: ${waiting.reason}`));
  }
}

/** An abort ends the pause, and then the loop around it. */
async function pause(ports: AvailabilityPorts, signal: AbortSignal): Promise<void> {
  await ports.sleep(LOOK_MS, signal).catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });
}

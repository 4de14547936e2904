/**
 * A process on a machine, with a clock of its own. It can be frozen, and its timers end with it.
 */
import type { Clock, Owner, Timer } from './clock.js';

export interface Host extends Owner {
  readonly name: string;
  readonly alive: boolean;
  readonly frozen: boolean;
  /** The time by its own clock, ms. */
  nowMs(): number;
  /** Resolves after `ms`; rejects with the signal's reason when aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** A signal that aborts after `ms`. */
  deadline(ms: number): AbortSignal;
  after(ms: number, label: string, task: () => void): Timer;
  /** Like SIGSTOP: it does nothing until it thaws. */
  freeze(): void;
  /** Like SIGCONT. `asleep`: the whole machine slept, so its monotonic clock stood still. */
  thaw(asleep?: boolean): void;
  /** Its clock jumps forward. */
  jump(ms: number): void;
  /** Like SIGKILL: none of its timers fires again. */
  kill(): void;
}

/** A shorter sleep might not move a clock that shows a late time: who sleeps until then would never wake. */
const LEAST_MS = 0.001;

export function createHost(clock: Clock, name: string, offsetMs: number): Host {
  let alive = true;
  let frozenAtMs: number | undefined;
  let offset = offsetMs;
  /** Timers that fired while it was frozen. */
  let late: (() => void)[] = [];

  const host: Host = {
    name,
    get alive() {
      return alive;
    },
    get frozen() {
      return frozenAtMs !== undefined;
    },
    admit(task) {
      if (!alive) return;
      if (frozenAtMs === undefined) task();
      else late.push(task);
    },
    nowMs: () => clock.nowMs + offset,
    after: (ms, label, task) => clock.after(ms, `${name}: ${label}`, task, host),
    sleep(ms, signal) {
      if (signal?.aborted) return Promise.reject(signal.reason as Error);
      return new Promise((resolve, reject) => {
        const giveUp = (): void => {
          timer.cancel();
          reject(signal?.reason as Error);
        };
        const timer = host.after(Math.max(ms, LEAST_MS), 'sleep', () => {
          signal?.removeEventListener('abort', giveUp);
          resolve();
        });
        signal?.addEventListener('abort', giveUp, { once: true });
      });
    },
    deadline(ms) {
      const over = new AbortController();
      host.after(ms, 'deadline', () => over.abort(new Error(`${ms} ms have passed`)));
      return over.signal;
    },
    freeze() {
      frozenAtMs ??= clock.nowMs;
    },
    thaw(asleep = false) {
      if (frozenAtMs === undefined) return;
      if (asleep) offset -= clock.nowMs - frozenAtMs;
      frozenAtMs = undefined;
      const due = late;
      late = [];
      // One at a time, like an event loop: promises that one task settles continue before the next
      // task.
      for (const task of due) clock.after(0, `${name}: late`, task, host);
    },
    jump(ms) {
      offset += ms;
    },
    kill() {
      alive = false;
      late = [];
    },
  };
  return host;
}

/** A process on a machine: what it does happens in its own time, can stand still, and ends with it. */
import type { Clock, Owner, Timer } from './clock.js';

export interface Host extends Owner {
  readonly name: string;
  readonly alive: boolean;
  readonly frozen: boolean;
  /** What it believes the time to be, ms. */
  nowMs(): number;
  /** Resolves after `ms`; rejects with the signal's reason when aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Aborts after `ms`. */
  deadline(ms: number): AbortSignal;
  after(ms: number, label: string, task: () => void): Timer;
  /** As SIGSTOP: it computes nothing and answers nobody. */
  freeze(): void;
  /** As SIGCONT. `asleep`: the machine slept, and its monotonic clock with it. */
  thaw(asleep?: boolean): void;
  /** Its clock jumps by so much. */
  jump(ms: number): void;
  /** As SIGKILL: nothing it waits for ever comes, and nothing of it runs any more. */
  kill(): void;
}

export function createHost(clock: Clock, name: string, offsetMs: number): Host {
  let alive = true;
  let frozenAtMs: number | undefined;
  let offset = offsetMs;
  /** What struck while it stood still. */
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
        const timer = host.after(ms, 'sleep', () => {
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
      // One after the other, as an event loop would: promises that one settles go on before the next.
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

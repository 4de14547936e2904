/**
 * Simulated time, which advances only when nothing is left to do: hours of a cluster take seconds,
 * and every run is the same.
 */

export interface Timer {
  readonly atMs: number;
  readonly label: string;
  cancel(): void;
}

/**
 * The owner of a timer decides when it fires: a stopped process sees it when it continues, a dead
 * one never.
 */
export interface Owner {
  /** Runs the task, postpones it, or drops it. */
  admit(task: () => void): void;
}

interface Entry extends Timer {
  readonly order: number;
  readonly task: () => void;
  readonly owner: Owner | undefined;
  cancelled: boolean;
}

/**
 * No timer is set although the end is not reached: something waits for an event that will never
 * come.
 */
export class Deadlock extends Error {
  override readonly name = 'Deadlock';
}

/** A condition was not met in time. */
export class Hang extends Error {
  override readonly name = 'Hang';
}

export interface Clock {
  readonly nowMs: number;
  /** Timers with the same time fire in the order in which they were set. */
  after(ms: number, label: string, task: () => void, owner?: Owner): Timer;
  /** Runs until `until` returns true. @throws Deadlock, Hang after `mostMs` */
  run(until: () => boolean, mostMs: number, what: string): Promise<void>;
  /** Labels of the timers that are set, with the number of each. */
  pending(): Map<string, number>;
  /** Called when nothing is left to do at the current time. An error that it throws ends `run`. */
  onSettled(look: () => void): void;
}

export function createClock(): Clock {
  const heap = createHeap();
  const looks: (() => void)[] = [];
  let nowMs = 0;
  let made = 0;

  return {
    get nowMs() {
      return nowMs;
    },
    after(ms, label, task, owner) {
      const atMs = nowMs + Math.max(0, ms);
      const entry: Entry = { atMs, label, task, owner, order: made++, cancelled: false, cancel: () => (entry.cancelled = true) };
      heap.push(entry);
      return entry;
    },
    async run(until, mostMs, what) {
      const lastMs = nowMs + mostMs;
      for (;;) {
        await settled();
        for (const look of looks) look();
        if (until()) return;
        const next = heap.pop();
        if (!next) throw new Deadlock(`nothing is left to do while waiting for ${what}`);
        if (next.atMs > lastMs) {
          heap.push(next);
          throw new Hang(`${what} did not happen within ${mostMs} ms`);
        }
        nowMs = next.atMs;
        if (next.owner) next.owner.admit(next.task);
        else next.task();
      }
    },
    pending() {
      const labels = new Map<string, number>();
      for (const { label } of heap.all()) labels.set(label, (labels.get(label) ?? 0) + 1);
      return labels;
    },
    onSettled: (look) => void looks.push(look),
  };
}

/** Resolves once every promise that can continue has continued. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Earliest first; cancelled entries are skipped. */
function createHeap() {
  const items: Entry[] = [];
  const before = (a: Entry, b: Entry): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
  const swap = (i: number, j: number): void => {
    [items[i], items[j]] = [items[j], items[i]];
  };
  const sink = (): void => {
    for (let i = 0; ;) {
      let least = i;
      for (const child of [2 * i + 1, 2 * i + 2]) if (child < items.length && before(items[child], items[least])) least = child;
      if (least === i) return;
      swap(i, least);
      i = least;
    }
  };
  const take = (): Entry | undefined => {
    if (items.length === 0) return undefined;
    swap(0, items.length - 1);
    const entry = items.pop();
    sink();
    return entry;
  };
  return {
    push(entry: Entry): void {
      items.push(entry);
      for (let i = items.length - 1; i > 0;) {
        const parent = (i - 1) >> 1;
        if (!before(items[i], items[parent])) return;
        swap(i, parent);
        i = parent;
      }
    },
    pop(): Entry | undefined {
      for (;;) {
        const entry = take();
        if (!entry?.cancelled) return entry;
      }
    },
    all: () => items.filter(({ cancelled }) => !cancelled),
  };
}

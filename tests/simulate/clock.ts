/** Time that passes only when nothing is left to do: hours of a cluster's life in seconds, the same every time. */

export interface Timer {
  readonly atMs: number;
  readonly label: string;
  cancel(): void;
}

/** Who owns a timer decides when it may strike: a stopped process hears of it when it goes on, a dead one never. */
export interface Owner {
  /** Runs the task, keeps it for later, or drops it. */
  admit(task: () => void): void;
}

interface Entry extends Timer {
  readonly order: number;
  readonly task: () => void;
  readonly owner: Owner | undefined;
  cancelled: boolean;
}

/** Nothing can happen any more although the end is not reached: someone waits for what will never come. */
export class Deadlock extends Error {
  override readonly name = 'Deadlock';
}

/** What was waited for did not come within its time. */
export class Hang extends Error {
  override readonly name = 'Hang';
}

export interface Clock {
  readonly nowMs: number;
  /** Timers at the same time strike in the order in which they were made. */
  after(ms: number, label: string, task: () => void, owner?: Owner): Timer;
  /** Goes on until `until` says so. @throws Deadlock, Hang after `mostMs` */
  run(until: () => boolean, mostMs: number, what: string): Promise<void>;
  /** Labels of the timers that are set, with how many of each. */
  pending(): Map<string, number>;
  /** Called whenever everything that could happen at a moment has happened. What it throws ends `run`. */
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
        if (!next) throw new Deadlock(`nobody has anything to do, and ${what} has not come about`);
        if (next.atMs > lastMs) {
          heap.push(next);
          throw new Hang(`${what} has not come about in ${mostMs} ms`);
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

/** Every promise that can go on has gone on. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** The earliest first; cancelled ones are never handed out. */
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

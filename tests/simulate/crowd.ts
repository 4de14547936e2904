/** The scheduler alone with very many workers: an event queue, no gradients, no links. */
import { createRunState, step, type RunEffect, type RunInput, type RunState } from '@troupe/scheduler';
import { brokenInvariants } from './invariants.js';
import type { Random } from './random.js';

export interface CrowdOptions {
  readonly workers: number;
  readonly streams: number;
  readonly window: number;
  readonly rounds: number;
  /** Fraction of the workers that leave in each round. */
  readonly leaving: number;
  /** Chars/s, from and to; uniform on a logarithmic scale. */
  readonly speeds: readonly [number, number];
  readonly random: Random;
  /** Real time in ms, to measure the scheduler. */
  readonly clock: () => number;
}

export interface Crowd {
  readonly rounds: number;
  readonly simulatedMs: number;
  /**
   * Mean time of a round as a multiple of the ideal one, all characters / all speeds; without the
   * first tenth.
   */
  readonly slowdown: number;
  /** Inputs of the scheduler, leases, and workers that left with leases, in all rounds. */
  readonly inputs: number;
  readonly leases: number;
  readonly lost: number;
  /** Real time that the scheduler took for all inputs. */
  readonly coreMs: number;
  /** Broken invariants, checked once a round. */
  readonly faults: readonly string[];
}

interface Event {
  readonly atMs: number;
  readonly order: number;
  readonly input: RunInput;
}

const TICK_MS = 100;

/** @throws Error when nothing is left to do before the last round */
export function runCrowd(options: CrowdOptions): Crowd {
  return new CrowdRun(options).run();
}

type Lease = Extract<RunEffect, { type: 'lease' }>;
type Counted = Extract<RunInput, { type: 'counted' }>;

class CrowdRun {
  readonly #options: CrowdOptions;
  readonly #state: RunState;
  readonly #queue = createQueue();
  /** Workers that are present, chars/s. */
  readonly #speeds = new Map<string, number>();
  readonly #busyUntilMs = new Map<string, number>();
  /** Streams that are counted in this round. */
  readonly #counted = new Set<number>();
  readonly #faults: string[] = [];
  #nowMs = 0;
  #joined = 0;
  #inputs = 0;
  #leases = 0;
  #lost = 0;
  #idealMs = 0;
  #warmAtMs = 0;
  #coreMs = 0;

  constructor(options: CrowdOptions) {
    const { streams, window, rounds } = options;
    const cadences = { evaluateEvery: 0, checkpointEvery: 0, sampleEvery: 0, chanceLoss: 3, maxLoss: 0 };
    this.#options = options;
    this.#state = createRunState({ streams, window, rounds, windowsPerPass: 1_000, leaseStreams: 0, ...cadences }, 0);
  }

  run(): Crowd {
    for (let i = 0; i < this.#options.workers; i++) this.#join();
    this.#feed({ type: 'start' });
    this.#queue.push(TICK_MS, { type: 'tick' });
    while (this.#state.phase === 'running') {
      const event = this.#queue.pop();
      if (!event) throw new Error(`nothing is left to do in round ${this.#state.round}`);
      this.#nowMs = event.atMs;
      this.#handle(event.input);
    }
    return {
      rounds: this.#state.round,
      simulatedMs: this.#nowMs,
      slowdown: (this.#nowMs - this.#warmAtMs) / this.#idealMs,
      inputs: this.#inputs,
      leases: this.#leases,
      lost: this.#lost,
      coreMs: this.#coreMs,
      faults: this.#faults,
    };
  }

  #handle(input: RunInput): void {
    if (input.type === 'tick') this.#queue.push(this.#nowMs + TICK_MS, input);
    if (input.type === 'counted') this.#arrive(input);
    else if (input.type === 'workerLeft') this.#replace(input.workerId);
    else this.#feed(input);
  }

  #join(): void {
    const { random, speeds } = this.#options;
    const id = `w${this.#joined++}`;
    const speed = speeds[0] * (speeds[1] / speeds[0]) ** random.next();
    this.#speeds.set(id, speed);
    const charsPerSecond = speed * random.between(0.5, 1.5);
    this.#feed({ type: 'workerReady', trusted: true, workerId: id, name: id, charsPerSecond });
  }

  #replace(id: string): void {
    if (!this.#speeds.has(id)) return;
    if ((this.#state.workers.get(id)?.leases.size ?? 0) > 0) this.#lost++;
    this.#speeds.delete(id);
    this.#feed({ type: 'workerLeft', workerId: id, reason: 'gone' });
    this.#join();
  }

  #feed(input: RunInput): void {
    this.#inputs++;
    const beginMs = this.#options.clock();
    const effects = step(this.#state, input, this.#nowMs);
    this.#coreMs += this.#options.clock() - beginMs;
    for (const effect of effects) if (effect.type === 'lease') this.#compute(effect);
  }

  #compute({ workerId, leaseId, round, streams }: Lease): void {
    const { random, window } = this.#options;
    this.#leases++;
    const startMs = Math.max(this.#nowMs, this.#busyUntilMs.get(workerId) ?? 0);
    const computeMs = (streams.length * window * 1000 * random.between(0.9, 1.15)) / this.#speeds.get(workerId)!;
    const doneMs = startMs + computeMs;
    this.#busyUntilMs.set(workerId, doneMs);
    this.#queue.push(doneMs, { type: 'counted', leaseId, workerId, round, streams, lossSum: 0, computeMs, serviceMs: 0 });
  }

  /**
   * As the all-reduce does: counts each stream of the open round once, from workers that are
   * present.
   */
  #arrive(input: Counted): void {
    const { workerId, leaseId, round, streams, computeMs } = input;
    if (!this.#speeds.has(workerId)) return;
    const open = round === this.#state.round;
    if (!open || streams.some((stream) => this.#counted.has(stream))) {
      const result = open ? 'already_counted' : 'wrong_round';
      return this.#feed({ type: 'rejected', leaseId, workerId, round, computeMs, result, reason: 'too late' });
    }
    for (const stream of streams) this.#counted.add(stream);
    this.#feed(input);
    if (this.#counted.size === this.#options.streams) this.#commit();
  }

  #commit(): void {
    this.#counted.clear();
    this.#faults.push(...brokenInvariants(this.#state));
    this.#feed({ type: 'updated', round: this.#state.round, trainLoss: 1 });
    this.#change(this.#state.round);
  }

  /** Workers leave at random times in the round, some of them with leases. */
  #change(round: number): void {
    const { random, rounds, streams, window, workers, leaving } = this.#options;
    const sum = [...this.#speeds.values()].reduce((a, b) => a + b, 0);
    const roundMs = (streams * window * 1000) / sum;
    if (round === Math.ceil(rounds / 10)) this.#warmAtMs = this.#nowMs;
    else if (round > Math.ceil(rounds / 10)) this.#idealMs += roundMs;
    const ids = [...this.#speeds.keys()];
    for (let i = 0; i < workers * leaving; i++) {
      const atMs = this.#nowMs + roundMs * random.next();
      this.#queue.push(atMs, { type: 'workerLeft', workerId: random.pick(ids), reason: 'gone' });
    }
  }
}

function createQueue() {
  const heap: Event[] = [];
  let made = 0;
  const before = (a: Event, b: Event): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
  return {
    push(atMs: number, input: RunInput): void {
      const event = { atMs, input, order: made++ };
      let i = heap.length;
      heap.push(event);
      for (let parent = (i - 1) >> 1; i > 0 && before(event, heap[parent]); parent = (i - 1) >> 1) {
        heap[i] = heap[parent];
        i = parent;
      }
      heap[i] = event;
    },
    pop(): Event | undefined {
      const top = heap[0];
      const last = heap.pop();
      if (heap.length === 0 || !last) return top;
      let i = 0;
      for (;;) {
        let least = 2 * i + 1;
        if (least >= heap.length) break;
        if (least + 1 < heap.length && before(heap[least + 1], heap[least])) least++;
        if (!before(heap[least], last)) break;
        heap[i] = heap[least];
        i = least;
      }
      heap[i] = last;
      return top;
    },
  };
}

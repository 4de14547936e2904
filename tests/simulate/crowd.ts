/** The scheduler alone with very many workers: an event queue, no gradients, no links. */
import { createRunState, step, type RunEffect, type RunInput } from '@troupe/scheduler';
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
  const { random, workers: count, rounds, streams, window } = options;
  const state = createRunState(
    {
      streams,
      window,
      rounds,
      windowsPerPass: 1_000,
      evaluateEvery: 0,
      checkpointEvery: 0,
      sampleEvery: 0,
      leaseStreams: 0,
    },
    0,
  );
  const queue = createQueue();
  const speeds = new Map<string, number>();
  const busyUntilMs = new Map<string, number>();
  let [nowMs, joined, inputs, leases, lost, missing] = [0, 0, 0, 0, 0, streams];
  const counted = new Set<number>();
  const faults: string[] = [];
  let idealMs = 0;
  let warmAtMs = 0;
  let coreMs = 0;

  const join = (): void => {
    const id = `w${joined++}`;
    const speed = options.speeds[0] * (options.speeds[1] / options.speeds[0]) ** random.next();
    speeds.set(id, speed);
    feed({ type: 'workerReady', workerId: id, name: id, charsPerSecond: speed * random.between(0.5, 1.5) });
  };
  const replace = (id: string): void => {
    if (!speeds.has(id)) return;
    if ((state.workers.get(id)?.leases.size ?? 0) > 0) lost++;
    speeds.delete(id);
    feed({ type: 'workerLeft', workerId: id, reason: 'gone' });
    join();
  };

  for (let i = 0; i < count; i++) join();
  feed({ type: 'start' });
  queue.push(TICK_MS, { type: 'tick' });
  while (state.phase === 'running') {
    const event = queue.pop();
    if (!event) throw new Error(`nothing is left to do in round ${state.round}`);
    nowMs = event.atMs;
    if (event.input.type === 'tick') queue.push(nowMs + TICK_MS, event.input);
    if (event.input.type === 'counted') arrive(event.input);
    else if (event.input.type === 'workerLeft') replace(event.input.workerId);
    else feed(event.input);
  }
  return {
    rounds: state.round,
    simulatedMs: nowMs,
    slowdown: (nowMs - warmAtMs) / idealMs,
    inputs,
    leases,
    lost,
    coreMs,
    faults,
  };

  function feed(input: RunInput): void {
    inputs++;
    const beginMs = options.clock();
    const effects = step(state, input, nowMs);
    coreMs += options.clock() - beginMs;
    for (const effect of effects) if (effect.type === 'lease') lend(effect);
  }

  function lend({ workerId, leaseId, round, streams: ids }: Extract<RunEffect, { type: 'lease' }>): void {
    leases++;
    const speed = speeds.get(workerId)!;
    const startMs = Math.max(nowMs, busyUntilMs.get(workerId) ?? 0);
    const doneMs = startMs + (ids.length * window * 1000 * random.between(0.9, 1.15)) / speed;
    busyUntilMs.set(workerId, doneMs);
    queue.push(doneMs, { type: 'counted', leaseId, workerId, round, streams: ids });
  }

  /**
   * As the all-reduce does: counts each stream of the open round once, from workers that are
   * present.
   */
  function arrive(input: Extract<RunInput, { type: 'counted' }>): void {
    const { workerId, leaseId, round, streams: ids } = input;
    if (!speeds.has(workerId)) return;
    if (round !== state.round || ids.some((stream) => counted.has(stream))) {
      const result = round === state.round ? 'already_counted' : 'wrong_round';
      return feed({ type: 'rejected', leaseId, workerId, round, result, reason: 'too late' });
    }
    for (const stream of ids) counted.add(stream);
    missing -= ids.length;
    feed(input);
    if (missing === 0) commit();
  }

  function commit(): void {
    counted.clear();
    missing = streams;
    faults.push(...brokenInvariants(state));
    feed({ type: 'updated', round: state.round });
    change(state.round);
  }

  /** Workers leave at random times in the round, some of them with leases. */
  function change(round: number): void {
    const sum = [...speeds.values()].reduce((a, b) => a + b, 0);
    const roundMs = (streams * window * 1000) / sum;
    if (round === Math.ceil(rounds / 10)) warmAtMs = nowMs;
    else if (round > Math.ceil(rounds / 10)) idealMs += roundMs;
    const ids = [...speeds.keys()];
    for (let i = 0; i < count * options.leaving; i++) {
      queue.push(nowMs + roundMs * random.next(), { type: 'workerLeft', workerId: random.pick(ids), reason: 'gone' });
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

import { describe, expect, it } from 'vitest';
import { createLayout, EngineError, type Batch, type Engine, type ModelConfig } from '@troupe/model';
import { race, trialProblem, type Runner } from '../src/index.js';

const CONFIG: ModelConfig = { cell: 'gru', layers: 2, hidden: 4, vocabulary: 5, dropout: 0.5 };
const LIMITS = { maxStreams: 3, maxWindow: 4 };
const PROBLEM = trialProblem(CONFIG, LIMITS);

interface Behaviour {
  /** Duration of a gradient; several values are used in turn. */
  readonly ms?: readonly number[];
  /** Value of all elements of the gradient. */
  readonly gradient?: number;
  readonly fails?: 'opening' | 'first gradient' | 'later';
}

/** Runners whose gradients take `ms` on the clock returned with them. */
function runnersOf(behaviours: Record<string, Behaviour>) {
  let time = 0;
  const open = new Set<string>();
  const runners = Object.entries(behaviours).map(([name, { ms = [10], gradient = 1, fails }]): Runner => ({
    name,
    async open() {
      if (fails === 'opening') throw new Error('no driver');
      open.add(name);
      let calls = 0;
      const result = new Float32Array(createLayout(CONFIG).size).fill(gradient);
      const engine: Partial<Engine> = {
        info: { name, variant: 'v', device: 'd' },
        setParameters: () => {},
        dispose: () => void open.delete(name),
        async gradient(batch: Batch) {
          if (fails === (calls === 0 ? 'first gradient' : 'later')) throw new EngineError('device_lost', 'gone', 'go on');
          time += ms[calls++ % ms.length];
          return { gradient: result, lossSum: 1, tokens: batch.streams * batch.window, endStates: batch.states };
        },
      };
      return engine as Engine;
    },
  }));
  return { runners, open, nowMs: () => time };
}

describe('a race', () => {
  it('ranks by the shortest time of each, and closes all engines', async () => {
    const { runners, open, nowMs } = runnersOf({ slow: { ms: [20] }, uneven: { ms: [90, 90, 5] }, steady: { ms: [10] } });
    const results = await race(PROBLEM, runners, { nowMs, budgetMs: 500 });
    expect(results.map(({ name }) => name)).toEqual(['uneven', 'steady', 'slow']);
    const characters = PROBLEM.batch.streams * PROBLEM.batch.window;
    expect(results[1]).toMatchObject({ charsPerSecond: characters * 100, info: { name: 'steady', variant: 'v' } });
    expect(open.size).toBe(0);
  });

  it('ends when its budget is used up, but lets every runner compute once', async () => {
    const { runners, nowMs } = runnersOf({ one: { ms: [100] }, two: { ms: [100] } });
    const results = await race(PROBLEM, runners, { nowMs, budgetMs: 1 });
    expect(results).toHaveLength(2);
    expect(nowMs()).toBe(400);
  });

  it.each(['opening', 'first gradient', 'later'] as const)('continues without an engine that fails: %s', async (fails) => {
    const { runners, open, nowMs } = runnersOf({ broken: { fails }, sound: {} });
    const results = await race(PROBLEM, runners, { nowMs, budgetMs: 50 });
    expect(results.map(({ name }) => name)).toEqual(['sound', 'broken']);
    expect(results[1]).toMatchObject({ failure: expect.any(EngineError) as EngineError });
    expect(open.size).toBe(0);
  });

  it('excludes an engine whose gradient differs from that of the trusted one', async () => {
    const { runners, nowMs } = runnersOf({ wrong: { ms: [1], gradient: 1.2 }, half: { ms: [5], gradient: 1.001 }, wasm: {} });
    const results = await race(PROBLEM, runners, { nowMs, budgetMs: 50, trusted: 'wasm' });
    expect(results.map(({ name }) => name)).toEqual(['half', 'wasm', 'wrong']);
    expect(results[2]).toMatchObject({ failure: { code: 'unsupported', message: expect.stringContaining('wrong') as string } });
  });

  it('excludes an engine whose gradient is not a number', async () => {
    const { runners, nowMs } = runnersOf({ nan: { ms: [1], gradient: NaN }, wasm: {} });
    const [first] = await race(PROBLEM, runners, { nowMs, budgetMs: 50, trusted: 'wasm' });
    expect(first.name).toBe('wasm');
  });
});

describe('the problem of a trial', () => {
  it('has the streams of the run, and fewer time steps for larger models', () => {
    const windows = [16, 64, 256, 1024].map((hidden) => {
      const { batch } = trialProblem({ ...CONFIG, hidden }, { maxStreams: 32, maxWindow: 64 });
      expect(batch.streams).toBe(32);
      return batch.window;
    });
    expect(windows[0]).toBe(64);
    expect(windows).toEqual([...windows].sort((a, b) => b - a));
    expect(windows.at(-1)).toBeGreaterThanOrEqual(2);
  });

  it('fits the limits, with masks for every stream', () => {
    const { batch, limits } = trialProblem(CONFIG, { maxStreams: 1000, maxWindow: 1 });
    expect(limits).toEqual({ maxStreams: batch.streams, maxWindow: 1 });
    expect(batch.tokens.length).toBe(batch.streams * 2);
    expect(batch.dropout?.streams).toHaveLength(batch.streams);
  });
});

/** The throttle around the reference engine, with a clock that the test controls. */
import { createLayout, initialParameters, stateSize, type Batch, type Engine, type ModelConfig } from '@troupe/model';
import { createReferenceEngine } from '@troupe/model/reference';
import { describe, expect, it } from 'vitest';
import { createThrottledEngine, type Effort, type Work } from '../src/index.js';

const MODEL: ModelConfig = { cell: 'lstm', layers: 1, hidden: 4, vocabulary: 5 };
const LIMITS = { maxStreams: 2, maxWindow: 3 };
const BATCH: Batch = {
  ...{
    streams: 2,
    window: 3,
    tokens: Uint16Array.from([0, 1, 2, 3, 4, 3, 2, 1]),
    states: new Float32Array(2 * stateSize(MODEL)),
  },
};

/** Each gradient takes 100 ms of this clock. */
async function setUp() {
  let nowMs = 0;
  const rests: number[] = [];
  const works: Work[] = [];
  const opened: { threads: number; disposed: boolean }[] = [];
  const effort = { threads: 2, duty: 1 };
  const leaving = new AbortController();
  const open = async (threads: number): Promise<Engine> => {
    const inner = createReferenceEngine(MODEL, LIMITS);
    const record = { threads, disposed: false };
    opened.push(record);
    return {
      ...{ info: inner.info, limits: inner.limits, setParameters: (p) => inner.setParameters(p) },
      ...{ evaluate: (b) => inner.evaluate(b), step: (t, s) => inner.step(t, s) },
      gradient(batch, onProgress) {
        nowMs += 100;
        onProgress?.(new Float32Array(1), nowMs);
        return inner.gradient(batch);
      },
      dispose() {
        record.disposed = true;
        inner.dispose();
      },
    } satisfies Engine;
  };
  const engine = await createThrottledEngine({
    open,
    effort: (): Effort => effort,
    onWork: (work) => works.push(work),
    nowMs: () => nowMs,
    async sleep(ms, signal) {
      signal.throwIfAborted();
      rests.push(Math.round(ms));
      nowMs += ms;
    },
    signal: leaving.signal,
  });
  const parameters = initialParameters(MODEL, createLayout(MODEL), 1);
  engine.setParameters(parameters);
  return { engine, rests, works, opened, effort, leaving, parameters, pass: (ms: number) => (nowMs += ms) };
}

describe('a throttled engine', () => {
  it('computes what the engine computes', async () => {
    const { engine, parameters } = await setUp();
    const plain = createReferenceEngine(MODEL, LIMITS);
    plain.setParameters(parameters);
    expect((await engine.gradient(BATCH)).gradient).toEqual((await plain.gradient(BATCH)).gradient);
  });

  it('passes on how far the gradient is', async () => {
    const { engine } = await setUp();
    const reports: number[] = [];
    await engine.gradient(BATCH, (_, from) => reports.push(from));
    expect(reports).toEqual([100]);
  });

  it('rests before each gradient in proportion to the time of the previous one', async () => {
    const { engine, rests, works, effort } = await setUp();
    effort.duty = 0.25;
    for (let i = 0; i < 3; i++) await engine.gradient(BATCH);
    expect(rests).toEqual([300, 300]);
    expect(works).toEqual([1, 2, 3].map(() => ({ characters: 6, busyMs: 100, threads: 2 })));
  });

  it('counts time that passed as rest, and does not rest when it has the whole machine', async () => {
    const { engine, rests, effort, pass } = await setUp();
    await engine.gradient(BATCH);
    await engine.gradient(BATCH);
    effort.duty = 0.5;
    pass(60);
    await engine.gradient(BATCH);
    pass(500);
    await engine.gradient(BATCH);
    expect(rests).toEqual([40]);
  });

  it('reopens with the number of threads it is given and its current parameters', async () => {
    const { engine, opened, effort } = await setUp();
    const before = (await engine.gradient(BATCH)).gradient.slice();
    effort.threads = 1;
    expect((await engine.gradient(BATCH)).gradient).toEqual(before);
    expect(opened).toEqual([
      { threads: 2, disposed: true },
      { threads: 1, disposed: false },
    ]);
    engine.dispose();
    expect(opened[1].disposed).toBe(true);
  });

  it('ends its rest when its owner stops it', async () => {
    const { engine, effort, leaving } = await setUp();
    effort.duty = 0.1;
    await engine.gradient(BATCH);
    leaving.abort(new Error('left'));
    await expect(engine.gradient(BATCH)).rejects.toThrow('left');
  });
});

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { CELLS, createLayout, stateSize, type Batch, type ModelConfig } from '@troupe/model';
import { createReferenceEngine } from '@troupe/model/reference';
// eslint-disable-next-line @nx/enforce-module-boundaries -- a shared test suite
import {
  engineConformance,
  problem,
  relativeError,
  saturatedGates,
  type CreateEngine,
} from '../../model/test/engine-conformance.js';
import { loadAddon, type Addon } from '../src/addon.js';
import { openEngine } from '../src/engine.js';
import { createNativeEngine, nativeStatus, nativeVariants } from '../src/index.js';

const status = nativeStatus();
const variants = nativeVariants();

for (const variant of variants) {
  const create: CreateEngine = (config, limits) => createNativeEngine(config, limits, { variant });
  engineConformance(`native ${variant}`, create, { loss: 1e-6, gradient: 1e-5, states: 1e-6, logits: 1e-6 }, { handsOver: true });
  saturatedGates(`native ${variant}`, create);
}

describe('where it is absent', () => {
  it('names the reason and a remedy', () => {
    expect(loadAddon('../dist/no-such-addon.node')).toEqual({
      reason: 'the native engine is not compiled',
      remedy: expect.stringMatching(/install a C compiler.*npm run build/) as string,
    });
  });

  it('distinguishes an addon that does not load from a missing one', () => {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'troupe-native-'));
    const file = path.join(folder, 'broken.node');
    writeFileSync(file, 'no machine code');
    expect(loadAddon(file)).toMatchObject({ reason: expect.stringContaining('does not load') as string });
    rmSync(folder, { recursive: true });
  });

  it.skipIf(status.present)('rejects engines as absent (skipped: the native engine is present)', async () => {
    const config = { cell: 'lstm', layers: 1, hidden: 8, vocabulary: 5 } as const;
    await expect(createNativeEngine(config, { maxStreams: 1, maxWindow: 1 })).rejects.toMatchObject({ code: 'absent' });
  });
});

if (!status.present) {
  it.skip(`SKIPPED: all tests of the native engine. ${status.reason}; ${status.remedy}`, () => {});
} else {
  describe.each(variants)('blocks of the products, %s', (variant) => productTests(variant));
  describe('choice of the variant', choiceTests);
  describe('memory', memoryTests);
  describe('subnormal numbers', subnormalTests);
  describe('threads', threadTests);
}

type Shape = Parameters<typeof problem>[0];

async function open(shape: Shape, variant?: string) {
  const { config, parameters, batch } = problem(shape, 12);
  const limits = { maxStreams: batch.streams, maxWindow: batch.window };
  const engine = await createNativeEngine(config, limits, variant === undefined ? {} : { variant });
  engine.setParameters(parameters);
  return { engine, config, limits, parameters, batch };
}

function productTests(variant: string): void {
  const shapes = CELLS.flatMap((cell) => [
    { what: 'a hidden state deeper than a block', cell, layers: 1, hidden: 520, vocabulary: 5, streams: 3, window: 2 },
    { what: 'gates deeper than a block', cell, layers: 2, hidden: 177, vocabulary: 9, streams: 5, window: 3 },
    { what: 'more rows than a block', cell, layers: 2, hidden: 24, vocabulary: 101, streams: 31, window: 17 },
    {
      what: 'a vocabulary deeper than a block',
      cell,
      layers: 1,
      hidden: 16,
      vocabulary: 600,
      embedding: 40,
      streams: 3,
      window: 5,
    },
  ]);
  it.each(shapes)('agree with the reference on $what of a $cell', async ({ what: _, ...shape }) => {
    const { engine, config, limits, parameters, batch } = await open(shape, variant);
    const reference = createReferenceEngine(config, limits);
    reference.setParameters(parameters);
    const expected = await reference.gradient(batch);
    const { gradient, lossSum } = await engine.gradient(batch);
    expect(Math.abs(lossSum / expected.lossSum - 1)).toBeLessThan(1e-6);
    for (const { name, offset, size } of createLayout(config).tensors) {
      const [from, to] = [offset, offset + size];
      expect(relativeError(gradient.subarray(from, to), expected.gradient.subarray(from, to)), name).toBeLessThan(1e-5);
    }
    engine.dispose();
  });

  it.each(CELLS)('give a stream the same bits in whatever batch it comes, %s', async (cell) => {
    const { engine, config, batch } = await open({ cell, layers: 2, hidden: 20, vocabulary: 9, streams: 31, window: 4 }, variant);
    const together = (await engine.evaluate(batch)).endStates.slice();
    const size = stateSize(config);
    for (const [from, to] of [
      [0, 1],
      [1, 3],
      [3, 14],
      [14, 31],
    ]) {
      const { endStates } = await engine.evaluate(cut(batch, size, from, to));
      expect(endStates).toEqual(together.subarray(from * size, to * size));
    }
  });

  it("leave the thread's float mode alone: it still computes subnormal numbers", async () => {
    const { engine, batch } = await open({ layers: 1, hidden: 8, vocabulary: 5, streams: 2, window: 3 }, variant);
    await engine.gradient(batch);
    const smallest = [Number.MIN_VALUE, 2 ** -149];
    expect(smallest.map((value) => value * batch.streams)).toEqual([2 * Number.MIN_VALUE, 2 ** -148]);
    expect(Math.fround(smallest[1])).toBe(2 ** -149);
  });
}

function cut(batch: Batch, size: number, from: number, to: number): Batch {
  const columns = batch.window + 1;
  const tokens = batch.tokens.slice(from * columns, to * columns);
  return { streams: to - from, window: batch.window, tokens, states: batch.states.slice(from * size, to * size) };
}

function choiceTests(): void {
  const config = { cell: 'lstm', layers: 1, hidden: 8, vocabulary: 5 } as const;
  const limits = { maxStreams: 2, maxWindow: 2 };
  /**
   * A clock that each candidate's turn reads twice; the candidate `fast` takes 6 ms, the others
   * 10.
   */
  const clock = (fast: number) => {
    let reads = 0;
    let time = 0;
    return () => (time += Math.floor(reads++ / 2) % variants.length === fast ? 6 : 10);
  };

  it('is the best guess without a clock', async () => {
    expect((await createNativeEngine(config, limits)).info).toEqual({ name: 'native', variant: variants[0], device: 'cpu' });
  });

  it('is the fastest one by the clock', async () => {
    for (const [i, name] of variants.entries()) {
      const engine = await createNativeEngine(config, limits, { now: clock(i) });
      expect(engine.info.variant).toBe(name);
    }
  });

  it('works for every cell', async () => {
    for (const cell of CELLS) {
      const engine = await createNativeEngine({ ...config, cell }, limits, { now: clock(0) });
      expect(engine.info.variant).toBe(variants[0]);
    }
  });

  it('rejects an unknown variant and names the known ones', async () => {
    await expect(createNativeEngine(config, limits, { variant: 'avx1024' })).rejects.toMatchObject({
      code: 'unsupported',
      remedy: expect.stringContaining(variants[0]) as string,
    });
  });
}

function memoryTests(): void {
  it('that the host lacks is reported as out_of_memory, with its size and what to lower', () => {
    const exhausted = { create: () => 5 * 2 ** 30 } as Partial<Addon> as Addon;
    const config = { cell: 'lstm', layers: 1, hidden: 8, vocabulary: 5 } as const;
    expect(() => openEngine(exhausted, config, { maxStreams: 1, maxWindow: 1 }, 'avx2')).toThrow(
      expect.objectContaining({
        name: 'EngineError',
        code: 'out_of_memory',
        message: expect.stringContaining('needs 5120 MiB') as string,
        remedy: expect.stringContaining('batch') as string,
      }),
    );
  });

  it('of results outlives the engine and the next call', async () => {
    const { engine, batch } = await open({ layers: 2, hidden: 20, vocabulary: 9, streams: 5, window: 4 });
    const { gradient } = await engine.gradient(batch);
    const before = gradient.slice();
    await engine.gradient(batch);
    engine.dispose();
    expect(gradient).toEqual(before);
  });

  it('of results may be transferred to another thread', async () => {
    const { engine, batch } = await open({ layers: 2, hidden: 20, vocabulary: 9, streams: 5, window: 4 });
    const { gradient, endStates } = await engine.gradient(batch);
    const [sent, states] = structuredClone([gradient, endStates], {
      transfer: [gradient.buffer, endStates.buffer] as ArrayBuffer[],
    });
    const again = await engine.gradient(batch);
    expect(again.gradient).toEqual(sent);
    expect(again.endStates).toEqual(states);
  });

  it('starts with parameters of zero', async () => {
    const { config, batch } = problem({ layers: 2, hidden: 20, vocabulary: 9, streams: 5, window: 4 }, 1);
    const engine = await createNativeEngine(config, { maxStreams: 5, maxWindow: 4 });
    const { lossSum } = await engine.evaluate({ ...batch, states: new Float32Array(batch.states.length) });
    expect(lossSum).toBeCloseTo(20 * Math.log(9), 3);
  });

  it('outside the arrays is not read: the addon rejects arguments that do not fit', () => {
    const addon = loadAddon();
    if ('reason' in addon) throw new Error(addon.reason);
    const engine = addon.create(variants[0], Int32Array.of(0, 1, 4, 3, 0, 0, 0, 2, 2), 0, 1, 0, 1);
    if (typeof engine === 'number') throw new Error('out of memory');
    const fits = [engine, 2, 2, new Uint16Array(6), new Float32Array(16), new Float32Array(16)];
    const evaluate = (given: unknown[]) => addon.evaluate(...(given as Parameters<Addon['evaluate']>));
    expect(evaluate(fits)).toBeGreaterThan(0);
    const wrong: Record<number, unknown> = {
      0: {},
      1: 3,
      2: NaN,
      3: Uint16Array.of(0, 0, 0, 0, 0, 3),
      4: new Float32Array(15),
      5: new Float64Array(16),
    };
    for (const [position, value] of Object.entries(wrong)) {
      const given: unknown[] = [...fits];
      given[Number(position)] = value;
      expect(() => evaluate(given), `argument ${position}`).toThrow('do not fit');
    }
    addon.dispose(engine);
    expect(() => evaluate(fits)).toThrow('do not fit');
  });
}

/** Computes the gradient `times` times in a thread of its own and sends the last one. */
const THREAD = `
  const { parentPort, workerData } = require('node:worker_threads');
  const { addon, variant, sizes, parameters, tokens, states, streams, window, times } = workerData;
  const native = require(addon);
  const engine = native.create(variant, sizes, 0, 1, 0, 1);
  native.setParameters(engine, parameters);
  const gradient = new Float32Array(parameters.length);
  const endStates = new Float32Array(states.length);
  let loss;
  for (let i = 0; i < times; i++) loss = native.gradient(engine, streams, window, tokens, states, endStates, gradient);
  parentPort.postMessage({ loss, gradient });
`;

function subnormalTests(): void {
  const shape = { layers: 2, hidden: 20, vocabulary: 9, streams: 5, window: 4 };

  it('are not flushed to zero in a listener', async () => {
    const { engine, batch } = await open(shape);
    const smallest = new Float64Array(1).fill(Number.MIN_VALUE);
    const sums: number[] = [];
    await engine.gradient(batch, () => sums.push(smallest[0] + smallest[0]));
    expect(new Set(sums)).toEqual(new Set([2 * Number.MIN_VALUE]));
  });

  it('are flushed to zero in the gradient, also after a listener was called', async () => {
    const { engine, config, parameters, batch } = await open(shape);
    const [below, above] = ['lstm.weight_hh_l0', 'lstm.weight_ih_l1'].map((name) =>
      createLayout(config).tensors.find((tensor) => tensor.name === name)!,
    );
    engine.setParameters(parameters.fill(2e-38, above.offset, above.offset + above.size));
    const { gradient } = await engine.gradient(batch, () => {});
    expect(gradient.subarray(below.offset, below.offset + below.size).every((value) => value === 0)).toBe(true);
  });
}

function threadTests(): void {
  it('compute in parallel in one process, each with the results of a single one', async () => {
    const configs = [24, 40].map((hidden): ModelConfig => ({ cell: 'lstm', layers: 2, hidden, vocabulary: 11 }));
    await Promise.all(
      configs.map(async (config) => {
        const { parameters, batch } = problem({ ...config, streams: 6, window: 9 }, 3);
        const engine = await createNativeEngine(config, { maxStreams: 6, maxWindow: 9 });
        engine.setParameters(parameters);
        const expected = await engine.gradient(batch);
        const { loss, gradient } = await inThread(config, parameters, batch);
        expect(loss).toBe(expected.lossSum);
        expect(gradient).toEqual(expected.gradient);
      }),
    );
  });
}

function inThread(config: ModelConfig, parameters: Float32Array, batch: Batch) {
  const { layers, hidden, vocabulary } = config;
  const { streams, window, tokens, states } = batch;
  const sizes = Int32Array.of(0, layers, hidden, vocabulary, 0, 0, 0, streams, window);
  const addon = fileURLToPath(new URL('../dist/troupe.node', import.meta.url));
  const workerData = { addon, variant: variants[0], sizes, parameters, tokens, states, streams, window, times: 200 };
  return new Promise<{ loss: number; gradient: Float32Array }>((resolve, reject) => {
    const worker = new Worker(THREAD, { eval: true, workerData });
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

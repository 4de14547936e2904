import v8 from 'node:v8';
import { describe, expect, it } from 'vitest';
import { dropoutMask, dropoutScale, dropoutThreshold } from '../src/dropout.js';
import { createLayout, stateSize, type Batch, type Engine } from '../src/index.js';
import { createReferenceEngine } from '../src/reference/index.js';
import { RESERVED } from '../src/wasm/memory-map.js';
import { createWasmEngine, v8Flags, wasmVariants } from '../src/wasm/index.js';
import { allocate, compileKernels, instantiate } from '../src/wasm/kernels.js';
import { engineConformance, problem, relativeError, saturatedGates, type CreateEngine } from './engine-conformance.js';

for (const flag of v8Flags({ node: process.versions.node, arch: process.arch })) v8.setFlagsFromString(flag);
const variants = wasmVariants();
const sets = (['simd', 'relaxed-simd'] as const).filter((set) => variants.some((name) => name.startsWith(`${set} `)));

for (const variant of variants) {
  const create: CreateEngine = (config, limits) => createWasmEngine(config, limits, { variant });
  engineConformance(`wasm ${variant}`, create, { loss: 1e-6, gradient: 1e-5, states: 1e-6, logits: 1e-6 }, { handsOver: true });
  saturatedGates(`wasm ${variant}`, create);
}

async function open(shape: Parameters<typeof problem>[0], variant?: string) {
  const { config, parameters, batch } = problem(shape, 12);
  const limits = { maxStreams: batch.streams, maxWindow: batch.window };
  const engine = await createWasmEngine(config, limits, variant === undefined ? {} : { variant });
  engine.setParameters(parameters);
  return { engine, config, limits, parameters, batch };
}

describe.each(variants)('blocks of the GEMM, %s', (variant) => {
  const shapes = [
    { what: 'a hidden state deeper than a block', layers: 1, hidden: 520, vocabulary: 5, streams: 3, window: 2 },
    { what: 'gates deeper than a block', layers: 2, hidden: 131, vocabulary: 9, streams: 5, window: 3 },
    { what: 'a window longer than a block', layers: 2, hidden: 24, vocabulary: 101, streams: 31, window: 17 },
    { what: 'weight gradients in quadrants', layers: 2, hidden: 192, vocabulary: 9, streams: 4, window: 3 },
    { what: 'quadrants, an odd number of rows', layers: 2, hidden: 224, vocabulary: 9, streams: 5, window: 3 },
    { what: 'quadrants of a gru', cell: 'gru', layers: 2, hidden: 192, vocabulary: 9, streams: 3, window: 4 },
    {
      what: 'quadrants of a gru-reset-after',
      cell: 'gru-reset-after',
      layers: 2,
      hidden: 192,
      vocabulary: 9,
      streams: 3,
      window: 4,
    },
    { what: 'quadrants of an rnn-tanh', cell: 'rnn-tanh', layers: 2, hidden: 192, vocabulary: 9, streams: 3, window: 4 },
  ] as const;
  it.each(shapes)('agrees with the reference on $what', async (shape) => {
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
  });

  it('gives a stream the same bits in any batch', async () => {
    const { engine, config, batch } = await open({ layers: 2, hidden: 20, vocabulary: 9, streams: 13, window: 4 }, variant);
    const together = (await engine.evaluate(batch)).endStates.slice();
    const size = stateSize(config);
    for (const [from, to] of [
      [0, 1],
      [1, 3],
      [3, 8],
      [8, 13],
    ]) {
      const { endStates } = await engine.evaluate(cut(batch, size, from, to));
      expect(endStates).toEqual(together.subarray(from * size, to * size));
    }
  });
});

function cut(batch: Batch, size: number, from: number, to: number): Batch {
  const columns = batch.window + 1;
  const tokens = batch.tokens.slice(from * columns, to * columns);
  return { streams: to - from, window: batch.window, tokens, states: batch.states.slice(from * size, to * size) };
}

describe('the portable instruction set', () => {
  it.each([48, 192, 208])('returns the same bits with every tile, %i hidden units', async (hidden) => {
    const results: Float32Array[] = [];
    for (const variant of variants.filter((name) => name.startsWith('simd'))) {
      const { engine, batch } = await open({ layers: 2, hidden, vocabulary: 9, streams: 7, window: 5 }, variant);
      results.push((await engine.gradient(batch)).gradient);
    }
    expect(results.length).toBeGreaterThan(1);
    const bytes = ({ buffer, byteOffset, byteLength }: Float32Array) => Buffer.from(buffer, byteOffset, byteLength);
    for (const result of results) expect(bytes(result).equals(bytes(results[0]))).toBe(true);
  });
});

describe('dropout', () => {
  const p = 0.3;
  const key = { seed: 0xfedcba98, round: 4_000_000_000, streams: Uint32Array.of(7, 0xffffffff, 0, 123_456) };

  it.each(sets)('applies the masks of dropout.ts bit for bit, %s', async (set) => {
    const [T, B, H, layer] = [3, 4, 24, 2];
    const memory = allocate(RESERVED + 65536);
    const kernels = await instantiate(await compileKernels(set), memory);
    const source = RESERVED;
    const ids = source + 4 * T * B * H;
    new Float32Array(memory.buffer, source, T * B * H).fill(1);
    new Uint32Array(memory.buffer, ids, B).set(key.streams);
    const [threshold, scale] = [dropoutThreshold(p), dropoutScale(p)];
    kernels.dropout(T * B, B, H, source, source, ids, key.seed, layer, key.round, threshold, scale);
    const masks = new Float32Array(T * B * H);
    for (let r = 0; r < T * B; r++) {
      dropoutMask(p, key, layer, r % B, Math.floor(r / B), masks.subarray(r * H, (r + 1) * H));
    }
    expect(new Float32Array(memory.buffer, source, T * B * H)).toEqual(masks);
  });
});

describe('choice of the variant', () => {
  const config = { cell: 'lstm', layers: 1, hidden: 8, vocabulary: 5 } as const;
  const limits = { maxStreams: 2, maxWindow: 2 };
  /**
   * A clock that each candidate's turn reads twice; the candidate `fast` takes 6 ms, the others
   * 10.
   */
  const clock = (candidates: number, fast: number) => {
    let reads = 0;
    let time = 0;
    return () => {
      const turn = Math.floor(reads++ / 2) % candidates;
      return (time += turn === fast ? 6 : 10);
    };
  };

  it('measures models with embedding, tied output, dropout and layer normalisation too', async () => {
    const rich = {
      cell: 'gru',
      layers: 2,
      hidden: 300,
      vocabulary: 5,
      embedding: 300,
      tied: true,
      dropout: 0.5,
      layerNorm: true,
    } as const;
    const engine = await createWasmEngine(rich, limits, { now: clock(variants.length, 0) });
    expect(variants).toContain(engine.info.variant);
  });

  it('is the best guess without a clock', async () => {
    expect((await createWasmEngine(config, limits)).info).toEqual({ name: 'wasm', variant: variants[0], device: 'cpu' });
  });

  it('is the fastest one by the clock', async () => {
    const set = variants[0].split(' ')[0];
    const candidates = variants.filter((name) => name.startsWith(`${set} `));
    for (const [i, name] of candidates.entries()) {
      const engine = await createWasmEngine(config, limits, { now: clock(candidates.length, i) });
      expect(engine.info.variant).toBe(name);
    }
  });

  it('rejects an unknown variant and names the known ones', async () => {
    await expect(createWasmEngine(config, limits, { variant: 'avx1024' })).rejects.toMatchObject({
      code: 'unsupported',
      remedy: expect.stringContaining(variants[0]) as string,
    });
  });
});

describe('memory', () => {
  it('reports a model beyond 4 GiB as out_of_memory, with its size and what to lower', async () => {
    const huge = { cell: 'lstm', layers: 4, hidden: 8192, vocabulary: 65 } as const;
    await expect(createWasmEngine(huge, { maxStreams: 1, maxWindow: 1 })).rejects.toMatchObject({
      name: 'EngineError',
      code: 'out_of_memory',
      message: expect.stringMatching(/needs \d{5,} MiB/) as string,
      remedy: expect.stringContaining('batch') as string,
    });
  });

  it('reports NaN limits as bad_shape', async () => {
    const config = { cell: 'lstm', layers: 1, hidden: 8, vocabulary: 5 } as const;
    await expect(createWasmEngine(config, { maxStreams: NaN, maxWindow: 1 })).rejects.toMatchObject({ code: 'bad_shape' });
  });

  it('reserves enough memory for the constants of the compiled modules', async () => {
    for (const set of sets) {
      const kernels = await instantiate(await compileKernels(set), allocate(RESERVED));
      expect(kernels.heapBase()).toBeLessThanOrEqual(RESERVED);
    }
  });
});

describe('v8Flags', () => {
  it('returns only the flags that a version of V8 knows and benefits from', () => {
    expect(v8Flags({ node: '20.19.0', arch: 'x64' })).toEqual(['--experimental-wasm-relaxed-simd']);
    expect(v8Flags({ node: '22.23.0', arch: 'x64' })).toEqual([]);
    expect(v8Flags({ node: '24.21.0', arch: 'x64' })).toEqual(['--experimental-wasm-revectorize']);
    expect(v8Flags({ node: '24.21.0', arch: 'arm64' })).toEqual([]);
  });
});

describe('sampling', () => {
  it('returns the states of evaluate bit for bit, one character at a time', async () => {
    const { engine, config, batch } = await open({ layers: 2, hidden: 20, vocabulary: 9, streams: 1, window: 6 });
    const { endStates } = await engine.evaluate(batch);
    const expected = endStates.slice();
    const states = await sampled(engine, batch, stateSize(config));
    expect(states).toEqual(expected);
  });
});

async function sampled(engine: Engine, batch: Batch, size: number): Promise<Float32Array> {
  const states = batch.states.slice(0, size);
  for (let t = 0; t < batch.window; t++) await engine.step(batch.tokens.slice(t, t + 1), states);
  return states;
}

it('keeps the gradients of a ReLU unit that never fires exactly zero, even in large products', async () => {
  const { config, parameters, batch } = problem(
    { cell: 'rnn-relu', layers: 2, hidden: 192, vocabulary: 5, streams: 4, window: 6 },
    3,
  );
  const { tensors } = createLayout(config);
  const of = (name: string) => tensors.find((tensor) => tensor.name === name)!;
  const dead = 17;
  parameters[of('rnn.bias_ih_l1').offset + dead] = -1e6;
  const engine = await createWasmEngine(config, { maxStreams: 4, maxWindow: 6 });
  engine.setParameters(parameters);
  const { gradient } = await engine.gradient(batch);
  for (const name of ['rnn.weight_ih_l1', 'rnn.weight_hh_l1']) {
    const row = gradient.subarray(of(name).offset + dead * 192, of(name).offset + (dead + 1) * 192);
    expect(row.every((value) => value === 0)).toBe(true);
  }
  engine.dispose();
});

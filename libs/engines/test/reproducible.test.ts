/** Runs real threads, as threads.test.ts does. */
import { afterEach, describe, expect, it } from 'vitest';
import { createLayout, initialParameters, stateSize, type Batch, type Engine, type ModelConfig } from '@troupe/model';
import { ENGINE_CHOICES, REPRODUCIBLE_ENGINE, requireReproducible, type EngineChoice } from '../src/index.js';
import { wasmVariants } from '@troupe/model/wasm';
import { createCpuEngine } from '../src/node/cpu.js';
import { openEngine, type OpenOptions } from '../src/node/index.js';

const threadScript = new URL('./fixtures/engine-thread.mjs', import.meta.url);
/**
 * One model whose matrices divide in quadrants, and one with padding, an embedding, dropout and
 * layer normalisation.
 */
const MODELS: readonly ModelConfig[] = [
  { cell: 'lstm', layers: 1, hidden: 192, vocabulary: 65 },
  { cell: 'gru', layers: 2, hidden: 21, vocabulary: 30, embedding: 10, dropout: 0.3, dropoutOutput: 0.4, layerNorm: true },
];
const STREAMS = 4;
const LIMITS = { maxStreams: 6, maxWindow: 12 };
const WINDOW = 12;
const INFO = { name: REPRODUCIBLE_ENGINE.name, variant: expect.stringMatching(/^simd /) as string, device: 'cpu' };

const engines: Engine[] = [];
afterEach(() => {
  for (const engine of engines.splice(0)) engine.dispose();
});

async function open(config: ModelConfig, choice: EngineChoice = 'auto', options: OpenOptions = {}): Promise<Engine> {
  const engine = await openEngine(choice, config, LIMITS, {
    threadScript,
    reproducible: true,
    nowMs: () => performance.now(),
    ...options,
  });
  engines.push(engine);
  engine.setParameters(parameters(config, 5));
  return engine;
}

const parameters = (config: ModelConfig, seed: number) => initialParameters(config, createLayout(config), seed);

/** Streams from .. from + count of a round. */
function unit(config: ModelConfig, from: number, count = STREAMS, window = WINDOW): Batch {
  return {
    streams: count,
    window,
    tokens: Uint16Array.from({ length: count * (window + 1) }, (_, i) => ((from * 13 + i) * 7) % config.vocabulary),
    states: Float32Array.from({ length: count * stateSize(config) }, (_, i) => Math.sin(from + i)),
    dropout: { seed: 9, round: 3, streams: Uint32Array.from({ length: count }, (_, i) => from + i) },
  };
}

async function bits(engine: Engine, batch: Batch): Promise<string> {
  const { gradient, endStates, lossSum } = await engine.gradient(batch);
  return [gradient, endStates, Float64Array.of(lossSum)].map((part) => Buffer.from(part.slice().buffer).toString('hex')).join();
}

describe.each(MODELS)('a reproducible engine for $cell of $hidden', (config) => {
  it('gives the same bits each time it is opened, in this thread and in threads of its own', async () => {
    const expected = await bits(await open(config), unit(config, 0));
    for (const threads of [0, 1, 3]) {
      const engine = await open(config, 'wasm', { threads });
      expect(engine.info).toMatchObject(INFO);
      expect(await bits(engine, unit(config, 0))).toBe(expected);
    }
  });

  it('gives the same bits for a work unit after any other calls', async () => {
    const expected = await bits(await open(config), unit(config, 4));
    const engine = await open(config);
    // Larger and smaller batches, other parameters, other calls, and a gradient that is not finite.
    await engine.gradient(unit(config, 0, LIMITS.maxStreams));
    await engine.gradient(unit(config, 8, 1, 3));
    await engine.evaluate(unit(config, 2));
    await engine.step(new Uint16Array(2), new Float32Array(2 * stateSize(config)));
    engine.setParameters(parameters(config, 6).fill(Infinity));
    await expect(engine.gradient(unit(config, 4))).rejects.toMatchObject({ code: 'not_finite' });
    engine.setParameters(parameters(config, 5));
    expect(await bits(engine, unit(config, 4))).toBe(expected);
    expect(await bits(engine, unit(config, 4))).toBe(expected);
  });

  it('gives the same bits for every tile size, and different bits from threads that divide the streams', async () => {
    const expected = await bits(await open(config), unit(config, 0));
    const variants = wasmVariants().filter((variant) => variant.startsWith('simd '));
    expect(variants).toEqual(expect.arrayContaining([REPRODUCIBLE_ENGINE.variant, REPRODUCIBLE_ENGINE.wide]));
    const others = await Promise.all(variants.map((variant) => createCpuEngine('wasm', config, LIMITS, { variant })));
    const divided = await openEngine('wasm', config, LIMITS, { threadScript, threads: 2, variant: 'simd 4x2' });
    engines.push(...others, divided);
    for (const engine of [...others, divided]) engine.setParameters(parameters(config, 5));
    for (const engine of others) expect(await bits(engine, unit(config, 0)), engine.info.variant).toBe(expected);
    expect(await bits(divided, unit(config, 0))).not.toBe(expected);
  });
});

describe('a reproducible run', () => {
  const [config] = MODELS;

  it('leaves threads idle that would change the bits, and says so', async () => {
    const lines: string[] = [];
    await open(config, 'auto', { threads: 3, log: (line) => lines.push(line) });
    await open(config, 'auto', { threads: 1, log: (line) => lines.push(line) });
    expect(lines).toEqual([
      expect.stringContaining('one thread of 3') as string,
      expect.not.stringContaining('one thread') as string,
    ]);
    for (const line of lines) expect(line).toMatch(/^wasm simd \dx\d on cpu/);
  });

  it.each(ENGINE_CHOICES.filter((choice) => choice !== 'auto' && choice !== 'wasm'))('rejects the engine %s', async (choice) => {
    const refusal = {
      name: 'EngineError',
      code: 'unsupported',
      message: expect.stringContaining(choice) as string,
      remedy: expect.stringContaining('--engine wasm') as string,
    };
    await expect(open(config, choice)).rejects.toMatchObject(refusal);
    expect(() => requireReproducible(choice)).toThrow(expect.objectContaining(refusal));
  });

  it('opens the same engine again after it was lost, because there is no other', async () => {
    const engine = await open(config, 'auto', { not: ['wasm'] });
    expect(engine.info).toMatchObject(INFO);
  });
});

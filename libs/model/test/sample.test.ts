import { expect, it } from 'vitest';
import { createRandom, sample, type Engine, type ModelConfig, type SampleOptions } from '../src/index.js';
import { createReferenceEngine } from '../src/reference/index.js';
import { problem } from './engine-conformance.js';

const { config, parameters } = problem({ layers: 2, hidden: 8, vocabulary: 6, streams: 1, window: 1 }, 3);
const prime = Uint16Array.of(1, 2, 3);

function open(values = parameters): Engine {
  const engine = createReferenceEngine(config, { maxStreams: 1, maxWindow: 1 });
  engine.setParameters(values);
  return engine;
}

async function collect(engine: Engine, model: ModelConfig, options: Partial<SampleOptions>): Promise<number[]> {
  const ids: number[] = [];
  const defaults = { prime, length: 20, temperature: 1, topK: 0, random: createRandom(1) };
  for await (const id of sample(engine, model, { ...defaults, ...options })) ids.push(id);
  return ids;
}

/** A model whose logits are its output bias for any input. */
function biased(logits: number[]): Engine {
  const values = new Float32Array(parameters.length);
  values.set(logits, values.length - logits.length);
  return open(values);
}

it('takes the most likely character at temperature 0, after reading the prime', async () => {
  const engine = open();
  const states = new Float32Array(2 * 2 * 8);
  const expected: number[] = [];
  for (const id of prime.subarray(0, 2)) await engine.step(Uint16Array.of(id), states);
  let id = prime[2];
  for (let i = 0; i < 5; i++) {
    const logits = await engine.step(Uint16Array.of(id), states);
    id = logits.indexOf(Math.max(...logits));
    expected.push(id);
  }
  expect(await collect(engine, config, { temperature: 0, length: 5 })).toEqual(expected);
});

it('draws the same text from the same seed and a different one from another', async () => {
  const first = await collect(open(), config, { length: 40 });
  expect(await collect(open(), config, { length: 40 })).toEqual(first);
  expect(await collect(open(), config, { length: 40, random: createRandom(2) })).not.toEqual(first);
});

it('draws characters with the probabilities softmax(logits / temperature)', async () => {
  const logits = [0, 1, 2, -1, 0.5, -30];
  const temperature = 0.7;
  const ids = await collect(biased(logits), config, { length: 4000, temperature });
  const masses = logits.map((logit) => Math.exp(logit / temperature));
  const total = masses.reduce((sum, mass) => sum + mass, 0);
  masses.forEach((mass, id) => {
    const share = ids.filter((drawn) => drawn === id).length / ids.length;
    expect(Math.abs(share - mass / total)).toBeLessThan(0.03);
  });
});

it('draws only from the k most likely characters', async () => {
  const ids = await collect(biased([0, 1, 2, -1, 1.5, 0]), config, { length: 300, topK: 3, temperature: 5 });
  expect(new Set(ids)).toEqual(new Set([1, 2, 4]));
});

it('continues from the given state and does not modify it', async () => {
  const engine = open();
  const state = new Float32Array(2 * 2 * 8);
  for (const id of prime.subarray(0, 2)) await engine.step(Uint16Array.of(id), state);
  const before = state.slice();
  const rest = { prime: prime.subarray(2), length: 500 };
  const continued = await collect(engine, config, { ...rest, state });
  expect(state).toEqual(before);
  expect(continued).toEqual(await collect(engine, config, { ...rest, prime }));
  expect(continued).not.toEqual(await collect(engine, config, rest));
});

it('rejects an empty prime, a negative temperature and a fractional topK', async () => {
  for (const options of [
    { prime: new Uint16Array() },
    { temperature: -1 },
    { temperature: NaN },
    { topK: 1.5 },
    { length: -1 },
  ]) {
    await expect(collect(open(), config, options)).rejects.toMatchObject({ code: 'bad_shape' });
  }
});

it('reports a diverged model instead of drawing from NaN', async () => {
  const engine = open(parameters.slice().fill(NaN));
  for (const temperature of [0, 1]) {
    await expect(collect(engine, config, { temperature })).rejects.toMatchObject({ code: 'not_finite' });
  }
});

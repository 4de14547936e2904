import { expect, it } from 'vitest';
import { relativeDifference, smallProblem, takeTurn, type Engine, type ModelConfig } from '../src/index.js';
import { createReferenceEngine } from '../src/reference/index.js';

const CONFIG: ModelConfig = {
  cell: 'gru',
  layers: 5,
  hidden: 900,
  vocabulary: 11,
  embedding: 900,
  tied: true,
  dropout: 0.5,
  dropoutOutput: 0.4,
  layerNorm: true,
};

it('makes a small problem of a large model, of the same kind, that an engine can compute', async () => {
  const { config, limits, parameters, batch } = smallProblem(
    CONFIG,
    { maxStreams: 64, maxWindow: 128 },
    { streams: 3, hidden: 6 },
  );
  expect(config).toEqual({ ...CONFIG, layers: 2, hidden: 6, embedding: 6, dropout: 0, dropoutOutput: 0 });
  expect(limits).toEqual({ maxStreams: 3, maxWindow: 4 });
  const engine = createReferenceEngine(config, limits);
  engine.setParameters(parameters);
  expect((await engine.gradient(batch)).lossSum).toBeGreaterThan(0);
});

it('makes no problem larger than its model and limits', () => {
  const least = { ...CONFIG, layers: 1, hidden: 2, embedding: 0, tied: false };
  const { config, limits } = smallProblem(least, { maxStreams: 1, maxWindow: 1 }, { streams: 32, hidden: 512 });
  expect([config.layers, config.hidden, limits.maxStreams, limits.maxWindow]).toEqual([1, 2, 1, 1]);
});

it('returns the fastest gradient of a turn, which ends when its time is over', async () => {
  const took = [3, 1, 2, 9];
  let now = 0;
  const engine = { gradient: async () => void (now += took.shift()!) } as unknown as Engine;
  const { batch } = smallProblem(CONFIG, { maxStreams: 1, maxWindow: 1 }, { streams: 1, hidden: 1 });
  expect(await takeTurn(engine, batch, () => now)).toBe(1);
  expect(took).toEqual([9]);
});

it('returns the relative difference of vectors', () => {
  expect(relativeDifference(Float32Array.of(3, 4), Float32Array.of(3, 4))).toBe(0);
  expect(relativeDifference(Float32Array.of(0, 0), Float32Array.of(3, 4))).toBe(1);
});

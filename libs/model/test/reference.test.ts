import { describe, expect, it } from 'vitest';
import { CELLS, type ModelConfig } from '../src/index.js';
import { createReferenceEngine, referenceGradient, referenceLoss } from '../src/reference/index.js';
import { engineConformance, problem, relativeError } from './engine-conformance.js';
import { goldenCases } from './golden.js';

// The remaining difference is the rounding of float64 results to float32.
engineConformance('reference', createReferenceEngine, { loss: 1e-12, gradient: 1e-7, states: 2e-7, logits: 2e-7 });

const OPTIONS: readonly (Pick<ModelConfig, 'layers'> & Partial<ModelConfig>)[] = [
  { layers: 1 },
  { layers: 3 },
  { layers: 2, embedding: 4 },
  { layers: 2, embedding: 3, tied: true },
  { layers: 3, dropout: 0.4 },
  { layers: 2, embedding: 3, tied: true, dropout: 0.4 },
  { layers: 2, layerNorm: true },
  { layers: 3, embedding: 3, tied: true, dropout: 0.4, layerNorm: true },
  { layers: 1, dropoutOutput: 0.4 },
  { layers: 2, dropout: 0.3, dropoutOutput: 0.5, layerNorm: true },
];

describe('reference gradient in float64', () => {
  for (const { name, config, parameters, batch, gradient, lossSum } of goldenCases()) {
    it(`equals PyTorch's float64 gradient for ${name} within rounding`, () => {
      const result = referenceGradient(config, Float64Array.from(parameters), batch);
      expect(relativeError(result.gradient, gradient)).toBeLessThan(1e-13);
      expect(Math.abs(result.lossSum / lossSum - 1)).toBeLessThan(1e-14);
    });
  }

  for (const cell of CELLS) {
    for (const options of OPTIONS) {
      const described = Object.entries(options).map(([name, value]) => `${name} ${value}`);
      it(`equals finite differences to 1e-9 for ${cell} with ${described.join(', ')}`, () => {
        const { config, parameters, batch } = problem({ cell, hidden: 3, vocabulary: 5, streams: 2, window: 4, ...options }, 20);
        const point = Float64Array.from(parameters);
        const loss = (values: Float64Array) => referenceLoss(config, values, batch).lossSum;
        const { gradient } = referenceGradient(config, point, batch);
        const differences = gradient.map((_, i) => derivative(loss, point, i));
        expect(relativeError(gradient, differences)).toBeLessThan(1e-9);
      });
    }
  }
});

it('rejects a config or limits that are not whole numbers of at least 1', () => {
  const config: ModelConfig = { cell: 'lstm', layers: 1, hidden: 4, vocabulary: 3 };
  const limits = { maxStreams: 1, maxWindow: 1 };
  const badShape = expect.objectContaining({ name: 'EngineError', code: 'bad_shape' });
  expect(() => createReferenceEngine({ ...config, layers: 0 }, limits)).toThrow(badShape);
  expect(() => createReferenceEngine({ ...config, hidden: 2.5 }, limits)).toThrow(badShape);
  expect(() => createReferenceEngine(config, { ...limits, maxWindow: 0 })).toThrow(badShape);
  expect(() => createReferenceEngine({ ...config, embedding: 1.5 }, limits)).toThrow(badShape);
  expect(() => createReferenceEngine({ ...config, embedding: 3, tied: true }, limits)).toThrow(badShape);
  expect(() => createReferenceEngine({ ...config, dropout: 1 }, limits)).toThrow(badShape);
  expect(() => createReferenceEngine({ ...config, dropout: NaN }, limits)).toThrow(badShape);
  expect(() => createReferenceEngine({ ...config, dropoutOutput: 1 }, limits)).toThrow(badShape);
});

/**
 * Central difference of sixth order, error O(h^6). h is so large that rounding stays far below
 * 1e-9, but crosses no kink of a ReLU.
 */
function derivative(loss: (values: Float64Array) => number, point: Float64Array, i: number): number {
  const h = 2e-4;
  const at = (steps: number) => loss(point.with(i, point[i] + steps * h));
  const odd = (steps: number) => at(steps) - at(-steps);
  return (45 * odd(1) - 9 * odd(2) + odd(3)) / (60 * h);
}

it('rejects sizes that no engine can address before it allocates', () => {
  const config: ModelConfig = { cell: 'lstm', layers: 1, hidden: 1e6, vocabulary: 3 };
  const badShape = expect.objectContaining({ name: 'EngineError', code: 'bad_shape' });
  expect(() => createReferenceEngine(config, { maxStreams: 1, maxWindow: 1 })).toThrow(badShape);
  expect(() => createReferenceEngine({ ...config, hidden: 64 }, { maxStreams: 1e5, maxWindow: 1e4 })).toThrow(badShape);
});

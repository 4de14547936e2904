import { CELLS, createLayout, stateSize, type ModelConfig } from '@troupe/model';
import type { Checkpoint } from '../src/index.js';

export const MODEL: ModelConfig = { cell: 'lstm', layers: 2, hidden: 3, vocabulary: 5 };
const STREAMS = 4;

/** Every cell with one-hot, embedded and tied characters. */
export const MODELS: readonly ModelConfig[] = CELLS.flatMap((cell) => [
  { ...MODEL, cell },
  { ...MODEL, cell, embedding: 2, dropout: 0.25 },
  { ...MODEL, cell, embedding: 3, tied: true, layerNorm: true },
]);

/** Ordinary numbers mixed with negative zero, a subnormal, NaN, infinity and the largest float32. */
export function awkwardFloats(length: number, seed: number): Float32Array {
  const special = [-0, 1e-45, Number.NaN, Number.POSITIVE_INFINITY, 3.4028234663852886e38];
  return Float32Array.from({ length }, (_, i) => special[i % 11] ?? Math.sin(seed + i));
}

export function exampleCheckpoint(change: Partial<Checkpoint> = {}, model: ModelConfig = MODEL): Checkpoint {
  const { size } = createLayout(model);
  return {
    runId: 'run-1',
    round: 1200,
    model,
    config: { learningRate: 0.1, seed: 7 },
    vocabulary: ['\n', 'a', 'é', '—', '😀'],
    corpus: { name: 'sonnets', sha256: 'ab'.repeat(32), characters: 94476, trainFraction: 0.9 },
    parameters: awkwardFloats(size, 1),
    parametersDigest: '0123456789abcdef',
    optimizer: {
      slots: [
        { name: 'first_moment', values: awkwardFloats(size, 2) },
        { name: 'second_moment', values: awkwardFloats(size, 3) },
      ],
      scalars: [
        { name: 'steps', value: 1200 },
        { name: 'beta1_product', value: 0.9 ** 1200 },
        { name: 'third', value: 1 / 3 },
      ],
    },
    streamStates: awkwardFloats(STREAMS * stateSize(model), 4),
    cursors: [0, 100, 200, 300],
    rng: { state: [1, 2, 3, 4] },
    history: { best: { round: 1100, validationLoss: 1.61 } },
    savedAt: '2026-01-02T03:04:05.678Z',
    ...change,
  };
}

/** One from which a run can continue. */
export function usableCheckpoint(change: Partial<Checkpoint> = {}, model: ModelConfig = MODEL): Checkpoint {
  const { parameters, streamStates, optimizer, ...rest } = exampleCheckpoint({}, model);
  const [weights, states] = [parameters, streamStates].map((values) => values.map((_, i) => Math.sin(i)));
  const slots = optimizer.slots.map(({ name, values }) => ({ name, values: values.map((_, i) => Math.cos(i)) }));
  return { ...rest, parameters: weights, streamStates: states, optimizer: { ...optimizer, slots }, ...change };
}

/** A checkpoint for comparison, with float arrays as their bytes. */
export function bits(checkpoint: Checkpoint): unknown {
  const bytes = (values: Float32Array) => Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString('hex');
  return {
    ...checkpoint,
    parameters: bytes(checkpoint.parameters),
    ...(checkpoint.twin && { twin: bytes(checkpoint.twin) }),
    streamStates: bytes(checkpoint.streamStates),
    optimizer: {
      ...checkpoint.optimizer,
      slots: checkpoint.optimizer.slots.map(({ name, values }) => ({ name, values: bytes(values) })),
    },
  };
}

/**
 * Runs a few reproducible rounds through engine, reduction and optimizer, and compares the digests
 * of the final parameters with recorded ones. They are the same on every machine and in every
 * version of Node and V8.
 *
 * If you change a digest on purpose (another kernel, another order of sums), reproducible runs of
 * earlier releases can no longer be repeated: say so in the changelog.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { createContributionWriter, createReduction, createSegmentReader, segmentsOf, updateShape } from '@troupe/collective';
import { openEngine } from '@troupe/engines/node';
import { createLayout, initialParameters, stateSize, type Engine, type ModelConfig } from '@troupe/model';
import { createReplica, createVectorMemory } from '@troupe/optim';
import { GRADIENT_CODECS, type GradientCodec } from '@troupe/protocol';

const STREAMS = 5;
const LEASE_STREAMS = 2;
const WINDOW = 9;
const ROUNDS = 3;
const UNITS = [[0, 1], [2, 3], [4]];

/**
 * The smallest model to which Strassen's method applies, and models that cover padding and every
 * option.
 */
const MODELS: Readonly<Record<string, ModelConfig>> = {
  'lstm 192': { cell: 'lstm', layers: 1, hidden: 192, vocabulary: 65 },
  'lstm 2x21, embedding, layer norm': { cell: 'lstm', layers: 2, hidden: 21, vocabulary: 30, embedding: 10, layerNorm: true },
  'gru 2x24, dropout': { cell: 'gru', layers: 2, hidden: 24, vocabulary: 40, dropout: 0.25 },
  'gru-reset-after 3x20, tied': { cell: 'gru-reset-after', layers: 3, hidden: 20, vocabulary: 33, embedding: 20, tied: true },
  'rnn-tanh 2x17': { cell: 'rnn-tanh', layers: 2, hidden: 17, vocabulary: 29 },
  'rnn-relu 2x32': { cell: 'rnn-relu', layers: 2, hidden: 32, vocabulary: 50 },
};

const DIGESTS: Readonly<Record<string, Readonly<Record<GradientCodec, string>>>> = {
  'lstm 192': { fp16: '3d86b34464706bee', int8: 'c8dacaaa92ba0b52', fp32: '0c9d8c091fabbef9' },
  'lstm 2x21, embedding, layer norm': { fp16: '01981bf5a25f9780', int8: '72eccf0b3929cd1b', fp32: '185533efbb80e322' },
  'gru 2x24, dropout': { fp16: '015eeaa221b271f6', int8: '4bbf801f3901c5e2', fp32: '1c146265ef470592' },
  'gru-reset-after 3x20, tied': { fp16: '485d4ee473501178', int8: '0e7b2482c8d0631d', fp32: '9a7392beb887bba3' },
  'rnn-tanh 2x17': { fp16: 'ec894b0cca7055ee', int8: '519c6eacedb54afe', fp32: '5f5ed1867118f71d' },
  'rnn-relu 2x32': { fp16: 'b4fca22f6b5be80f', int8: '67fcc9c70cb3d99a', fp32: 'df594901dfcb38c3' },
};

const engines: Engine[] = [];
afterEach(() => {
  for (const engine of engines.splice(0)) engine.dispose();
});

function batchOf(model: ModelConfig, round: number, streams: readonly number[], states: Float32Array) {
  const windows = streams.map((stream) =>
    Array.from({ length: WINDOW + 1 }, (_, t) => ((stream + 1) * 31 + (round * WINDOW + t) ** 2 * 7 + t) % model.vocabulary),
  );
  return {
    streams: streams.length,
    window: WINDOW,
    tokens: Uint16Array.from(windows.flat()),
    states: Float32Array.from(streams.flatMap((stream) => [...stateOf(model, states, stream)])),
    dropout: { seed: 11, round, streams: Uint32Array.from(streams) },
  };
}

function stateOf(model: ModelConfig, states: Float32Array, stream: number): Float32Array {
  return states.subarray(stream * stateSize(model), (stream + 1) * stateSize(model));
}

/**
 * @param order in which the units of a round are computed.
 * @returns the digest of the parameters after all rounds
 */
async function train(model: ModelConfig, codec: GradientCodec, order: readonly number[]): Promise<string> {
  const layout = createLayout(model);
  const shape = { codec, tensorSizes: layout.tensors.map(({ size }) => size), stateFloats: stateSize(model) };
  const engine = await openEngine('auto', model, { maxStreams: LEASE_STREAMS, maxWindow: WINDOW }, { reproducible: true });
  engines.push(engine);
  const reduction = createReduction({ ...shape, runId: 'run', streams: STREAMS, window: WINDOW, ordered: true });
  const optimizer = { kind: 'adam', beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0 } as const;
  const replica = createReplica({ size: layout.size, optimizer });
  replica.setParameters(initialParameters(model, layout, 11));
  const segments = segmentsOf(shape);
  const writer = createContributionWriter({ codec, seed: 11 }, createVectorMemory(0));
  const reader = createSegmentReader(updateShape(shape), createVectorMemory(0));
  const states = new Float32Array(STREAMS * stateSize(model));

  for (let round = 0; round < ROUNDS; round++) {
    const parametersDigest = replica.digest();
    reduction.openRound({ round, learningRate: 0.01, clip: 1, parametersDigest });
    engine.setParameters(replica.parameters);
    for (const [i, k] of order.entries()) {
      const streams = UNITS[k];
      reduction.grant({ round, leaseId: `l${k}`, workerId: 'w', streams });
      const { gradient, endStates, lossSum, tokens } = await engine.gradient(batchOf(model, round, streams, states));
      const body = reduction.intake(streams.length);
      for (const segment of segments) {
        const bytes = new Uint8Array(segment.bytes);
        writer.encode(gradient, { round, streams }, segment, bytes);
        body.take(bytes);
      }
      body.take(new Uint8Array(endStates.slice().buffer));
      states.set(endStates, streams[0] * stateSize(model));
      const meta = { runId: 'run', round, leaseId: `l${k}`, streams, tokens, lossSum, parametersDigest, computeMs: 1 };
      const verdict = reduction.add('w', { type: 'contribution', ...meta }, body);
      if (verdict.result !== 'counted') throw new Error(verdict.reason);
      expect(verdict.update !== undefined).toBe(i === order.length - 1);
      if (verdict.update) {
        const { chunks, encode } = verdict.update;
        const parts = chunks.flatMap((chunk) => {
          const payload = new Uint8Array(chunk.bytes);
          encode(chunk, payload);
          return chunk.segments.map((segment) => reader.read(segment, payload.subarray(segment.offset - chunk.offset)));
        });
        replica.step(parts, 0.01);
      }
    }
  }
  return replica.digest();
}

describe.each(Object.entries(MODELS))('a reproducible run of %s', (name, model) => {
  it.each(GRADIENT_CODECS)('ends with the recorded parameters in %s', async (codec) => {
    expect(await train(model, codec, [0, 1, 2])).toBe(DIGESTS[name][codec]);
    expect(await train(model, codec, [2, 0, 1])).toBe(DIGESTS[name][codec]);
  });
});

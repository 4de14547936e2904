/**
 * Runs a few reproducible rounds through engine, reduction and optimizer, and compares the digests
 * of the final parameters with recorded ones. They are the same on every machine and in every
 * version of Node and V8.
 *
 * If you change a digest on purpose (another kernel, another order of sums), reproducible runs of
 * earlier releases can no longer be repeated: say so in the changelog.
 */
import { afterEach, describe, expect, it } from 'vitest';
import {
  createContributionWriter,
  createLedger,
  createRangeLayout,
  createRangeSum,
  createSegmentReader,
  keyOf,
  evenRanges,
  nameOf,
  updateShape,
} from '@troupe/collective';
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
  'lstm 2x20, dropout on the output too': {
    cell: 'lstm',
    layers: 2,
    hidden: 20,
    vocabulary: 31,
    dropout: 0.25,
    dropoutOutput: 0.5,
  },
  'gru-reset-after 3x20, tied': { cell: 'gru-reset-after', layers: 3, hidden: 20, vocabulary: 33, embedding: 20, tied: true },
  'rnn-tanh 2x17': { cell: 'rnn-tanh', layers: 2, hidden: 17, vocabulary: 29 },
  'rnn-relu 2x32': { cell: 'rnn-relu', layers: 2, hidden: 32, vocabulary: 50 },
};

const DIGESTS: Readonly<Record<string, Readonly<Record<GradientCodec, string>>>> = {
  'lstm 192': { fp16: '3d86b34464706bee', int8: 'c8dacaaa92ba0b52', 'int8-both': '356e792ba7f7425e', fp32: '0c9d8c091fabbef9' },
  'lstm 2x21, embedding, layer norm': {
    fp16: '01981bf5a25f9780',
    int8: '72eccf0b3929cd1b',
    'int8-both': '520798314ddfacc1',
    fp32: '185533efbb80e322',
  },
  'gru 2x24, dropout': {
    fp16: '015eeaa221b271f6',
    int8: '4bbf801f3901c5e2',
    'int8-both': '66e52196e6b377c0',
    fp32: '1c146265ef470592',
  },
  'lstm 2x20, dropout on the output too': {
    fp16: '9f11ad1f144a393b',
    int8: 'c26851a82d52fe35',
    'int8-both': '595ea7df9de78451',
    fp32: '4deb3158f19b8ca2',
  },
  'gru-reset-after 3x20, tied': {
    fp16: '485d4ee473501178',
    int8: '0e7b2482c8d0631d',
    'int8-both': '2b294fd40c2a8c43',
    fp32: '9a7392beb887bba3',
  },
  'rnn-tanh 2x17': {
    fp16: 'ec894b0cca7055ee',
    int8: '519c6eacedb54afe',
    'int8-both': 'd96a702308260354',
    fp32: '5f5ed1867118f71d',
  },
  'rnn-relu 2x32': {
    fp16: 'b4fca22f6b5be80f',
    int8: '67fcc9c70cb3d99a',
    'int8-both': '3fedbd060e9123ae',
    fp32: 'df594901dfcb38c3',
  },
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
 * @param order in which the units of a round are computed
 * @param ranges that the parameters are cut into
 * @returns the digest of the parameters after all rounds
 */
async function train(model: ModelConfig, codec: GradientCodec, order: readonly number[], ranges: number): Promise<string> {
  const layout = createLayout(model);
  const shape = { codec, tensorSizes: layout.tensors.map(({ size }) => size), stateFloats: stateSize(model) };
  const engine = await openEngine('auto', model, { maxStreams: LEASE_STREAMS, maxWindow: WINDOW }, { reproducible: true });
  engines.push(engine);
  const ledger = createLedger({ ...shape, runId: 'run', streams: STREAMS, window: WINDOW, ordered: true });
  const places = createRangeLayout(shape);
  const cut = evenRanges(shape, ranges);
  const sums = cut.map((range) => createRangeSum({ ...shape, layout: places, range }));
  const optimizer = { kind: 'adam', beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0 } as const;
  const replica = createReplica({ size: layout.size, optimizer });
  replica.setParameters(initialParameters(model, layout, 11));
  const writer = createContributionWriter({ codec, seed: 11 }, createVectorMemory(0));
  const reader = createSegmentReader(updateShape(shape), createVectorMemory(0));
  const states = new Float32Array(STREAMS * stateSize(model));

  for (let round = 0; round < ROUNDS; round++) {
    const parametersDigest = replica.digest();
    ledger.openRound({ round, learningRate: 0.01, clip: 1, parametersDigest }, cut.length);
    for (const sum of sums) sum.clear();
    engine.setParameters(replica.parameters);
    for (const k of order) {
      const streams = UNITS[k];
      const key = { round, leaseId: `l${k}`, workerId: 'w' };
      ledger.grant({ ...key, streams });
      const { gradient, endStates, lossSum, tokens } = await engine.gradient(batchOf(model, round, streams, states));
      for (const [index, sum] of sums.entries()) {
        const intake = sum.intake();
        for (const segment of places.arriving(cut[index])) {
          const bytes = new Uint8Array(segment.bytes);
          writer.encode(gradient, { round, streams }, segment, bytes);
          intake.take(bytes);
        }
        sum.hold(keyOf(key), intake);
        ledger.hold(nameOf(cut[index]), key, intake.defect);
      }
      states.set(endStates, streams[0] * stateSize(model));
      const meta = { runId: 'run', streams, tokens, lossSum, parametersDigest, computeMs: 1 };
      const message = { type: 'contribution', round, leaseId: key.leaseId, ...meta } as const;
      ledger.offer({ workerId: 'w', message, endStates: new Uint8Array(endStates.slice().buffer) });
    }
    const measures = sums.flatMap((sum) => {
      const each = ledger.additions.map((addition) => sum.add(keyOf(addition), addition.last));
      return each.at(-1)!;
    });
    const { factor } = ledger.finish(measures.map(({ squares }) => squares));
    const parts = sums.flatMap((sum, index) => {
      const body = new Uint8Array(sum.updateBytes);
      for (const chunk of sum.chunks)
        sum.encode(chunk, { round, factor }, body.subarray(chunk.offset, chunk.offset + chunk.bytes));
      return places
        .leaving(cut[index])
        .map((segment) => reader.read(segment, body.subarray(segment.offset, segment.offset + segment.bytes)));
    });
    replica.step(parts, 0.01);
  }
  return replica.digest();
}

describe.each(Object.entries(MODELS))('a reproducible run of %s', (name, model) => {
  it.each(GRADIENT_CODECS)('ends with the recorded parameters in %s, wherever ranges are summed', async (codec) => {
    expect(await train(model, codec, [0, 1, 2], 1)).toBe(DIGESTS[name][codec]);
    expect(await train(model, codec, [2, 0, 1], 2)).toBe(DIGESTS[name][codec]);
    expect(await train(model, codec, [1, 2, 0], 4)).toBe(DIGESTS[name][codec]);
  });
});

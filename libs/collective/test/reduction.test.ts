import { createVectorMemory, vectorMemoryBytes } from '@troupe/optim';
import { GRADIENT_CODECS, type GradientCodec, type MessageOf } from '@troupe/protocol';
import { describe, expect, it } from 'vitest';
import {
  contributionBytes,
  createSegmentReader,
  createSegmentWriter,
  SEGMENT_PARAMETERS,
  segmentsOf,
  updateBytes,
  type CodedLease,
  type GradientShape,
} from '../src/index.js';
import { contributionParts, encoded, floats, partsIn } from './coded.js';
import { createLocalReduction, type LocalConfig, type LocalReduction, type LocalVerdict } from './local-reduction.js';

/** An odd number of parameters, so that fp16 bodies need padding. */
const CONFIG: LocalConfig = { runId: 'run', streams: 6, window: 5, codec: 'fp16', tensorSizes: [7, 1, 93], stateFloats: 3 };
const SIZE = 101;
const DIGEST = '0123456789abcdef';
const UPDATE_CODECS = ['fp16', 'fp32'] as const;

interface Work {
  readonly workerId: string;
  readonly leaseId: string;
  readonly streams: number[];
  readonly gradient: Float32Array;
}

function work(k: number, streams: number[]): Work {
  const gradient = Float32Array.from({ length: SIZE }, (_, i) => Math.sin(i * (k + 1)) * 10 ** ((i % 7) - 4));
  return { workerId: `w${k}`, leaseId: `lease${k}`, streams, gradient };
}

const THREE = [work(0, [0, 3]), work(1, [5]), work(2, [1, 2, 4])];

function message({ leaseId, streams }: Work, changes: Partial<MessageOf<'contribution'>> = {}): MessageOf<'contribution'> {
  const tokens = streams.length * CONFIG.window;
  return {
    type: 'contribution',
    runId: 'run',
    round: 4,
    leaseId,
    streams,
    tokens,
    lossSum: tokens * 2,
    parametersDigest: DIGEST,
    computeMs: 1,
    ...changes,
  };
}

const decoded = (shape: GradientShape, bytes: Uint8Array) => floats(partsIn(shape, bytes));

function body(config: LocalConfig, { streams, gradient }: Work): Uint8Array<ArrayBuffer> {
  const bytes = encoded(config, gradient, streams.length * config.stateFloats * 4, { round: 4, streams });
  new Float32Array(bytes.buffer, contributionBytes(config, 0)).set(streams.flatMap((stream) => [stream, 1, 2]));
  return bytes;
}

function opened(config: LocalConfig, clip = 0, works: readonly Work[] = THREE) {
  const reduction = createLocalReduction(config);
  reduction.openRound({ round: 4, learningRate: 0.5, clip, parametersDigest: DIGEST });
  for (const { workerId, leaseId, streams } of works) reduction.grant({ round: 4, workerId, leaseId, streams });
  return reduction;
}

function add(
  reduction: LocalReduction,
  one: Work,
  config: LocalConfig,
  changes: Partial<MessageOf<'contribution'>> = {},
): LocalVerdict {
  return reduction.add(one.workerId, message(one, changes), body(config, one));
}

/** The body of the update that completed a round. */
const updateIn = (verdict: LocalVerdict | undefined) => verdict?.update?.body;

/** Adds them in this order and returns the update. */
function reduce(config: LocalConfig, works: readonly Work[], clip = 0) {
  const reduction = opened(config, clip, works);
  const verdicts = works.map((one) => add(reduction, one, config));
  const update = verdicts.at(-1)?.update;
  if (!update) throw new Error(`no update: ${verdicts.map((verdict) => verdict.reason).join('; ')}`);
  return { verdicts, ...update, update: decoded(config, update.body) };
}

function directMean(works: readonly Work[], tokens: number): number[] {
  return Array.from({ length: SIZE }, (_, i) => works.reduce((total, { gradient }) => total + gradient[i], 0) / tokens);
}

/** Of a mean, relative to its largest magnitude: a few units in the last place. */
const TOLERANCE: Readonly<Record<GradientCodec, number>> = {
  fp16: 2 ** -10,
  int8: 2 ** -4,
  'int8-both': 2 ** -4,
  fp32: 2 ** -23,
};
/** Of its norm. */
const DIGITS: Readonly<Record<GradientCodec, number>> = { fp16: 3, int8: 1, 'int8-both': 1, fp32: 6 };

const norm = (values: Iterable<number>) => Math.sqrt([...values].reduce((total, value) => total + value * value, 0));

describe.each(GRADIENT_CODECS)('a round in %s', (codec) => {
  const config = { ...CONFIG, codec };

  it('yields the token-weighted mean once every stream is counted', () => {
    const { verdicts, update, message: sent } = reduce(config, THREE);
    const mean = directMean(THREE, 30);
    expect(verdicts.map((verdict) => verdict.update !== undefined)).toEqual([false, false, true]);
    expect(sent).toMatchObject({ runId: 'run', round: 4, learningRate: 0.5, tokens: 30, lossSum: 60, clipScale: 1 });
    expect(sent.gradientNorm / norm(mean)).toBeCloseTo(1, DIGITS[codec]);
    const largest = Math.max(...mean.map(Math.abs));
    for (let i = 0; i < SIZE; i++) expect(Math.abs(update[i] - mean[i])).toBeLessThan(largest * TOLERANCE[codec]);
  });

  it('clips the mean once, by its global norm', () => {
    const free = reduce(config, THREE);
    const clip = free.message.gradientNorm / 4;
    const clipped = reduce(config, THREE, clip);
    expect(clipped.message.gradientNorm).toBe(free.message.gradientNorm);
    expect(clipped.message.clipScale).toBe(0.25);
    expect(norm(clipped.update) / clip).toBeCloseTo(1, Math.min(DIGITS[codec] + 1, 3));
  });

  it('passes on the end states of what it counts', () => {
    const [first] = reduce(config, THREE).verdicts;
    expect([...new Float32Array(first.endStates.slice().buffer)]).toEqual([0, 1, 2, 3, 1, 2]);
  });

  it('counts an all-zero gradient', () => {
    const works = THREE.map((one) => ({ ...one, gradient: new Float32Array(SIZE) }));
    const { update, message: sent } = reduce(config, works, 5);
    expect(update.every((value) => value === 0)).toBe(true);
    expect(sent).toMatchObject({ gradientNorm: 0, clipScale: 1 });
  });

  it('gives the same bits with both kernels', () => {
    expect(reduce({ ...config, kind: 'typescript' }, THREE, 0.01).body).toEqual(
      reduce({ ...config, kind: 'wasm' }, THREE, 0.01).body,
    );
  });

  it.each([NaN, Infinity, -Infinity])('refuses a gradient with %s and keeps the sum clean', (poison) => {
    const reduction = opened(config);
    const poisoned = { ...THREE[0], leaseId: 'poisoned', gradient: THREE[0].gradient.with(SIZE - 1, poison) };
    reduction.grant({ round: 4, leaseId: 'poisoned', workerId: 'w0', streams: poisoned.streams });
    const verdicts = [poisoned, ...THREE].map((one) => add(reduction, one, config));
    expect(verdicts.map(({ result }) => result)).toEqual(['not_finite', 'counted', 'counted', 'counted']);
    expect(updateIn(verdicts[3])).toEqual(reduce(config, THREE).body);
  });
});

it.each(GRADIENT_CODECS)('takes in a body in pieces of any size with %s, end states included', (codec) => {
  const config = { ...CONFIG, codec };
  for (const pieceBytes of [1, 7, 64, 300, 10_000]) {
    const reduction = opened(config);
    const verdicts = THREE.map((one) => reduction.add(one.workerId, message(one), body(config, one), pieceBytes));
    expect(updateIn(verdicts[2])).toEqual(reduce(config, THREE).body);
    const states = verdicts.map(({ endStates }) => [...new Float32Array(endStates.slice().buffer)]);
    expect(states).toEqual(THREE.map(({ streams }) => streams.flatMap((stream) => [stream, 1, 2])));
  }
});

it.each(['fp16', 'int8'] as const)('does not depend on the order of arrival with %s, bit for bit', (codec) => {
  const [a, b, c] = THREE;
  const bodies = [
    [a, b, c],
    [a, c, b],
    [b, a, c],
    [b, c, a],
    [c, a, b],
    [c, b, a],
  ].map((order) => reduce({ ...CONFIG, codec }, order, 0.01));
  for (const one of bodies) {
    expect(one.body).toEqual(bodies[0].body);
    expect(one.message).toEqual(bodies[0].message);
  }
});

describe.each(GRADIENT_CODECS)('an ordered round in %s', (codec) => {
  const config: LocalConfig = { ...CONFIG, codec, ordered: true };
  /** Two of them cancel, and what is added in between loses its last bits: float64 sums depend on the order. */
  const FAR_APART = [1e10, 1e-5, -1e10, 7e-3];
  const UNITS = [[0, 1], [2], [3, 4], [5]].map((streams, k) => ({
    ...work(k, streams),
    gradient: Float32Array.from({ length: SIZE }, (_, i) => FAR_APART[k] * Math.sin(k % 2 === 0 ? i + 1 : i * (k + 1) + 1)),
  }));
  const orders = permutations(UNITS);
  const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
  const updates = (of: LocalConfig) =>
    new Set(orders.map((order) => `${JSON.stringify(reduce(of, order, 0.01).message)} ${hex(reduce(of, order, 0.01).body)}`));

  it('gives the same bits for every order of arrival, which an unordered round does not', () => {
    expect(orders).toHaveLength(24);
    expect(updates(config).size).toBe(1);
    expect(updates({ ...config, ordered: false }).size).toBeGreaterThan(1);
  });

  it('adds in stream order', () => {
    const expected = reduce({ ...config, ordered: false }, UNITS);
    for (const order of orders) expect(reduce(config, order).body).toEqual(expected.body);
  });

  it('adds the losses in that order too', () => {
    const losses = [1e17, 6, 6, 6];
    const sums = orders.map((order) => {
      const reduction = opened(config, 0, order);
      const verdicts = order.map((one) => {
        const lossSum = losses[UNITS.indexOf(one)];
        return add(reduction, one, config, { lossSum });
      });
      return verdicts[3].update?.message.lossSum;
    });
    expect(new Set(sums)).toEqual(new Set([1e17 + 6 + 6 + 6]));
    expect(1e17 + 6 + 6 + 6).not.toBe(6 + 6 + 6 + 1e17);
  });

  it('decides at once whether a contribution counts, and adds only those that do', () => {
    const expected = reduce(config, UNITS).body;
    for (const order of orders) {
      const reduction = opened(config, 0, order);
      for (const one of order) {
        for (const name of ['bad', 'diverged', 'backup'])
          reduction.grant({ round: 4, leaseId: `${name} ${one.leaseId}`, workerId: 'w9', streams: one.streams });
      }
      const results: string[] = [];
      let update: Uint8Array | undefined;
      const give = (one: Work, changes = {}): void => {
        const verdict = add(reduction, one, config, changes);
        results.push(verdict.result);
        if (verdict.result === 'counted') update = updateIn(verdict);
      };
      for (const one of order) {
        const byOther = (name: string) => ({ ...one, workerId: 'w9', leaseId: `${name} ${one.leaseId}` });
        give({ ...byOther('bad'), gradient: one.gradient.with(3, NaN) });
        give(byOther('diverged'), { parametersDigest: 'ffffffffffffffff' });
        give(one);
        give({ ...byOther('backup'), gradient: UNITS[0].gradient });
      }
      const each = ['not_finite', 'replica_diverged', 'counted', 'already_counted'];
      expect(results).toEqual(order.flatMap(() => each));
      expect(update).toEqual(expected);
    }
  });

  it('carries nothing that was retained into the next round', () => {
    const updates = (reduction: ReturnType<typeof opened>) =>
      [5, 6].map((round) => {
        reduction.openRound({ round, learningRate: 0.5, clip: 0, parametersDigest: DIGEST });
        for (const { workerId, leaseId, streams } of UNITS) reduction.grant({ round, workerId, leaseId, streams });
        const verdicts = UNITS.toReversed().map((one) => add(reduction, one, config, { round }));
        return updateIn(verdicts[3]);
      });
    const reduction = opened(config, 0, UNITS);
    const [, , , last] = UNITS;
    add(reduction, { ...last, gradient: UNITS[0].gradient }, config);
    expect(updates(reduction)).toEqual(updates(opened(config, 0, UNITS)));
  });
});

function permutations<T>(items: readonly T[]): T[][] {
  if (items.length === 0) return [[]];
  return items.flatMap((item, i) => permutations(items.toSpliced(i, 1)).map((rest) => [item, ...rest]));
}

/** Of each segment. */
function defects(shape: GradientShape, bytes: Uint8Array): (string | undefined)[] {
  const reader = createSegmentReader(shape, createVectorMemory(0));
  const segments = segmentsOf(shape);
  return contributionParts(shape, bytes).map((part, k) => reader.defect(segments[k], part));
}

describe('a coded gradient', () => {
  it.each([1e-42, 1e-30, 1e-3, 1, 65_504, 1e30])(
    'preserves eleven bits of the largest value at magnitude %d in fp16',
    (magnitude) => {
      const shape: GradientShape = { codec: 'fp16', tensorSizes: [3, 2], stateFloats: 1 };
      const gradient = Float32Array.of(magnitude, -magnitude / 3, 0, 1, -2);
      const bytes = encoded(shape, gradient);
      const back = decoded(shape, bytes);
      expect(defects(shape, bytes)).toEqual([undefined, undefined]);
      if (magnitude > 1e-30) expect(Math.abs(back[0] / gradient[0] - 1)).toBeLessThan(2 ** -11);
      expect([...back.subarray(2)]).toEqual([0, 1, -2]);
    },
  );

  it.each(UPDATE_CODECS)('of a mean equals that of its floats in %s, scales included', (codec) => {
    const shape = { codec, tensorSizes: [1_000, 1, 93, 5_003], stateFloats: 1 };
    const size = 6_097;
    const memory = createVectorMemory(vectorMemoryBytes({ float64: [size] }));
    const writer = createSegmentWriter(shape, memory);
    const sum = memory.allocateFloat64(size);
    for (const factor of [1, 1 / 3, 1 / 2048, 0.999_999_97 / 7, 1e-38, 3e-45]) {
      const gradient = Float32Array.from({ length: size }, (_, i) => Math.sin(i * factor) * 10 ** ((i % 9) - 5));
      // A largest magnitude just under a power of two may be rounded up to it, and so into the next scale.
      gradient[1_000] = 2 - 2 ** -23;
      const last = partsIn({ ...shape, codec: 'fp16' }, encoded({ ...shape, codec: 'fp16' }, gradient));
      memory.add(sum, gradient, true);
      const { largest } = memory.addLast(sum, last, false);
      const mean = new Float32Array(size);
      memory.scaleToFloat(sum, factor, mean);
      const direct = new Uint8Array(updateBytes(shape));
      for (const segment of segmentsOf(shape)) {
        const bytes = direct.subarray(segment.offset, segment.offset + segment.bytes);
        const values = sum.subarray(segment.from, segment.to);
        writer.encodeMean(segment, values, { round: 0, factor, largest: largest[segment.index] }, bytes);
      }
      expect(direct).toEqual(encoded(shape, mean));
    }
  });

  it('is cut into segments of at most 16,384 parameters, none of them of two tensors', () => {
    const segments = segmentsOf({ codec: 'fp16', tensorSizes: [3, 2 * SEGMENT_PARAMETERS + 1, 5] });
    expect(segments.map(({ from, to, offset, bytes }) => [from, to, offset, bytes])).toEqual([
      [0, 3, 0, 12],
      [3, 16_387, 12, 32_772],
      [16_387, 32_771, 32_784, 32_772],
      [32_771, 32_772, 65_556, 8],
      [32_772, 32_777, 65_564, 16],
    ]);
  });

  it('has the stated length, padded to four bytes', () => {
    const shape = { tensorSizes: [3, 2], stateFloats: 4 };
    expect(updateBytes({ ...shape, codec: 'fp16' })).toBe(4 + 8 + 4 + 4);
    expect(updateBytes({ ...shape, codec: 'fp32' })).toBe(20);
    expect(contributionBytes({ ...shape, codec: 'fp16' }, 3)).toBe(4 + 8 + 4 + 4 + 3 * 4 * 4);
    const [small, large] = [
      { ...shape, codec: 'int8' } as const,
      { codec: 'int8', tensorSizes: [1_000], stateFloats: 1 } as const,
    ];
    expect(contributionBytes(small, 3)).toBe(4 + 4 + 3 * 4 * 4);
    expect(updateBytes(small)).toBe(4 + 8 + 4 + 4);
    expect(contributionBytes(large, 0)).toBe(4 + 1_000);
  });

  it.each([0, -1, 3, NaN, Infinity, 2 ** 112, 2 ** -101])('is invalid with the scale %d', (scale) => {
    const shape: GradientShape = { codec: 'fp16', tensorSizes: [2, 2], stateFloats: 1 };
    const bytes = encoded(shape, Float32Array.of(1, 2, 3, 4));
    new Float32Array(bytes.buffer)[2] = scale;
    expect(defects(shape, bytes)).toEqual([undefined, expect.stringContaining(`scale of tensor 1 is ${scale}`)]);
  });

  it('may start at an odd address', () => {
    const bytes = encoded(CONFIG, THREE[0].gradient);
    const shifted = new Uint8Array(bytes.length + 1);
    shifted.set(bytes, 1);
    expect(decoded(CONFIG, shifted.subarray(1))).toEqual(decoded(CONFIG, bytes));
  });
});

describe('a gradient in int8', () => {
  const shape: GradientShape = { codec: 'int8', tensorSizes: [20_000, 700], stateFloats: 1 };
  const gradient = Float32Array.from({ length: 20_700 }, (_, i) => Math.sin(i) * 10 ** ((i % 5) - 6));
  const bytesOf = (lease: CodedLease) => encoded(shape, gradient, 0, lease);

  it('gives the same bytes on every worker for one lease, and different bytes for another round or lowest stream', () => {
    const bytes = bytesOf({ round: 4, streams: [3, 7] });
    expect(bytesOf({ round: 4, streams: [7, 3] })).toEqual(bytes);
    expect(bytesOf({ round: 5, streams: [3, 7] })).not.toEqual(bytes);
    expect(bytesOf({ round: 4, streams: [2, 7] })).not.toEqual(bytes);
  });

  it('rounds equal values in other places in other ways, in every segment', () => {
    const same = encoded(shape, new Float32Array(20_700).fill(0.01));
    const values = contributionParts(shape, same).map((part) => [...part.values.subarray(0, 600)].join());
    expect(values).toHaveLength(3);
    expect(new Set(values).size).toBe(3);
    for (const each of values) expect(new Set(each.split(',')).size).toBe(2);
  });

  it('loses at most a unit in the last place of its block, and may be read at an odd address', () => {
    const bytes = bytesOf({ round: 4, streams: [3] });
    const shifted = new Uint8Array(bytes.length + 1);
    shifted.set(bytes, 1);
    const memory = createVectorMemory(vectorMemoryBytes({ float64: [20_700] }));
    const sum = memory.allocateFloat64(20_700);
    memory.add(sum, contributionParts(shape, shifted.subarray(1)), true);
    gradient.forEach((x, i) => expect(Math.abs(sum[i] - x)).toBeLessThan(1e-2 / 63));
    expect(defects(shape, bytes)).toEqual([undefined, undefined, undefined]);
  });
});

describe('a contribution is refused', () => {
  const [first, second] = THREE;
  const given = (
    changes: Partial<MessageOf<'contribution'>>,
    bytes = body(CONFIG, first),
    workerId = first.workerId,
  ): LocalVerdict => {
    const reduction = opened(CONFIG);
    return reduction.add(workerId, message(first, changes), bytes);
  };
  const broken = (offset: number, value: number) => {
    const bytes = body(CONFIG, first);
    new DataView(bytes.buffer).setFloat32(offset, value, true);
    return bytes;
  };
  const inInt8 = (offset: number, value: number): LocalVerdict => {
    const config = { ...CONFIG, codec: 'int8' } as const;
    const bytes = body(config, first);
    new DataView(bytes.buffer).setInt8(offset, value);
    const reduction = opened(config);
    return reduction.add(first.workerId, message(first), bytes);
  };

  it.each([
    ['wrong_run', 'another', given({ runId: 'another' })],
    ['wrong_round', 'round 4 is open', given({ round: 3 })],
    ['wrong_round', 'round 4 is open', given({ round: 5 })],
    ['unknown_lease', 'lease9', given({ leaseId: 'lease9' })],
    ['unknown_lease', 'w1', given({}, undefined, 'w1')],
    ['unknown_lease', 'streams 0, 3', given({ streams: [0], tokens: 5 })],
    ['unknown_lease', 'streams 0, 3', given({ streams: [3, 0] })],
    ['wrong_tokens', '11 characters', given({ tokens: 11 })],
    ['replica_diverged', 'ffffffffffffffff', given({ parametersDigest: 'ffffffffffffffff' })],
    ['not_finite', 'scale of tensor 1 is NaN', given({}, broken(20, NaN))],
    ['not_finite', 'end states', given({}, broken(updateBytes(CONFIG), Infinity))],
    ['not_finite', 'the exponent of a block is 121, not from -100 to 120', inInt8(0, 121)],
    ['not_finite', 'the exponent of a block is -101', inInt8(12, -101)],
    ['not_finite', 'tensor 2, a block is marked as not finite', inInt8(12, -128)],
    ['not_finite', 'tensor 1, a value is -128', inInt8(9, -128)],
  ])('as %s, with a reason that names %s', (code, named, verdict) => {
    expect(verdict.result).toBe(code);
    expect(verdict.reason).toContain(named);
  });

  it('as wrong_round before a round is open', () => {
    expect(add(createLocalReduction(CONFIG), first, CONFIG)).toMatchObject({ result: 'wrong_round' });
  });

  it('as already_counted the second time, from the same worker or through another lease', () => {
    const reduction = opened(CONFIG);
    reduction.grant({ round: 4, leaseId: 'backup', workerId: 'w9', streams: [3, 5] });
    const backup = { ...work(9, [3, 5]), leaseId: 'backup' };
    expect(add(reduction, first, CONFIG).result).toBe('counted');
    expect(add(reduction, first, CONFIG).result).toBe('already_counted');
    expect(add(reduction, backup, CONFIG)).toMatchObject({
      result: 'already_counted',
      reason: expect.stringContaining('streams 3 '),
    });
    expect(add(reduction, second, CONFIG).result).toBe('counted');
  });

  it('as not_finite when the sum of losses would overflow', () => {
    const reduction = opened(CONFIG);
    expect(add(reduction, first, CONFIG, { lossSum: 1.7e308 }).result).toBe('counted');
    expect(add(reduction, second, CONFIG, { lossSum: 1.7e308 }).result).toBe('not_finite');
  });

  it('after the round is complete', () => {
    const reduction = opened(CONFIG);
    for (const one of THREE) add(reduction, one, CONFIG);
    reduction.grant({ round: 4, leaseId: 'late', workerId: 'w0', streams: [0, 3] });
    expect(add(reduction, first, CONFIG, { leaseId: 'late' }).result).toBe('already_counted');
  });
});

describe('rounds and grants', () => {
  it('counts a backup when the first worker never answers', () => {
    const reduction = opened(CONFIG);
    const backup = { ...THREE[0], workerId: 'w2', leaseId: 'backup' };
    reduction.grant({ round: 4, leaseId: 'backup', workerId: 'w2', streams: [0, 3] });
    const verdicts = [backup, THREE[1], THREE[2]].map((one) => add(reduction, one, CONFIG));
    expect(updateIn(verdicts[2])).toEqual(reduce(CONFIG, THREE).body);
  });

  it('knows which leases may still be granted', () => {
    const reduction = opened(CONFIG);
    expect(reduction.mayCome(4, 'lease0')).toBe(false);
    expect(reduction.mayCome(4, 'lease9')).toBe(true);
    expect(reduction.mayCome(5, 'lease0')).toBe(true);
    expect(reduction.mayCome(3, 'lease9')).toBe(false);
  });

  it('carries nothing of one round into the next', () => {
    const reduction = opened(CONFIG);
    const give = (one: Work, round: number) => add(reduction, one, CONFIG, { round });
    THREE.forEach((one) => give(one, 4));
    reduction.openRound({ round: 5, learningRate: 0.5, clip: 0, parametersDigest: DIGEST });
    for (const { workerId, leaseId, streams } of THREE) reduction.grant({ round: 5, workerId, leaseId, streams });
    const [last] = THREE.map((one) => give(one, 5)).reverse();
    expect(updateIn(last)).toEqual(reduce(CONFIG, THREE).body);
  });

  it('drops what was counted when a round opens again', () => {
    const reduction = opened(CONFIG);
    add(reduction, THREE[0], CONFIG);
    reduction.openRound({ round: 4, learningRate: 0.5, clip: 0, parametersDigest: DIGEST });
    expect(add(reduction, THREE[0], CONFIG).result).toBe('unknown_lease');
  });

  it('refuses a grant with a stream twice, beyond B or for a future round, and ignores one for a past round', () => {
    const reduction = opened(CONFIG);
    const grant = (changes: object) => () =>
      reduction.grant({ round: 4, leaseId: 'x', workerId: 'w0', streams: [1], ...changes });
    expect(grant({ streams: [1, 1] })).toThrow(expect.objectContaining({ code: 'invalid_message' }));
    expect(grant({ streams: [6] })).toThrow(expect.objectContaining({ code: 'invalid_message' }));
    expect(grant({ round: 5 })).toThrow(expect.objectContaining({ code: 'unexpected_message' }));
    expect(grant({ round: 3 })).not.toThrow();
  });
});

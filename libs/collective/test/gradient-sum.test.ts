import { createVectorMemory, vectorMemoryBytes } from '@troupe/optim';
import { GRADIENT_CODECS } from '@troupe/protocol';
import { describe, expect, it } from 'vitest';
import { createSegmentWriter, segmentsOf, updateBytes, updateShape, type GradientShape } from '../src/index.js';
import { createGradientSum, gradientSumFloats } from '../src/gradient-sum.js';
import { contributionParts, encoded, encodedUpdate } from './coded.js';

const ROUND = 4;
const SIZE = 20_007;
const LAYOUT = { tensorSizes: [7, 20_000], stateFloats: 1 };

/** Of very different size, so that in fp32 the order of the sum shows. */
const gradient = (k: number) =>
  Float32Array.from({ length: SIZE }, (_, i) => Math.sin(i * (k + 1)) * 10 ** ((i % 7) - 4 + 12 * (k % 3)));

/** The mean of the first `count` gradients as the sum codes it, its squares and its largest magnitudes. */
function summed(shape: GradientShape, count: number, rounds = 1) {
  const memory = createVectorMemory(vectorMemoryBytes({ float64: gradientSumFloats(SIZE) }));
  const segments = segmentsOf(updateShape(shape));
  const sum = createGradientSum(segments, createSegmentWriter(updateShape(shape), memory), memory);
  const body = new Uint8Array(updateBytes(shape));
  let squares = 0;
  for (let round = 0; round < rounds; round++) {
    sum.clear();
    const bodies = new Map<unknown, Uint8Array>();
    for (let k = 0; k < count; k++) {
      const coded = encoded(shape, gradient(k));
      const parts = { gradient: contributionParts(shape, coded) };
      bodies.set(parts, coded);
      // What is no longer needed is used for something else.
      for (const done of sum.add(parts)) bodies.get(done)!.fill(0x55);
    }
    const measures = sum.measure();
    squares = measures.reduce((total, each) => total + each.squares, 0);
    for (const segment of segments) {
      const bytes = body.subarray(segment.offset, segment.offset + segment.bytes);
      sum.encodeMean(segment, { round: ROUND, factor: 1 / count, largest: measures[segment.index].largest }, bytes);
    }
  }
  return { body, squares };
}

/** The same with one vector of float64 that is stored whole. */
function expected(shape: GradientShape, count: number) {
  const memory = createVectorMemory(vectorMemoryBytes({ float64: [SIZE] }));
  const sum = memory.allocateFloat64(SIZE);
  for (let k = 0; k < count; k++) memory.add(sum, contributionParts(shape, encoded(shape, gradient(k))), k === 0);
  const mean = new Float32Array(SIZE);
  memory.scaleToFloat(sum, 1 / count, mean);
  return { body: encodedUpdate(shape, mean, ROUND), squares: sum.reduce((total, x) => total + x * x, 0) };
}

describe.each(GRADIENT_CODECS)('the sum of gradients in %s', (codec) => {
  const shape = { ...LAYOUT, codec };

  it.each([1, 2, 4, 5, 6, 9])(
    'of %d gradients has the bits of a plain sum, however many of them are kept until its end',
    (count) => {
      const { body, squares } = summed(shape, count);
      const plain = expected(shape, count);
      expect(body).toEqual(plain.body);
      expect(squares / plain.squares).toBeCloseTo(1, 12);
    },
  );

  it('keeps few gradients, however many are added', () => {
    const memory = createVectorMemory(vectorMemoryBytes({ float64: gradientSumFloats(SIZE) }));
    const sum = createGradientSum(segmentsOf(shape), createSegmentWriter(updateShape(shape), memory), memory);
    let kept = 0;
    for (let k = 0; k < 9; k++) {
      kept += 1 - sum.add({ gradient: contributionParts(shape, encoded(shape, gradient(k))) }).length;
      expect(kept).toBeLessThanOrEqual(4);
    }
  });

  it.each([2, 6])('of %d gradients contains nothing of the round before', (count) => {
    expect(summed(shape, count, 2)).toEqual(summed(shape, count));
  });
});

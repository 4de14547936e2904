import { expect, it } from 'vitest';
import { createRandom } from '../src/index.js';

const hex = (random: { uint32(): number }, count: number) => Array.from({ length: count }, () => random.uint32().toString(16));

/** The same generator on 64-bit integers, as in its paper. */
function* pcg32(seed: bigint, stream: bigint): Generator<number> {
  const mask = (1n << 64n) - 1n;
  const increment = (stream << 1n) | 1n;
  let state = ((increment + seed) * 6364136223846793005n + increment) & mask;
  for (;;) {
    const word = ((state >> 27n) ^ (state >> 45n)) & 0xffffffffn;
    const turn = state >> 59n;
    yield Number(((word >> turn) | (word << (-turn & 31n))) & 0xffffffffn);
    state = (state * 6364136223846793005n + increment) & mask;
  }
}

it("returns the numbers published with PCG's reference implementation for seed 42, stream 54", () => {
  expect(hex(createRandom(42, 54), 6)).toEqual(['a15c02b7', '7b47f409', 'ba1d3330', '83d2f293', 'bfa4784b', 'cbed606e']);
});

it('equals 64-bit arithmetic over many draws, seeds and streams', () => {
  for (const [seed, stream] of [
    [0, 0],
    [1, 1],
    [0xffffffff, 3],
    [0x80000000, 0xffffffff],
  ]) {
    const expected = pcg32(BigInt(seed), BigInt(stream));
    const random = createRandom(seed, stream);
    for (let i = 0; i < 2000; i++) expect(random.uint32()).toBe(expected.next().value);
  }
});

it('draws uniform numbers in [0, 1) with the mean and variance of the uniform distribution', () => {
  const random = createRandom(3);
  const draws = Array.from({ length: 20_000 }, () => random.uniform());
  const mean = draws.reduce((sum, x) => sum + x, 0) / draws.length;
  const variance = draws.reduce((sum, x) => sum + (x - mean) ** 2, 0) / draws.length;
  expect(draws.every((x) => x >= 0 && x < 1)).toBe(true);
  expect(mean).toBeCloseTo(0.5, 2);
  expect(variance).toBeCloseTo(1 / 12, 2);
});

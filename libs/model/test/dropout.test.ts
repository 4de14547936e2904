import { describe, expect, it } from 'vitest';
import { philox4x32 } from '@troupe/optim/philox';
import { dropoutMask, dropoutScale, type DropoutKey } from '../src/index.js';

describe('philox4x32-10', () => {
  // Known answers published with the generator (Random123, kat_vectors).
  const answers: [number[], number[], string][] = [
    [[0, 0, 0, 0], [0, 0], '6627e8d5 e169c58d bc57ac4c 9b00dbd8'],
    [Array<number>(4).fill(0xffffffff), Array<number>(2).fill(0xffffffff), '408f276d 41c83b0e a20bc7c6 6d5451fd'],
    [[0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0], 'd16cfe09 94fdcceb 5001e420 24126ea1'],
  ];
  for (const [counter, key, expected] of answers) {
    it(`maps counter ${counter.join(' ')} and key ${key.join(' ')} to the published words`, () => {
      const out = new Uint32Array(4);
      philox4x32(10, counter[0], counter[1], counter[2], counter[3], key[0], key[1], out);
      expect([...out].map((word) => word.toString(16).padStart(8, '0')).join(' ')).toBe(expected);
    });
  }
});

describe('dropout mask', () => {
  const key: DropoutKey = { seed: 3, round: 40, streams: Uint32Array.of(7, 9) };
  const mask = (p: number, change: Partial<DropoutKey> = {}, layer = 0, stream = 0, t = 5, units = 4096) => {
    const out = new Float32Array(units);
    dropoutMask(p, { ...key, ...change }, layer, stream, t, out);
    return out;
  };

  it('drops about the given fraction and scales the rest so that the mean stays the same', () => {
    for (const p of [0.1, 0.25, 0.5, 0.9]) {
      const values = mask(p);
      const dropped = values.filter((value) => value === 0).length / values.length;
      // Four standard deviations of 4,096 draws.
      expect(Math.abs(dropped - p)).toBeLessThan(4 * Math.sqrt((p * (1 - p)) / 4096));
      expect(values.every((value) => value === 0 || value === dropoutScale(p))).toBe(true);
    }
    expect(mask(0).every((value) => value === 1)).toBe(true);
  });

  it('is the same for the same seed, round, stream, time step and layer, and different for any other', () => {
    const first = mask(0.5);
    expect(mask(0.5)).toEqual(first);
    const others = [
      mask(0.5, { seed: 4 }),
      mask(0.5, { round: 41 }),
      mask(0.5, {}, 1),
      mask(0.5, {}, 0, 1),
      mask(0.5, {}, 0, 0, 6),
    ];
    for (const other of others) expect(other).not.toEqual(first);
  });

  it("depends on a stream's number, not on its position in the batch", () => {
    expect(mask(0.5, { streams: Uint32Array.of(1, 7) }, 0, 1)).toEqual(mask(0.5));
  });

  it('does not depend on the number of units', () => {
    expect(mask(0.5, {}, 0, 0, 5, 13)).toEqual(mask(0.5).slice(0, 13));
  });
});

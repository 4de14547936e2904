import { describe, expect, it } from 'vitest';
import { jumpedSince, mayGoBack } from '../src/loss-jump.js';

const CHANCE = 4;
/** Validations every ten rounds. */
const history = (...losses: number[]) => losses.map((validationLoss, i) => ({ round: 10 * (i + 1), validationLoss }));

function since(losses: readonly number[], now: number, trainLoss: number): number | undefined {
  const [evaluation] = history(now).map((one) => ({ ...one, round: 10 * (losses.length + 1) }));
  return jumpedSince({ evaluations: history(...losses), evaluation, trainLoss, chance: CHANCE });
}

describe('a validation loss has jumped', () => {
  it('if it and the training loss are suddenly more than halfway to guessing', () => {
    expect(since([3, 2, 1.6], 3.5, 3.4)).toBe(30);
    expect(since([3, 2, 1.6], 98, 40)).toBe(30);
    expect(since([3, 2, 1.6], NaN, NaN)).toBe(30);
  });

  it('never when a model learns its text by heart, however bad it becomes', () => {
    const losses = Array.from({ length: 40 }, (_, i) => 1.5 + i * 0.2);
    losses.forEach((loss, i) => expect(since([3, ...losses.slice(0, i)], loss, 0.1)).toBeUndefined());
    expect(since([1.5], 9, 2.7)).toBeUndefined();
  });

  it('never in a warm-up, where nothing is learned yet', () => {
    expect(since([4, 3.9, 3.3], 9, 9)).toBeUndefined();
    expect(since([], 9, 9)).toBeUndefined();
  });

  it('not because of one bad window, nor of a bad validation alone', () => {
    expect(since([1.6], 1.7, 9)).toBeUndefined();
    expect(since([1.6], 9, 2)).toBeUndefined();
  });

  it('once, and not while it stays high', () => {
    expect(since([1.6, 9], 9, 9)).toBeUndefined();
    expect(since([1.6, 9, 1.9], 9, 9)).toBe(30);
  });
});

describe('a run goes back because of a jump', () => {
  it('unless the same stretch has been computed again before', () => {
    expect(mayGoBack(new Set(), 30)).toBe(true);
    expect(mayGoBack(new Set([40]), 30)).toBe(false);
    expect(mayGoBack(new Set([40]), 40)).toBe(true);
  });

  it('three times at most', () => {
    expect(mayGoBack(new Set([10, 20]), 90)).toBe(true);
    expect(mayGoBack(new Set([10, 20, 30]), 90)).toBe(false);
  });
});

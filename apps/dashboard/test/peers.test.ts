import type { PeerView } from '@troupe/run';
import { describe, expect, it } from 'vitest';
import { createFormat } from '../src/reading/format.js';
import { peerMark, summingText } from '../src/reading/peers.js';
import { TEXTS } from '../src/texts.js';

const format = createFormat('en');
const mark = (peer?: PeerView, state: 'computing' | 'left' = 'computing') =>
  peerMark({ state, ...(peer && { peer }) }, TEXTS.en, format);
const peer = (sums: boolean): PeerView => ({ sums, reachedBy: 3, workers: 5 });

describe('a worker that sums for the others', () => {
  it('is marked, with the number of workers that reach it', () => {
    expect(mark(peer(true))).toEqual({
      label: 'sums',
      what: 'Sums a part of the gradients for the others. 3 of 5 workers reach it.',
    });
  });

  it('is told from one that only offers to, and from one that does not or is gone', () => {
    const { label, what } = mark(peer(false));
    expect([label, what]).toEqual(['offers to sum', expect.stringMatching(/3 of 5 workers reach it; the log says who sums/)]);
    expect([mark(), mark(peer(true), 'left')]).toEqual(Array(2).fill({ label: '', what: '' }));
  });
});

it('the number of workers is followed by who sums, as soon as anybody offers to', () => {
  const text = (...peers: readonly (PeerView | undefined)[]) =>
    summingText(
      peers.map((each) => (each ? { peer: each } : {})),
      TEXTS.en,
      format,
    );
  expect(text(peer(true), peer(true), peer(false), undefined)).toBe('; 2 of them sum the gradients');
  expect(text(peer(false), undefined)).toBe('; the all-reduce service sums the gradients');
  expect(text(undefined)).toBe('');
});

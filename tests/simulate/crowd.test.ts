import { expect, it } from 'vitest';
import { runCrowd } from './crowd.js';
import { createRandom } from './random.js';

it('completes a thousand rounds with a thousand workers, of which 5 % leave in each round', () => {
  const workers = 1_000;
  const crowd = runCrowd({
    workers,
    streams: 2_048,
    window: 64,
    rounds: 1_000,
    leaving: 0.05,
    speeds: [1e3, 1e5],
    random: createRandom(1),
    clock: () => performance.now(),
  });
  console.log(
    `${(crowd.coreMs / crowd.rounds).toFixed(1)} ms and ${(crowd.inputs / crowd.rounds).toFixed(0)} inputs per round; ` +
      `${crowd.slowdown.toFixed(2)} times the ideal; ${crowd.leases} leases; ${crowd.lost} workers lost with leases`,
  );
  expect(crowd.rounds).toBe(1_000);
  expect(crowd.faults).toEqual([]);
  expect(crowd.slowdown).toBeLessThan(1.6);
  expect(crowd.lost).toBeGreaterThan(1_000);
  // One per worker and round, and more for lost and late ones: nothing is dealt again and again.
  expect(crowd.leases).toBeLessThan(1_000 * workers + 4 * crowd.lost);
}, 300_000);

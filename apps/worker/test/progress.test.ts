import { expect, it } from 'vitest';
import { createProgress, QUIET_MS } from '../src/progress.js';

it('a worker tells how far the run is, its loss and the time left, and not in every round', () => {
  let now = 0;
  const progress = createProgress(() => now);
  const entry = { kind: 'computed' as const, streams: 4, computeMs: 5, rounds: 3_000, credit: 256 };
  expect(progress({ ...entry, round: 99 })).toBe('round 100 of 3,000; 256 characters computed here');
  now = QUIET_MS - 1;
  expect(progress({ ...entry, round: 150, trainLoss: 2 })).toBeUndefined();
  now = QUIET_MS;
  expect(progress({ ...entry, round: 199, trainLoss: 1.8461, credit: 25_600 })).toBe(
    'round 200 of 3,000, loss 1.85 nats/char, about 5 min left; 25,600 characters computed here',
  );
  now = 2 * QUIET_MS;
  expect(progress({ ...entry, round: 2_999, trainLoss: 1 })).toContain('about 1 s left');
  // The run was rewound to an earlier checkpoint.
  now = 3 * QUIET_MS;
  expect(progress({ ...entry, round: 2_000, trainLoss: 1 })).not.toContain('left');
});

it('a worker tells how far it is with a lease that takes long', () => {
  let now = 0;
  const progress = createProgress(() => now);
  const step = (steps: number) => progress({ kind: 'progress', round: 11, steps, of: 32 });
  now = QUIET_MS - 1;
  expect(step(3)).toBeUndefined();
  now = QUIET_MS;
  expect(step(4)).toBe('round 12: step 4 of 32');
  now = 2 * QUIET_MS - 1;
  expect(step(7)).toBeUndefined();
});

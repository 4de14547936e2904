import { describe, expect, it } from 'vitest';
import { weather } from './storm.js';

/** To run more: npm run simulate -- --storms 200 */
const SEEDS = [1, 2, 3, 4, 5, 10];

describe.each([
  ['reproducible', true],
  ['by speed', false],
] as const)('a run, %s', (_, reproducible) => {
  it.each(SEEDS.flatMap((seed) => [false, true].map((separate) => ({ seed, separate }))))(
    'reaches the same parameters in storm $seed (separate all-reduce: $separate)',
    async ({ seed, separate }) => {
      const { simulation, faults } = await weather({ seed, reproducible, separate });
      expect(simulation.commits.at(-1)).toMatchObject([seed % 10 === 0 ? 20 : 60, expect.any(Number) as number]);
      expect(faults.length).toBeGreaterThan(0);
    },
  );
});

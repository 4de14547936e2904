import type { Training } from '@troupe/conductor';
import { describe, expect, it } from 'vitest';
import { createGradientFlows } from '../src/gradient-flows.js';

describe('gradient flows', () => {
  it('of a model that is too large are not computed, and that is reported once', () => {
    const training = { config: { streams: 1, window: 256 }, layout: { size: 1e9 } } as unknown as Training;
    const failures: Error[] = [];
    let asked = 0;
    const side = { flow: async () => [[++asked]] };
    const flows = createGradientFlows(
      training,
      side,
      () => undefined,
      (error) => failures.push(error),
    );
    flows.onRound(1);
    flows.onRound(2);
    expect([asked, failures.length]).toEqual([0, 1]);
  });
});

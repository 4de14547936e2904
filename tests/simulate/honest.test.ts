import { describe, expect, it } from 'vitest';
import { playHonest } from './honest.js';

const playing = (leases: number, largestDifference?: number) =>
  playHonest({ seed: 1, leases, print: () => undefined, ...(largestDifference !== undefined && { largestDifference }) });

describe('audits of honest volunteers with different engines', () => {
  it('find no difference and ban nobody', async () => {
    expect(await playing(500)).toBe(0);
  }, 180_000);

  it('would find engines that differ by a tenth', async () => {
    expect(await playing(300, 0.1)).toBeGreaterThan(0);
  }, 180_000);
});

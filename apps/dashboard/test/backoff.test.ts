import { backoffMs } from '@troupe/transport';
import { expect, it } from 'vitest';
import { RECONNECT } from '../src/link/backoff.js';

it('the delay before reconnecting grows, is spread out, and ends at fifteen seconds', () => {
  expect(backoffMs(1, 0, RECONNECT)).toBe(375);
  expect(backoffMs(1, 0.999, RECONNECT)).toBeLessThan(625);
  expect(backoffMs(3, 0.5, RECONNECT)).toBe(2_000);
  expect(backoffMs(1_000, 0.5, RECONNECT)).toBe(15_000);
});

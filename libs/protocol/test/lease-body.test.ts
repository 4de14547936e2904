import { expect, it } from 'vitest';
import { decodeLeaseBody, encodeLeaseBody, leaseBodyBytes } from '../src/index.js';

it('a lease body carries tokens and given states, aligned even for an odd number of tokens', () => {
  const shape = { steps: 1, streams: 3, window: 4, given: 2, stateFloats: 2 };
  const windows = [0, 1, 2].map((stream) => Uint16Array.from({ length: 5 }, (_, t) => stream * 30_000 + t));
  const states = [Float32Array.of(0.5, -0), Float32Array.of(1e-40, 3e38)];
  const body = encodeLeaseBody(shape, { windows, states, learningRates: [] });
  expect(body.byteLength).toBe(leaseBodyBytes(shape));
  expect(body.byteLength).toBe(15 * 2 + 2 + 4 * 4);
  const decoded = decodeLeaseBody(shape, body);
  expect([...decoded.tokens]).toEqual(windows.flatMap((window) => [...window]));
  expect([...decoded.states]).toEqual(states.flatMap((state) => [...state]));
  expect(decoded.learningRates.length).toBe(0);
});

it('a lease body without given states holds only tokens', () => {
  const shape = { steps: 1, streams: 1, window: 1, given: 0, stateFloats: 512 };
  const body = encodeLeaseBody(shape, { windows: [Uint16Array.of(64, 65)], states: [], learningRates: [] });
  expect([...body]).toEqual([64, 0, 65, 0]);
  expect(decodeLeaseBody(shape, body).states.length).toBe(0);
});

it('a lease body of a local round carries a window per step and stream, and the learning rates', () => {
  const shape = { steps: 2, streams: 1, window: 2, given: 1, stateFloats: 1 };
  const windows = [Uint16Array.of(1, 2, 3), Uint16Array.of(3, 4, 5)];
  const body = encodeLeaseBody(shape, { windows, states: [Float32Array.of(0.25)], learningRates: [0.5, 2 ** -30] });
  expect(body.byteLength).toBe(leaseBodyBytes(shape));
  const { tokens, states, learningRates } = decodeLeaseBody(shape, body);
  expect([[...tokens], [...states], [...learningRates]]).toEqual([[1, 2, 3, 3, 4, 5], [0.25], [0.5, 2 ** -30]]);
});

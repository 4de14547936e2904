import { expect, it } from 'vitest';
import { decodeLeaseBody, encodeLeaseBody, leaseBodyBytes } from '../src/index.js';

it('a lease body carries tokens and given states, aligned even for an odd number of tokens', () => {
  const shape = { streams: 3, window: 4, given: 2, stateFloats: 2 };
  const tokens = [0, 1, 2].map((stream) => Uint16Array.from({ length: 5 }, (_, t) => stream * 30_000 + t));
  const states = [Float32Array.of(0.5, -0), Float32Array.of(1e-40, 3e38)];
  const body = encodeLeaseBody(shape, tokens, states);
  expect(body.byteLength).toBe(leaseBodyBytes(shape));
  expect(body.byteLength).toBe(15 * 2 + 2 + 4 * 4);
  const decoded = decodeLeaseBody(shape, body);
  expect([...decoded.tokens]).toEqual(tokens.flatMap((window) => [...window]));
  expect([...decoded.states]).toEqual(states.flatMap((state) => [...state]));
});

it('a lease body without given states holds only tokens', () => {
  const shape = { streams: 1, window: 1, given: 0, stateFloats: 512 };
  const body = encodeLeaseBody(shape, [Uint16Array.of(64, 65)], []);
  expect([...body]).toEqual([64, 0, 65, 0]);
  expect(decodeLeaseBody(shape, body).states.length).toBe(0);
});

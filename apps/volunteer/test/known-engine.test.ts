import { expect, it } from 'vitest';
import { knownSpeed, reusable } from '../src/decisions/known-engine.js';
import type { KnownEngine } from '../src/messages.js';

const known: KnownEngine = { key: 'lstm', kind: 'wasm', variant: 'simd', trials: [], share: 0.7, charsPerSecond: 900 };

it('an engine is known for the same model, until it is lost', () => {
  expect(reusable(known, 'lstm', [])).toBe(known);
  expect(reusable(known, 'gru', [])).toBeUndefined();
  expect(reusable(known, 'lstm', ['wasm'])).toBeUndefined();
  expect(reusable(undefined, 'lstm', [])).toBeUndefined();
});

it('its speed is known for the same share of the device', () => {
  expect(knownSpeed(known, 0.7)).toBe(900);
  expect(knownSpeed(known, 0.5)).toBeUndefined();
  expect(knownSpeed({ ...known, charsPerSecond: undefined }, 0.7)).toBeUndefined();
});

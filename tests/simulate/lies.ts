/** What a hostile volunteer sends instead of what it was asked to compute. */
import type { Lie } from './engine.js';

export const scaled =
  (factor: number): Lie =>
  (result) => ({ ...result, gradient: result.gradient.map((value) => value * factor) });
const states =
  (value: number): Lie =>
  (result) => ({ ...result, endStates: result.endStates.map(() => value) });

/** Noise of the norm of the gradient. It depends on nothing but the batch, as the simulation must repeat. */
const noise: Lie = (result, { tokens }) => {
  const norm = Math.hypot(...result.gradient);
  const values = result.gradient.map((_, i) => Math.sin(i * 12.9898 + tokens[0] * 78.233) * Math.SQRT2);
  const own = Math.hypot(...values);
  return { ...result, gradient: values.map((value) => (value * norm) / own) };
};

const oneTensor: Lie = (result) => ({ ...result, gradient: result.gradient.map((value, i) => (i < 8 ? -value : value)) });

export const LIES: Readonly<Record<string, Lie>> = {
  'a gradient of zeros': scaled(0),
  'a gradient times 3': scaled(3),
  'a gradient times 100': scaled(100),
  'a gradient with the sign flipped': scaled(-1),
  'a flipped gradient times 10': scaled(-10),
  'noise of equal norm': noise,
  'a flipped sign in a part of one tensor': oneTensor,
  'end states of 1': states(1),
  'end states of 1000': states(1000),
  'end states near the largest float': states(3e38),
  'a loss of half': (result) => ({ ...result, lossSum: result.lossSum / 2 }),
  'a huge loss': (result) => ({ ...result, lossSum: 1e30 }),
};

/** Another lie with each lease. */
export const mixed: Lie = (result, batch, computed) => {
  const lies = Object.values(LIES);
  return lies[computed % lies.length](result, batch, computed);
};

/** Honest for that many leases. */
export const after =
  (honest: number, lie: Lie): Lie =>
  (result, batch, computed) =>
    computed < honest ? result : lie(result, batch, computed);

import type { ModelConfig } from './config.js';
import type { Batch, Engine, EngineLimits } from './engine.js';
import { createLayout, stateSize } from './layout.js';

/** Milliseconds since an arbitrary moment. */
export type Clock = () => number;

/** A problem to try an engine with. */
export interface Problem {
  readonly config: ModelConfig;
  readonly limits: EngineLimits;
  /** [P] */
  readonly parameters: Float32Array;
  readonly batch: Batch;
}

/**
 * A problem of a few milliseconds and megabytes, to compare variants of one engine: like the
 * model, with at most `streams` streams, 4 time steps and 2 layers of `hidden`. Without dropout,
 * which costs all variants the same.
 */
export function smallProblem(
  full: ModelConfig,
  { maxStreams, maxWindow }: EngineLimits,
  most: { readonly streams: number; readonly hidden: number },
): Problem {
  const { layers, hidden, embedding = 0 } = full;
  const sizes = {
    layers: Math.min(layers, 2),
    hidden: Math.min(hidden, most.hidden),
    embedding: Math.min(embedding, most.hidden),
  };
  const config = { ...full, ...sizes, dropout: 0, dropoutOutput: 0 };
  const streams = Math.min(maxStreams, most.streams);
  const window = Math.min(maxWindow, 4);
  const spread = 1 / Math.sqrt(config.hidden);
  const values = (length: number) => Float32Array.from({ length }, (_, i) => spread * Math.sin(i * 1.37));
  const tokens = Uint16Array.from({ length: streams * (window + 1) }, (_, i) => i % config.vocabulary);
  const batch = { streams, window, tokens, states: values(streams * stateSize(config)) };
  return { config, limits: { maxStreams: streams, maxWindow: window }, parameters: values(createLayout(config).size), batch };
}

const TURN_MS = 5;

/**
 * Milliseconds of the fastest gradient in a turn. Candidates take turns, so that a burst of other
 * work on the machine affects all alike, and the shortest time of each counts.
 */
export async function takeTurn(engine: Engine, batch: Batch, now: Clock): Promise<number> {
  const start = now();
  let shortest = Infinity;
  let before = start;
  do {
    await engine.gradient(batch);
    const after = now();
    shortest = Math.min(shortest, after - before);
    before = after;
  } while (before - start < TURN_MS);
  return shortest;
}

/** |actual - expected| / |expected|, Euclidean norms. */
export function relativeDifference(actual: Float32Array, expected: Float32Array): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i++) {
    difference += (actual[i] - expected[i]) ** 2;
    norm += expected[i] ** 2;
  }
  return Math.sqrt(difference / norm);
}

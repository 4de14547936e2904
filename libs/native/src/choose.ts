import { createLayout, stateSize, type Batch, type Engine, type EngineLimits, type ModelConfig } from '@troupe/model';
import type { Addon } from './addon.js';
import { openEngine } from './engine.js';

/** Milliseconds since any moment. */
export type Clock = () => number;

/** Candidates take turns, so that a burst of other work on the machine hits all alike, and the shortest time of each counts. */
const TURNS = 5;
const TURN_MS = 5;

/** The variant that computes gradients fastest here for models like `config`: wider registers can lower a processor's clock. */
export async function fastestVariant(addon: Addon, config: ModelConfig, limits: EngineLimits, now: Clock): Promise<string> {
  const variants = addon.variants();
  if (variants.length === 1) return variants[0];
  const problem = smallProblem(config, limits);
  const engines: Engine[] = [];
  try {
    for (const variant of variants) engines.push(openEngine(addon, problem.config, problem.limits, variant));
    for (const engine of engines) engine.setParameters(problem.parameters);
    const shortest = variants.map(() => Infinity);
    for (let turn = 0; turn < TURNS; turn++) {
      for (const [i, engine] of engines.entries()) shortest[i] = Math.min(shortest[i], await take(engine, problem.batch, now));
    }
    return variants[shortest.indexOf(Math.min(...shortest))];
  } finally {
    for (const engine of engines) engine.dispose();
  }
}

/** At most 32 streams, 4 time steps, 2 layers of 512: a few milliseconds and megabytes. With parameters of 0 all is finite. */
function smallProblem(full: ModelConfig, { maxStreams, maxWindow }: EngineLimits) {
  const { cell, vocabulary } = full;
  const config: ModelConfig = { cell, vocabulary, layers: Math.min(full.layers, 2), hidden: Math.min(full.hidden, 512) };
  const streams = Math.min(maxStreams, 32);
  const window = Math.min(maxWindow, 4);
  const tokens = new Uint16Array(streams * (window + 1));
  const batch: Batch = { streams, window, tokens, states: new Float32Array(streams * stateSize(config)) };
  const limits: EngineLimits = { maxStreams: streams, maxWindow: window };
  return { config, limits, parameters: new Float32Array(createLayout(config).size), batch };
}

/** Milliseconds of the quickest gradient in a turn. */
async function take(engine: Engine, batch: Batch, now: Clock): Promise<number> {
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

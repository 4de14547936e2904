import { smallProblem, takeTurn, type Clock, type Engine, type EngineLimits, type ModelConfig } from '@troupe/model';
import type { Addon } from './addon.js';
import { openEngine } from './engine.js';

const TURNS = 5;
const SMALL = { streams: 32, hidden: 512 };

/**
 * The variant that computes gradients of models like `config` fastest here: wider registers can
 * lower the CPU's clock rate.
 */
export async function fastestVariant(addon: Addon, config: ModelConfig, limits: EngineLimits, now: Clock): Promise<string> {
  const variants = addon.variants();
  if (variants.length === 1) return variants[0];
  const problem = smallProblem(config, limits, SMALL);
  const engines: Engine[] = [];
  try {
    for (const variant of variants) engines.push(openEngine(addon, problem.config, problem.limits, variant));
    for (const engine of engines) engine.setParameters(problem.parameters);
    const shortest = variants.map(() => Infinity);
    for (let turn = 0; turn < TURNS; turn++) {
      for (const [i, engine] of engines.entries()) {
        const ms = await takeTurn(engine, problem.batch, now);
        shortest[i] = Math.min(shortest[i], ms);
      }
    }
    return variants[shortest.indexOf(Math.min(...shortest))];
  } finally {
    for (const engine of engines) engine.dispose();
  }
}

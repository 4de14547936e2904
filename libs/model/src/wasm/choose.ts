import type { ModelConfig } from '../config.js';
import type { Batch, Engine, EngineLimits } from '../engine.js';
import { relativeDifference, smallProblem, takeTurn, type Clock } from '../trial.js';
import { openEngine } from './engine.js';
import { hostVariants, type Variant } from './variants.js';

const TURNS = 8;
const SMALL = { streams: 16, hidden: 256 };

/**
 * Greatest relative difference, in the Euclidean norm, from the portable gradient: variants differ
 * only in rounding.
 */
const TOLERANCE = 1e-4;

interface Candidate {
  readonly variant: Variant;
  readonly engine: Engine;
  /** Milliseconds; NaN after the candidate has failed. */
  shortest: number;
}

/**
 * The variant that computes gradients of models like `config` fastest here: each computes those of
 * a small batch. A variant is out if it fails or its gradient differs from the portable one,
 * because hosts may have experimental ways to widen vectors.
 */
export async function fastestVariant(config: ModelConfig, limits: EngineLimits, now: Clock): Promise<Variant> {
  const problem = smallProblem(config, limits, SMALL);
  const variants = hostVariants();
  const entered: Candidate[] = [];
  const enter = async (variant: Variant): Promise<Candidate> => {
    const candidate = { variant, engine: await openEngine(problem.config, problem.limits, variant), shortest: Infinity };
    entered.push(candidate);
    candidate.engine.setParameters(problem.parameters);
    return candidate;
  };
  try {
    const portable = await enter(variants.find(({ set }) => set === 'simd') ?? variants[0]);
    // Waits for all, so that none still opens when the others are closed.
    const entering = await Promise.allSettled(variants.filter(({ set }) => set === variants[0].set).map(enter));
    const candidates = entering.map((outcome) => {
      if (outcome.status === 'rejected') throw outcome.reason;
      return outcome.value;
    });
    return (await fastest(portable, candidates, problem.batch, now)).variant;
  } finally {
    for (const { engine } of entered) engine.dispose();
  }
}

async function fastest(portable: Candidate, candidates: readonly Candidate[], batch: Batch, now: Clock): Promise<Candidate> {
  const expected = (await portable.engine.gradient(batch)).gradient;
  let winner = portable;
  for (let turn = 0; turn < TURNS; turn++) {
    for (const candidate of candidates) {
      const ms = await timeOf(candidate.engine, batch, now);
      candidate.shortest = Math.min(candidate.shortest, ms);
    }
  }
  // Checked last, when the host runs its optimised code.
  for (const candidate of candidates) {
    if (candidate.shortest < winner.shortest && (await agrees(candidate.engine, batch, expected))) winner = candidate;
  }
  return winner;
}

/**
 * NaN if the candidate traps or finds no finite gradient: the portable variant found one, so the
 * candidate is faulty.
 */
function timeOf(engine: Engine, batch: Batch, now: Clock): Promise<number> {
  return takeTurn(engine, batch, now).catch(() => NaN);
}

async function agrees(engine: Engine, batch: Batch, expected: Float32Array): Promise<boolean> {
  try {
    return relativeDifference((await engine.gradient(batch)).gradient, expected) < TOLERANCE;
  } catch {
    return false;
  }
}

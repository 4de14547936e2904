import type { ModelConfig } from '../config.js';
import type { Batch, Engine, EngineLimits } from '../engine.js';
import { createLayout, stateSize } from '../layout.js';
import { openEngine } from './engine.js';
import { hostVariants, type Variant } from './variants.js';

/** Milliseconds since any moment. */
export type Clock = () => number;

/** Candidates take turns, so that a burst of other work on the machine hits all alike, and the shortest time of each counts. */
const TURNS = 8;
const TURN_MS = 5;

/** Greatest relative difference, Euclidean norm, from the portable gradient: variants differ in rounding only. */
const TOLERANCE = 1e-4;

interface Problem {
  readonly config: ModelConfig;
  readonly limits: EngineLimits;
  readonly parameters: Float32Array;
  readonly batch: Batch;
}

interface Candidate {
  readonly variant: Variant;
  readonly engine: Engine;
  /** Milliseconds; not a number once the candidate has failed. */
  shortest: number;
}

/**
 * The variant that computes gradients fastest here for models like `config`: each computes those of a small batch. One that fails
 * or whose gradient is not the portable one's is out, as a host's way of widening vectors may be experimental.
 */
export async function fastestVariant(config: ModelConfig, limits: EngineLimits, now: Clock): Promise<Variant> {
  const problem = smallProblem(config, limits);
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
    // All, so that none still opens when the others are closed.
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
    for (const candidate of candidates) await take(candidate, batch, now);
  }
  // Checked last, when the host runs the code that it has optimised.
  for (const candidate of candidates) {
    if (candidate.shortest < winner.shortest && (await agrees(candidate.engine, batch, expected))) winner = candidate;
  }
  return winner;
}

/** At most 16 streams, 4 time steps, 2 layers of 256: a few milliseconds and megabytes. Dropout is left out, it costs all alike. */
function smallProblem(full: ModelConfig, { maxStreams, maxWindow }: EngineLimits): Problem {
  const { layers, hidden, embedding = 0 } = full;
  const most = { layers: Math.min(layers, 2), hidden: Math.min(hidden, 256), embedding: Math.min(embedding, 256) };
  const config = { ...full, ...most, dropout: 0 };
  const streams = Math.min(maxStreams, 16);
  const window = Math.min(maxWindow, 4);
  const spread = 1 / Math.sqrt(config.hidden);
  const values = (length: number) => Float32Array.from({ length }, (_, i) => spread * Math.sin(i * 1.37));
  const tokens = Uint16Array.from({ length: streams * (window + 1) }, (_, i) => i % config.vocabulary);
  const batch = { streams, window, tokens, states: values(streams * stateSize(config)) };
  return { config, limits: { maxStreams: streams, maxWindow: window }, parameters: values(createLayout(config).size), batch };
}

async function take(candidate: Candidate, batch: Batch, now: Clock): Promise<void> {
  const start = now();
  let before = start;
  do {
    if (!(await attempt(candidate.engine, batch))) {
      candidate.shortest = NaN;
      return;
    }
    const after = now();
    candidate.shortest = Math.min(candidate.shortest, after - before);
    before = after;
  } while (before - start < TURN_MS);
}

/** Undefined when the candidate traps or finds no finite gradient: the portable one has found it, so the fault is the candidate's. */
async function attempt(engine: Engine, batch: Batch): Promise<Float32Array | undefined> {
  try {
    return (await engine.gradient(batch)).gradient;
  } catch {
    return undefined;
  }
}

async function agrees(engine: Engine, batch: Batch, expected: Float32Array): Promise<boolean> {
  const gradient = await attempt(engine, batch);
  if (!gradient) return false;
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i++) {
    difference += (gradient[i] - expected[i]) ** 2;
    norm += expected[i] ** 2;
  }
  return Math.sqrt(difference / norm) < TOLERANCE;
}

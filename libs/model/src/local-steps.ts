import { clipScale, type Replica } from '@troupe/optim';
import type { ModelConfig } from './config.js';
import { dropoutKeyOf } from './dropout.js';
import { EngineError, type Batch, type Engine, type Gradient } from './engine.js';

/** One step of a track: a window of its streams. */
export interface LocalStep extends Omit<Batch, 'states'> {
  /**
   * Hidden state before the window [B, L, S, H]. The first step has one, and so has one where the streams start over; all others go on from
   * the end states of the step before.
   */
  readonly states?: Float32Array;
  readonly learningRate: number;
}

/** What a track does in a local round. Its result is a pure function of (parameters, lease). */
export interface LocalLease {
  /** H of them. */
  readonly steps: readonly LocalStep[];
  /** Maximum norm of the mean gradient of each step; 0 = none. */
  readonly clip: number;
}

export interface LocalPorts {
  readonly engine: Pick<Engine, 'setParameters'> & {
    /** Of one window. */
    gradient(batch: Batch): Promise<Gradient>;
  };
  /** The inner optimizer. Its parameters and state are overwritten. */
  readonly optimizer: Pick<Replica, 'parameters' | 'reset' | 'step'>;
  /** Asked between two steps. */
  isOvertaken?(done: number): boolean;
}

/**
 * Takes the steps of a track from `parameters` [P] on (local SGD; DiLoCo: Douillard et al. 2023, algorithm 1). In the result `gradient` [P]
 * is the difference (before - after) times `tokens`, so that the sum over tracks, divided by all their characters, is the mean difference
 * weighted by characters; `lossSum` and `tokens` are those of all windows, `endStates` those after the last one.
 * The engine must have `parameters`, and is left with others.
 * @returns undefined if it was overtaken
 * @throws EngineError; `not_finite` also when the steps diverge
 */
export async function takeLocalSteps(
  parameters: Float32Array,
  { steps, clip }: LocalLease,
  { engine, optimizer, isOvertaken = () => false }: LocalPorts,
): Promise<Gradient | undefined> {
  optimizer.reset(parameters);
  const mean = new Float32Array(parameters.length);
  let [lossSum, tokens] = [0, 0];
  let states = new Float32Array(0);
  for (const [done, step] of steps.entries()) {
    if (isOvertaken(done)) return undefined;
    if (done > 0) engine.setParameters(optimizer.parameters);
    const result = await engine.gradient({ ...step, states: step.states ?? states });
    lossSum += result.lossSum;
    tokens += result.tokens;
    states = result.endStates.slice();
    optimizer.step(clippedMean(result, clip, mean), step.learningRate);
  }
  return { gradient: difference(parameters, optimizer.parameters, tokens, mean), lossSum, tokens, endStates: states };
}

/** Element arithmetic is float64 in a fixed order and rounded once, so that it is the same on every host. */
function clippedMean({ gradient, tokens }: Gradient, clip: number, mean: Float32Array): Float32Array {
  let squares = 0;
  for (let i = 0; i < gradient.length; i++) squares += gradient[i] * gradient[i];
  const factor = clipScale(Math.sqrt(squares) / tokens, clip) / tokens;
  for (let i = 0; i < gradient.length; i++) mean[i] = gradient[i] * factor;
  return mean;
}

/** @throws EngineError `not_finite` */
function difference(before: Float32Array, after: Float32Array, tokens: number, result: Float32Array): Float32Array {
  let zero = 0;
  for (let i = 0; i < before.length; i++) {
    result[i] = (before[i] - after[i]) * tokens;
    zero += result[i] * 0;
  }
  if (zero === 0) return result;
  throw new EngineError(
    'not_finite',
    'the parameters after the last step are not finite',
    'Lower the learning rate or the clip norm.',
  );
}

/** A local lease as it travels. */
export interface LocalWindows {
  /** Numbers of the streams in the run, B of them. */
  readonly streams: readonly number[];
  /** T. */
  readonly window: number;
  /** Number in the run of the first window. */
  readonly first: number;
  /** [H, B, T+1] */
  readonly tokens: Uint16Array;
  /** Hidden state before the first window [B, L, S, H]. */
  readonly states: Float32Array;
  /** [H] */
  readonly learningRates: Float32Array;
  readonly clip: number;
  /** The step before which the streams start over, if one of them but the first does. */
  readonly wrapStep?: number | undefined;
}

/** @param seed of the run, which names the masks of dropout together with the number of the window */
export function localLease(model: ModelConfig, seed: number, lease: LocalWindows): LocalLease {
  const { streams, window, first, tokens, states, learningRates, clip, wrapStep } = lease;
  const size = streams.length * (window + 1);
  const steps = Array.from(learningRates, (learningRate, h): LocalStep => {
    const before = h === 0 ? states : h === wrapStep ? new Float32Array(states.length) : undefined;
    return {
      streams: streams.length,
      window,
      tokens: tokens.subarray(h * size, (h + 1) * size),
      ...(before && { states: before }),
      ...dropoutKeyOf(model, { seed, round: first + h, streams }),
      learningRate,
    };
  });
  return { steps, clip };
}

/** Other ways to measure a model than carrying its state over the whole text (evaluate.ts). */
import type { ModelConfig } from './config.js';
import { EngineError, type Engine } from './engine.js';
import type { EvaluationReport } from './evaluate.js';
import { stateSize } from './layout.js';

interface Watching {
  /** Checked between engine calls; its reason is thrown. */
  readonly signal?: AbortSignal;
  /** Called after every engine call with the characters counted so far and in total. */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface BlocksOptions extends Watching {
  /** Characters of a block, at most the engine's maxWindow. */
  readonly block: number;
}

/**
 * The mean over the blocks that nanoGPT draws from, each read from a hidden state of zeros, as a
 * transformer with that context reads it: its first character is predicted from one character, its
 * last from all of the block. nanoGPT takes blocks at random places; these are all that do not
 * overlap, in order, so the figure is the same each time. What is left at the end is not counted.
 * @throws EngineError `bad_shape` for a text shorter than a block, `not_finite`, and what
 * Engine.evaluate throws; the signal's reason if aborted
 */
export async function evaluateBlocks(
  engine: Engine,
  config: ModelConfig,
  tokens: Uint16Array,
  { block, signal, onProgress }: BlocksOptions,
): Promise<EvaluationReport> {
  const blocks = wholeBlocks(tokens.length - 1, block);
  const total = blocks * block;
  let lossSum = 0;
  for (let first = 0; first < blocks; first += engine.limits.maxStreams) {
    signal?.throwIfAborted();
    const streams = Math.min(engine.limits.maxStreams, blocks - first);
    const windows = new Uint16Array(streams * (block + 1));
    for (let b = 0; b < streams; b++) {
      const from = (first + b) * block;
      windows.set(tokens.subarray(from, from + block + 1), b * (block + 1));
    }
    const states = new Float32Array(streams * stateSize(config));
    lossSum += (await engine.evaluate({ streams, window: block, tokens: windows, states })).lossSum;
    onProgress?.((first + streams) * block, total);
  }
  return reportOf(lossSum, total);
}

function wholeBlocks(targets: number, block: number): number {
  if (Number.isInteger(block) && block >= 1 && targets >= block) return Math.floor(targets / block);
  throw new EngineError(
    'bad_shape',
    `the text has ${targets + 1} characters, and a block takes ${block + 1}`,
    'evaluate a longer text',
  );
}

export interface DynamicOptions extends Watching {
  /** Characters after which the model learns, at most the engine's maxWindow. */
  readonly segment: number;
  /** Learning rate. */
  readonly rate: number;
  /** The part of the way back to the trained parameters that each step takes on average, 0 to 1. */
  readonly decay: number;
  /** [P], see gradientSizes. Absent: all parameters learn at the same rate. */
  readonly sizes?: Float32Array;
}

/**
 * The usual size of the gradient of each parameter [P], for dynamic evaluation: the root mean square
 * over the first `segments` segments of a text like that which the model was trained on. The state
 * is carried.
 * @param engine of a model without dropout, with its parameters set
 * @throws EngineError as evaluateDynamically; the signal's reason if aborted
 */
export async function gradientSizes(
  engine: Engine,
  config: ModelConfig,
  tokens: Uint16Array,
  { segment, segments, signal }: Pick<DynamicOptions, 'segment' | 'signal'> & { readonly segments: number },
): Promise<Float32Array> {
  const count = Math.min(segments, wholeBlocks(tokens.length - 1, segment));
  let states = new Float32Array(stateSize(config));
  let sums = new Float64Array(0);
  for (let i = 0; i < count; i++) {
    signal?.throwIfAborted();
    const from = i * segment;
    const batch = { streams: 1, window: segment, tokens: tokens.slice(from, from + segment + 1), states };
    const { gradient, endStates } = await engine.gradient(batch);
    if (i === 0) sums = new Float64Array(gradient.length);
    for (let k = 0; k < sums.length; k++) sums[k] += (gradient[k] / segment) ** 2;
    states = endStates.slice();
  }
  return Float32Array.from(sums, (sum) => Math.sqrt(sum / count));
}

/**
 * Dynamic evaluation (Krause, Kahembwe, Murray & Renals 2018): the model is measured on a segment,
 * and then learns from it. With g, the mean gradient of the segment, and p0, the trained parameters,
 *
 *   p = p - rate * g + decay * (p0 - p)                                          without sizes
 *   p = p - rate * g / (size + mean size) + min(1, decay * size / mean size) * (p0 - p)
 *
 * in float32, from left to right; the second form is their RMS rule with a relative epsilon. The
 * hidden state is carried. Every character is counted before the model has learned from it. The
 * engine ends with the last parameters.
 * @param engine of a model without dropout
 * @param parameters p0 [P], not changed
 * @throws EngineError `bad_shape` for fewer than 2 tokens or options out of range, and what
 * Engine.gradient throws; the signal's reason if aborted
 */
export async function evaluateDynamically(
  engine: Engine,
  config: ModelConfig,
  parameters: Float32Array,
  tokens: Uint16Array,
  { segment, rate, decay, sizes, signal, onProgress }: DynamicOptions,
): Promise<EvaluationReport> {
  const total = tokens.length - 1;
  checkDynamic(total, segment, rate, decay);
  const adapted = parameters.slice();
  const rule = ruleOf(parameters.length, rate, decay, sizes);
  let states = new Float32Array(stateSize(config));
  let lossSum = 0;
  for (let at = 0; at < total; at += segment) {
    signal?.throwIfAborted();
    const window = Math.min(segment, total - at);
    engine.setParameters(adapted);
    const batch = { streams: 1, window, tokens: tokens.slice(at, at + window + 1), states };
    const { lossSum: loss, gradient, endStates } = await engine.gradient(batch);
    lossSum += loss;
    states = endStates.slice();
    learn(adapted, gradient, window, parameters, rule);
    onProgress?.(at + window, total);
  }
  return reportOf(lossSum, total);
}

/** Of each parameter, [P]. */
interface Rule {
  readonly rates: Float32Array;
  readonly decays: Float32Array;
}

function ruleOf(size: number, rate: number, decay: number, sizes: Float32Array | undefined): Rule {
  if (!sizes) return { rates: new Float32Array(size).fill(rate), decays: new Float32Array(size).fill(decay) };
  const mean = sizes.reduce((sum, one) => sum + one, 0) / size;
  return {
    rates: sizes.map((one) => rate / (one + mean)),
    decays: sizes.map((one) => Math.min(1, (decay * one) / mean)),
  };
}

/** @param gradient the sum over `count` characters */
function learn(p: Float32Array, gradient: Float32Array, count: number, trained: Float32Array, { rates, decays }: Rule): void {
  const { fround } = Math;
  const share = fround(1 / count);
  for (let i = 0; i < p.length; i++) {
    const step = fround(rates[i] * fround(share * gradient[i]));
    p[i] = fround(p[i] - step) + fround(decays[i] * fround(trained[i] - p[i]));
  }
}

function checkDynamic(total: number, segment: number, rate: number, decay: number): void {
  const wrong =
    total < 1
      ? `the text has ${total + 1} characters`
      : !(Number.isInteger(segment) && segment >= 1)
        ? `segment is ${segment}`
        : !(Number.isFinite(rate) && rate >= 0)
          ? `rate is ${rate}`
          : !(decay >= 0 && decay <= 1) && `decay is ${decay}`;
  if (wrong)
    throw new EngineError('bad_shape', wrong, 'evaluate 2 characters or more, with a rate of at least 0 and a decay of 0 to 1');
}

function reportOf(lossSum: number, tokens: number): EvaluationReport {
  if (Number.isFinite(lossSum)) return { lossSum, tokens, lossPerChar: lossSum / tokens };
  throw new EngineError('not_finite', 'the loss is not a finite number', 'evaluate another checkpoint, or learn at a lower rate');
}

/** One training in this process, with the flags of `troupe train`: what a recipe is worth, without a cluster around it. */
import { parseArgs } from 'node:util';
import { configFromFlags, parseTrainingConfig, RUN_OPTIONS } from '@troupe/config';
import { createStreams, createVocabulary, splitCorpus } from '@troupe/corpus';
import { createLayout, evaluateLoss, initialParameters, stateSize, usesDropout } from '@troupe/model';
import { createNativeEngine } from '@troupe/native';
import { clipScale, createReplica, learningRateAt } from '@troupe/optim';
import { interruption } from '../../interruption.mjs';

/** Lanes of a validation, and characters that each reads first. */
const LANES = { lanes: 16, warmup: 256 };
/** Time steps of a call in a validation. */
const WINDOW = 128;

/**
 * @typedef {object} Curve
 * @property {number} characters trained on
 * @property {number} parameters
 * @property {number} teraflops in the matrix products, see flopsOf
 * @property {readonly { round: number, trained: number, average?: number, constant?: number }[]} points validation losses, nats/char;
 *   `constant`: of an average that keeps D of itself from the first round on
 * @property {number} clipped the fraction of rounds whose gradient was clipped
 */

/**
 * Trains one model on `text` with one thread, and validates it `validations` times, evenly spread. Gradients stay in float32.
 * @param {string} text
 * @param {readonly string[]} flags
 * @param {number} validations
 * @returns {Promise<Curve>}
 */
export async function trial(text, flags, validations) {
  const vocabulary = createVocabulary(text);
  const { train, validation } = splitCorpus(vocabulary.encode(text));
  const config = configOf(flags, vocabulary.size);
  const { model, streams: B, window: T, rounds, seed } = config;
  const limits = { maxStreams: Math.max(B, LANES.lanes), maxWindow: Math.max(T, WINDOW) };
  const engine = await createNativeEngine(model, limits);
  try {
    const layout = createLayout(model);
    const replica = createReplica({ size: layout.size, optimizer: config.optimizer, averageDecay: config.ema });
    replica.setParameters(initialParameters(model, layout, seed, config.forgetBias));
    const step = trainer(config, createStreams(train, config), engine, replica);
    const lossOf = async (/** @type {Float32Array} */ parameters) => {
      engine.setParameters(parameters);
      return (await evaluateLoss(engine, model, validation, { window: WINDOW, ...LANES, signal: interruption })).lossPerChar;
    };
    const points = [];
    const constant = replica.average?.slice();
    let clipped = 0;
    const every = Math.max(1, Math.round(rounds / validations));
    for (let round = 0; round < rounds; round++) {
      interruption.throwIfAborted();
      if ((await step(round)) < 1) clipped++;
      if (constant) follow(constant, replica.parameters, 1 - config.ema);
      if ((round + 1) % every !== 0 && round + 1 !== rounds) continue;
      points.push({
        round: round + 1,
        trained: await lossOf(replica.parameters),
        ...(replica.average && { average: await lossOf(replica.average) }),
        ...(constant && { constant: await lossOf(constant) }),
      });
    }
    const teraflops = (flopsOf(model) * B * T * rounds) / 1e12;
    return { characters: B * T * rounds, parameters: layout.size, teraflops, points, clipped: clipped / rounds };
  } finally {
    engine.dispose();
  }
}

/** @param {Float32Array} average @param {Float32Array} parameters @param {number} take */
function follow(average, parameters, take) {
  for (let i = 0; i < average.length; i++) average[i] += take * (parameters[i] - average[i]);
}

/** The lowest loss of a curve, and where it is. @param {Curve} curve */
export function bestOf({ points }) {
  const all = points.flatMap(({ round, trained, average }) => [
    { round, loss: trained, averaged: false },
    ...(average === undefined ? [] : [{ round, loss: average, averaged: true }]),
  ]);
  return all.reduce((best, one) => (one.loss < best.loss ? one : best));
}

/** Multiplications and additions of a character, forward and backward. @param {import('@troupe/model').ModelConfig} model */
function flopsOf({ layers: L, hidden: H, vocabulary: V }) {
  return 6 * (4 * H * H * (2 * L - 1) + H * V);
}

/** @param {readonly string[]} flags @param {number} vocabulary */
function configOf(flags, vocabulary) {
  const options = Object.fromEntries(
    RUN_OPTIONS.map(({ flag, type }) => [
      flag.slice(2),
      /** @type {{ type: 'boolean' | 'string' }} */ ({ type: type === 'switch' ? 'boolean' : 'string' }),
    ]),
  );
  const { values } = parseArgs({ args: [...flags], options });
  const text = (/** @type {string} */ flag) => {
    const value = values[flag.slice(2)];
    return value === undefined ? undefined : String(value);
  };
  const result = parseTrainingConfig(configFromFlags(text, vocabulary));
  if (!result.ok) throw new Error(`${result.field} ${result.problem}`);
  return result.config;
}

/**
 * @param {import('@troupe/config').TrainingConfig} config
 * @param {import('@troupe/corpus').Streams} streams
 * @param {import('@troupe/model').Engine} engine
 * @param {import('@troupe/optim').Replica} replica
 * @returns {(round: number) => Promise<number>} computes a round; resolves with the factor of its clipping
 */
function trainer(config, streams, engine, replica) {
  const { model, streams: B, window: T, seed, clip } = config;
  const numbers = Uint32Array.from({ length: B }, (_, stream) => stream);
  const tokens = new Uint16Array(B * (T + 1));
  const states = new Float32Array(B * stateSize(model));
  return async (round) => {
    if (round % streams.windowsPerPass === 0) states.fill(0);
    for (const stream of numbers) tokens.set(streams.streamWindow(stream, round), stream * (T + 1));
    engine.setParameters(replica.parameters);
    const dropout = usesDropout(model) ? { dropout: { seed, round, streams: numbers } } : {};
    const { gradient, tokens: count, endStates } = await engine.gradient({ streams: B, window: T, tokens, states, ...dropout });
    states.set(endStates);
    let squares = 0;
    for (let i = 0; i < gradient.length; i++) squares += (gradient[i] /= count) ** 2;
    const scale = clipScale(Math.sqrt(squares), clip);
    if (scale < 1) for (let i = 0; i < gradient.length; i++) gradient[i] *= scale;
    replica.step(gradient, Math.fround(learningRateAt(config.schedule, config.learningRate, round, config.rounds)));
    return scale;
  };
}

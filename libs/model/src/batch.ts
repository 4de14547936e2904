/**
 * The checks of every engine before it computes. All functions throw EngineError `bad_shape` and
 * do not modify the arrays.
 */
import { modelProblem } from '@troupe/config';
import { CELL_SHAPES, type ModelConfig } from './config.js';
import { usesDropout } from './dropout.js';
import { EngineError, type Batch, type EngineLimits } from './engine.js';
import { parameterCount, stateSize } from './layout.js';

const SHAPE_REMEDY = 'build the batch from the same model config and engine limits that the engine was created with';

/**
 * @throws EngineError `bad_shape` unless `config` is a model config (libs/config) of any size, the
 * limits are whole numbers >= 1, and there are fewer than 2^31 parameters and activations, so that
 * engines can address them.
 */
export function checkEngineConfig(config: ModelConfig, limits: EngineLimits): void {
  const wrong = modelProblem(config, Infinity);
  if (wrong !== undefined) {
    const { field, problem } = wrong;
    const value = String((config as Readonly<Record<string, unknown>>)[field]);
    throw new EngineError('bad_shape', `${field} is ${value}; it ${problem}`, `give another ${field}`);
  }
  const { maxStreams, maxWindow } = limits;
  for (const [name, value] of Object.entries({ maxStreams, maxWindow })) {
    if (!Number.isInteger(value) || value < 1) {
      throw new EngineError('bad_shape', `${name} is ${value}`, `give ${name} as a whole number of at least 1`);
    }
  }
  checkAddressable(config, limits);
}

/**
 * Larger sizes fit no memory and would overflow an engine's addresses instead of failing cleanly.
 */
const MAX_FLOATS = 2 ** 31;

function checkAddressable(config: ModelConfig, { maxStreams, maxWindow }: EngineLimits): void {
  const { layers, hidden, vocabulary, cell } = config;
  const parameters = parameterCount(config);
  const activations = maxStreams * maxWindow * (layers * CELL_SHAPES[cell].gates * hidden + vocabulary);
  for (const [what, count] of [
    ['parameters', parameters],
    ['activations', activations],
  ] as const) {
    if (count >= MAX_FLOATS) {
      throw new EngineError(
        'bad_shape',
        `the model has ${count.toExponential(1)} ${what}, more than any engine can address`,
        'make hidden layers, batch or window smaller',
      );
    }
  }
}

/** Parameters [P], P = layout.size. Values are not checked. */
export function checkParameters(config: ModelConfig, parameters: { readonly length: number }): void {
  const size = parameterCount(config);
  if (parameters.length !== size) {
    throw new EngineError(
      'bad_shape',
      `${parameters.length} parameters were passed, but the model has ${size}`,
      'pass all parameters, in the order of createLayout(config)',
    );
  }
}

/** B and T within `limits`, tokens [B, T+1] all below V, states [B, L, S, H]. */
export function checkBatch(config: ModelConfig, limits: EngineLimits, batch: Batch): void {
  const { streams, window, tokens, states } = batch;
  checkCount('streams', streams, limits.maxStreams);
  checkCount('time steps', window, limits.maxWindow);
  checkLength('tokens [B, T+1]', tokens.length, streams * (window + 1));
  checkLength('states [B, L, S, H]', states.length, streams * stateSize(config));
  checkTokens(config, tokens);
}

/** The additional check of gradient(): with dropout, a key with the number of every stream. */
export function checkDropoutKey(config: ModelConfig, { streams, dropout: key }: Batch): void {
  if (!usesDropout(config)) return;
  if (!key) {
    throw new EngineError(
      'bad_shape',
      'the model has dropout, but the batch has no dropout key',
      'pass batch.dropout: seed, round, streams',
    );
  }
  checkLength('dropout.streams [B]', key.streams.length, streams);
}

/** For Engine.step: tokens [B] with 1 <= B <= maxStreams, all below V; states [B, L, S, H]. */
export function checkStep(config: ModelConfig, limits: EngineLimits, tokens: Uint16Array, states: Float32Array): void {
  checkCount('streams', tokens.length, limits.maxStreams);
  checkLength('states [B, L, S, H]', states.length, tokens.length * stateSize(config));
  checkTokens(config, tokens);
}

function checkCount(what: string, count: number, most: number): void {
  if (!Number.isInteger(count) || count < 1 || count > most) {
    throw new EngineError(
      'bad_shape',
      `the batch has ${count} ${what}, but this engine takes 1 to ${most}`,
      `pass fewer ${what}, or create the engine with higher limits`,
    );
  }
}

function checkLength(what: string, length: number, expected: number): void {
  if (length !== expected) {
    throw new EngineError('bad_shape', `${what} holds ${length} values, ${expected} expected`, SHAPE_REMEDY);
  }
}

function checkTokens(config: ModelConfig, tokens: Uint16Array): void {
  for (let i = 0; i < tokens.length; i++) {
    if (tokens[i] >= config.vocabulary) {
      throw new EngineError(
        'bad_shape',
        `token ${tokens[i]} at position ${i} is not in the vocabulary of ${config.vocabulary} characters`,
        'encode the text with the vocabulary of the model',
      );
    }
  }
}

/** What every engine checks before it computes. All functions throw EngineError `bad_shape` and leave the caller's arrays alone. */
import type { ModelConfig } from './config.js';
import { EngineError, type Batch, type EngineLimits } from './engine.js';
import { createLayout, stateSize } from './layout.js';

const SHAPE_REMEDY = 'build the batch from the same model config and engine limits that the engine was created with';

/** @throws EngineError `bad_shape` unless L, H, V are whole numbers >= 1 and the limits whole numbers >= 1. */
export function checkEngineConfig(config: ModelConfig, limits: EngineLimits): void {
  const sizes = {
    layers: config.layers,
    hidden: config.hidden,
    vocabulary: config.vocabulary,
    maxStreams: limits.maxStreams,
    maxWindow: limits.maxWindow,
  };
  for (const [name, value] of Object.entries(sizes)) {
    if (!Number.isInteger(value) || value < 1) {
      throw new EngineError('bad_shape', `${name} is ${value}`, `give ${name} as a whole number of at least 1`);
    }
  }
}

/** Parameters [P], P = layout.size. Values are not looked at. */
export function checkParameters(config: ModelConfig, parameters: { readonly length: number }): void {
  const { size } = createLayout(config);
  if (parameters.length !== size) {
    throw new EngineError(
      'bad_shape',
      `${parameters.length} parameters, the model has ${size}`,
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
      `${count} ${what}, this engine takes 1 to ${most}`,
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
        `token ${tokens[i]} at position ${i}, the vocabulary has ${config.vocabulary} characters`,
        'encode the text with the vocabulary that the model was created for',
      );
    }
  }
}

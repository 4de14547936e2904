/** An engine that computes nothing: it sleeps, and returns a prepared gradient. */
import { setTimeout as delay } from 'node:timers/promises';
import { createLayout, stateSize } from '@troupe/model';

/** Values of the size that gradients have, so that clipping and rounding do their usual work. */
function preparedGradient(/** @type {number} */ length) {
  return new Float32Array(length).map((_, i) => ((i * 2_654_435_761) % 2 ** 32) / 2 ** 32 - 0.5);
}

/**
 * @param {import('@troupe/model').ModelConfig} config
 * @param {import('@troupe/model').EngineLimits} limits
 * @param {(streams: number) => number} sleepMs for a batch
 * @returns {import('@troupe/model').Engine}
 */
export function nullEngine(config, limits, sleepMs) {
  const gradient = preparedGradient(createLayout(config).size);
  const endStates = new Float32Array(limits.maxStreams * stateSize(config));
  const answer = async (/** @type {import('@troupe/model').Batch} */ { streams, window }) => {
    await delay(sleepMs(streams));
    const tokens = streams * window;
    const lossSum = tokens * Math.log(config.vocabulary);
    return { gradient, lossSum, tokens, endStates: endStates.subarray(0, streams * stateSize(config)) };
  };
  return {
    info: { name: 'wasm', variant: 'null', device: 'none' },
    limits,
    setParameters() {},
    gradient: answer,
    evaluate: answer,
    step: () => Promise.reject(new Error('a null engine samples nothing')),
    dispose() {},
  };
}

/** The problem that every engine of Troupe is measured with: the same order gives the same model, initial parameters and characters. */
import { createLayout, createRandom, initialParameters, stateSize } from '@troupe/model';

/** @param {import('./serve.mjs').Order} order */
export function problemOf({ layers, hidden, streams, window, vocabulary }) {
  const model = /** @type {const} */ ({ cell: 'lstm', layers, hidden, vocabulary });
  const random = createRandom(1);
  return {
    model,
    limits: { maxStreams: streams, maxWindow: window },
    parameters: initialParameters(model, createLayout(model), 1),
    batch: {
      streams,
      window,
      tokens: Uint16Array.from({ length: streams * (window + 1) }, () => random.uint32() % vocabulary),
      states: new Float32Array(streams * stateSize(model)),
    },
  };
}

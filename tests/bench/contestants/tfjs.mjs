/**
 * TensorFlow.js as its documentation shows it: a stack of tf.layers.lstm, a dense softmax, trainOnBatch with Adam. The argument is
 * the backend: "wasm" or "cpu". One-hot inputs and targets are made once, before the time is taken.
 */
import { serve } from './serve.mjs';
import { startTfjs } from './tfjs-backend.mjs';

const LEARNING_RATE = 0.002;
const backend = process.argv[2];

/** @param {import('./serve.mjs').Order} order */
async function prepare({ layers, hidden, streams, window, vocabulary }) {
  const tf = await startTfjs(backend);
  const model = tf.sequential();
  for (let k = 0; k < layers; k++) {
    model.add(
      tf.layers.lstm({
        units: hidden,
        returnSequences: true,
        recurrentActivation: 'sigmoid',
        // The default, an orthogonal matrix, takes minutes to make at these sizes.
        recurrentInitializer: 'glorotUniform',
        batchInputShape: [streams, window, k === 0 ? vocabulary : hidden],
      }),
    );
  }
  model.add(tf.layers.dense({ units: vocabulary, activation: 'softmax' }));
  model.compile({ optimizer: tf.train.adam(LEARNING_RATE), loss: 'categoricalCrossentropy' });
  const [inputs, targets] = oneHotWindow(tf, streams, window, vocabulary);
  return {
    detail: `tfjs ${tf.version.tfjs}, backend ${tf.getBackend()}`,
    step: async () => Number(await model.trainOnBatch(inputs, targets)),
  };
}

/**
 * Inputs and targets [B, T, V] of random characters.
 * @param {typeof import('@tensorflow/tfjs')} tf
 * @param {number} B
 * @param {number} T
 * @param {number} V
 */
function oneHotWindow(tf, B, T, V) {
  return [1, 2].map((seed) => tf.oneHot(tf.randomUniform([B, T], 0, V, 'int32', seed), V).toFloat());
}

await serve(prepare);

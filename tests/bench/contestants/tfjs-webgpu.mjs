/**
 * TensorFlow.js on its webgpu backend: an LSTM of its operations, with one input product for the whole window and one product per time
 * step. The gradient comes from tfjs itself (`autodiff`), or from a backward pass by hand, which is Troupe's tfjs engine (`hand`). It is
 * read back, as a worker must do. There is no optimizer.
 */
import { gpu } from './gpu.mjs';
import { createRequire } from 'node:module';
import { createTfjsEngine } from '@troupe/model/tfjs';
import { problemOf } from './problem.mjs';
import { serve } from './serve.mjs';

// `require` everything: mixing it with `import` would load two copies of tfjs-core.
const require = createRequire(import.meta.url);
const tf = /** @type {typeof import('@tensorflow/tfjs')} */ (require('@tensorflow/tfjs'));
const { WebGPUBackend } = /** @type {typeof import('@tensorflow/tfjs-backend-webgpu')} */ (
  require('@tensorflow/tfjs-backend-webgpu')
);

const LIMITS = /** @type {const} */ ([
  'maxStorageBufferBindingSize',
  'maxBufferSize',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxStorageBuffersPerShaderStage',
]);

async function start() {
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) throw new Error('WebGPU finds no adapter');
  const requiredLimits = Object.fromEntries(LIMITS.map((name) => [name, adapter.limits[name]]));
  const device = await adapter.requestDevice({ requiredLimits });
  tf.registerBackend('webgpu', () => new WebGPUBackend(device, adapter.info));
  if (!(await tf.setBackend('webgpu'))) throw new Error('the tfjs backend webgpu did not start');
  await tf.ready();
}

/** @param {import('./serve.mjs').Order} order */
function autodiffStep({ layers, hidden: H, streams: B, window: T, vocabulary: V }) {
  const uniform = (/** @type {number[]} */ shape) => tf.variable(tf.randomUniform(shape, -1 / Math.sqrt(H), 1 / Math.sqrt(H)));
  const weights = Array.from({ length: layers }, (_, k) => ({
    input: uniform([k === 0 ? V : H, 4 * H]),
    recurrent: uniform([H, 4 * H]),
    bias: uniform([4 * H]),
  }));
  const output = uniform([H, V]);
  const outputBias = uniform([V]);
  // Time first: a step is a slice of rows.
  const [x, y] = [1, 2].map((seed) => tf.oneHot(tf.randomUniform([T * B], 0, V, 'int32', seed), V).toFloat());
  const loss = () => {
    /** @type {import('@tensorflow/tfjs').Tensor} */
    let rows = x;
    for (const { input, recurrent, bias } of weights) {
      const steps = tf.split(tf.add(tf.matMul(rows, input), bias), T);
      /** @type {import('@tensorflow/tfjs').Tensor} */
      let h = tf.zeros([B, H]);
      /** @type {import('@tensorflow/tfjs').Tensor} */
      let c = tf.zeros([B, H]);
      const outputs = steps.map((step) => {
        const [i, f, g, o] = tf.split(tf.add(step, tf.matMul(h, recurrent)), 4, 1);
        c = tf.add(tf.mul(tf.sigmoid(f), c), tf.mul(tf.sigmoid(i), tf.tanh(g)));
        return (h = tf.mul(tf.sigmoid(o), tf.tanh(c)));
      });
      rows = tf.concat(outputs);
    }
    const logits = tf.add(tf.matMul(rows, output), outputBias);
    return tf.neg(tf.sum(tf.mul(y, tf.logSoftmax(logits)))).asScalar();
  };
  return async () => {
    const { value, grads } = tf.variableGrads(loss);
    await Promise.all(Object.values(grads).map((gradient) => gradient.data()));
    const [sum] = await value.data();
    tf.dispose([value, grads]);
    return sum / (B * T);
  };
}

/** @param {import('./serve.mjs').Order} order */
async function handStep(order) {
  const { model, limits, parameters, batch } = problemOf(order);
  const engine = await createTfjsEngine(model, limits, tf);
  engine.setParameters(parameters);
  return async () => {
    const { lossSum, tokens } = await engine.gradient(batch);
    return lossSum / tokens;
  };
}

await serve(async (order) => {
  await start();
  const how = process.argv[2];
  const step = how === 'hand' ? await handStep(order) : autodiffStep(order);
  return { detail: `tfjs ${tf.version.tfjs}, backend ${tf.getBackend()}, ${how}`, step };
});

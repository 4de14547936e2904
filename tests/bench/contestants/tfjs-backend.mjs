/** Starts TensorFlow.js in Node, on the backend "wasm" or "cpu". */
import { createRequire } from 'node:module';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';

/** @param {string} backend */
export async function startTfjs(backend) {
  const require = createRequire(import.meta.url);
  setWasmPaths(`${path.dirname(require.resolve('@tensorflow/tfjs-backend-wasm'))}/`);
  if (!(await tf.setBackend(backend))) throw new Error(`the tfjs backend ${backend} did not start`);
  await tf.ready();
  return tf;
}

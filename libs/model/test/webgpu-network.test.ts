/** A network without a recurrent pass: the parts that every network needs work without one. */
import { afterAll, describe, expect, it } from 'vitest';
import { createLayout, type Batch, type ModelConfig } from '../src/index.js';
import { requestDevice } from '../src/webgpu/index.js';
import { createContext, tasksOf } from '../src/webgpu/network.js';
import { createOutputLayer } from '../src/webgpu/output.js';
import { planNetwork, roundUp } from '../src/webgpu/plan.js';
import { Program } from '../src/webgpu/program.js';
import { writeIds } from '../src/webgpu/upload.js';
import { CALL_FIELDS } from '../src/webgpu/wgsl.js';
import { problem, relativeError } from './engine-conformance.js';
import { openTestGpu } from './webgpu-adapter.js';

/** GPUBufferUsage, which Node does not define. */
const [MAP_READ, COPY_SOURCE, COPY_TARGET, STORAGE] = [0x1, 0x4, 0x8, 0x80];
const FEATURES = { f16: false, subgroups: false };
const LIMITS = { maxStreams: 4, maxWindow: 6 };

const found = await openTestGpu();

if (typeof found === 'string') {
  console.warn(`SKIPPED: the output layer of the webgpu engine is not tested alone, ${found}`);
  it.skip(`output layer of the webgpu engine: ${found}`, () => undefined);
} else {
  const { device } = await requestDevice(found.gpu);
  afterAll(() => device.destroy());

  describe('a webgpu network of the output layer alone', () => {
    it.each([true, false])('computes loss and gradients, cooperative: %s', { timeout: 240_000 }, async (cooperative) => {
      const { config, parameters, batch } = problem({ layers: 1, hidden: 21, vocabulary: 13, streams: 3, window: 5 }, 2);
      const rows = batch.streams * batch.window;
      const width = roundUp(config.hidden);
      const x = Float32Array.from({ length: rows * width }, (_, i) => (i % width < config.hidden ? Math.sin(i * 12.9898) : 0));
      const expected = outputLayer(config, parameters, x, batch);

      const { results, lossOffset, dx } = await run(device, config, cooperative, parameters, x, batch);
      const lossSum = results.subarray(lossOffset, lossOffset + rows).reduce((sum, loss) => sum + loss, 0);
      expect(Math.abs(lossSum / expected.lossSum - 1)).toBeLessThan(1e-6);
      for (const [name, gradient] of Object.entries(expected.gradients)) {
        const actual = tensor(config, results, name);
        expect(relativeError(actual, gradient), name).toBeLessThan(1e-5);
      }
      expect(relativeError(dx.subarray(0, rows * width), expected.dx)).toBeLessThan(1e-5);
    });
  });
}

/** All stages of the output layer in one pass, on `x` [T * B, padded H]. */
async function run(
  device: GPUDevice,
  config: ModelConfig,
  cooperative: boolean,
  parameters: Float32Array<ArrayBuffer>,
  x: Float32Array<ArrayBuffer>,
  batch: Batch,
) {
  const { streams, window } = batch;
  const width = roundUp(config.hidden);
  const program = new Program(device, FEATURES);
  const plan = planNetwork(config, LIMITS, cooperative);
  const context = createContext(plan, program, FEATURES);
  const output = createOutputLayer(context, width);
  const matrix = (label: string) => ({
    buffer: program.buffer(label, plan.rows * width * 4, STORAGE | COPY_SOURCE | COPY_TARGET),
    columns: width,
  });
  const [input, dInput] = [matrix('input'), matrix('gradient of the input')];
  const stages = [...output.pack(), output.forward(input), output.loss(), ...output.backward(input, dInput)];
  await program.compile(tasksOf(stages), 1);

  const { ids, results, lossOffset } = context.buffers;
  const words = new Uint32Array(ids.size / 4);
  device.queue.writeBuffer(ids, 0, words, 0, writeIds(words, config.vocabulary, batch));
  device.queue.writeBuffer(context.buffers.parameters, 0, parameters);
  device.queue.writeBuffer(input.buffer, 0, x);
  const numbers: Partial<Record<(typeof CALL_FIELDS)[number], number>> = {
    vocabulary: config.vocabulary,
    rows: streams * window,
  };
  const call = Uint32Array.from(CALL_FIELDS, (field) => ({ streams, window, ...numbers })[field] ?? 0);
  program.prepare(call, { streams, window });
  const encoder = device.createCommandEncoder();
  program.encode(encoder, stages);
  device.queue.submit([encoder.finish()]);
  const read = { results: await readBack(device, results), lossOffset, dx: await readBack(device, dInput.buffer) };
  program.destroy();
  return read;
}

async function readBack(device: GPUDevice, buffer: GPUBuffer): Promise<Float32Array> {
  const staging = device.createBuffer({ size: buffer.size, usage: MAP_READ | COPY_TARGET });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, 0, staging, 0, buffer.size);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(MAP_READ);
  const values = new Float32Array(staging.getMappedRange().slice(0));
  staging.destroy();
  return values;
}

function tensor(config: ModelConfig, flat: Float32Array, name: string): Float32Array {
  const { offset, size } = createLayout(config).tensors.find((each) => each.name === name)!;
  return flat.subarray(offset, offset + size);
}

/** Softmax cross-entropy on logits = x W^T + b in float64; rows of `x` [T * B, padded H]. */
function outputLayer(config: ModelConfig, parameters: Float32Array, x: Float32Array, { streams, window, tokens }: Batch) {
  const { hidden: H, vocabulary: V } = config;
  const width = roundUp(H);
  const [weight, bias] = [tensor(config, parameters, 'linear.weight'), tensor(config, parameters, 'linear.bias')];
  const gradients = { 'linear.weight': new Float64Array(V * H), 'linear.bias': new Float64Array(V) };
  const dx = new Float64Array(x.length);
  let lossSum = 0;
  for (let row = 0; row < streams * window; row++) {
    const [t, stream] = [Math.floor(row / streams), row % streams];
    const target = tokens[stream * (window + 1) + t + 1];
    const logits = Array.from(bias, (b, v) => {
      let sum = b;
      for (let h = 0; h < H; h++) sum += x[row * width + h] * weight[v * H + h];
      return sum;
    });
    const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
    lossSum += Math.log(total) - logits[target];
    logits.forEach((logit, v) => {
      const dLogit = Math.exp(logit) / total - (v === target ? 1 : 0);
      gradients['linear.bias'][v] += dLogit;
      for (let h = 0; h < H; h++) {
        gradients['linear.weight'][v * H + h] += dLogit * x[row * width + h];
        dx[row * width + h] += dLogit * weight[v * H + h];
      }
    });
  }
  return { lossSum, gradients, dx };
}

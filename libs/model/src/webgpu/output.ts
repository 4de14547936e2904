/// <reference types="@webgpu/types" />
import { rowsPerGroup, softmaxKernel } from './kernels.js';
import { createWeights, FLOAT, rowsOf, type Context } from './network.js';
import { affine, columnSums, inputGradient, weightGradient, windowRows, type Matrix } from './products.js';
import type { Task } from './program.js';
import { packVector, packWeights, plainRows, unpackGradient } from './tensors.js';

/** The output layer, logits [T, B, V] = x W + b, and the loss on it. */
export interface OutputLayer {
  pack(): Task[];
  /** x [T * B, inputs]: output of the network below. */
  forward(x: Matrix): Task;
  /** Softmax cross-entropy; replaces the logits by their gradients. */
  loss(): Task;
  /** Gradients of weights and bias, and dx. */
  backward(x: Matrix, dx: Matrix): Task[];
}

/** `inputs`: padded width of the output of the network below. */
export function createOutputLayer(context: Context, inputs: number): OutputLayer {
  const { plan, program, buffers } = context;
  const { config, vocabulary: V } = plan;
  const weights = createWeights(context, 'the output layer', inputs, V);
  const bias = program.buffer('the output bias', V * FLOAT);
  const rows = plainRows(config.vocabulary);
  const [weightRows, biasRows] = [
    { tensor: config.tied ? 'embedding.weight' : 'linear.weight', rows },
    { tensor: 'linear.bias', rows },
  ];
  const logits: Matrix = { buffer: buffers.logits, columns: V };
  return {
    pack: () => [...packWeights(context, weightRows, weights, inputs, V), packVector(context, biasRows, bias)],
    forward: (x) => affine(context, windowRows(plan), x, weights, bias, logits),
    loss: () => lossTask(context),
    backward: (x, dx) => {
      const { task, sums } = columnSums(context, buffers.logits, V);
      return [
        ...weightGradient(context, windowRows(plan), logits, x, weightRows),
        task,
        unpackGradient(context, biasRows, sums),
        inputGradient(context, windowRows(plan), logits, weights, dx),
      ];
    },
  };
}

function lossTask({ plan, lanes, buffers }: Context): Task {
  const { ids, results, flags, logits, lossOffset } = buffers;
  const fields = { quads: plan.vocabulary / 4, offset: lossOffset };
  return {
    source: softmaxKernel(lanes),
    buffers: [logits, ids, results, flags],
    fields: () => fields,
    groups: (shape) => [Math.ceil(rowsOf(shape) / rowsPerGroup(lanes))],
  };
}

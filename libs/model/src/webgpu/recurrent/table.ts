/// <reference types="@webgpu/types" />
import { FLOAT } from '../network.js';
import { affine, inputGradient, tokenSums, vocabularyRows, weightGradient, type Matrix } from '../products.js';
import type { Task } from '../program.js';
import { packTensor, plainRows, unpackGradient, type TensorRows } from '../tensors.js';
import { cellTensor, gateColumns, gateTensor, type Layer, type RecurrentContext } from './layer.js';

/**
 * What layer 0 adds to the gates for each character, [V, G]: a row of weights, or of embedding
 * times weights, and the bias.
 */
export interface CharacterTable {
  readonly buffer: GPUBuffer;
  /** Runs after the packing of layer 0's weights. */
  pack(bottom: Layer): Task[];
  /**
   * From the gradients of the gates of layer 0 to those of its input weights and of the embedding.
   */
  backward(bottom: Layer): Task[];
}

export function createTable(context: RecurrentContext): CharacterTable {
  const { program, stored, plan } = context;
  const { config, hidden: H, embedding: E, gates } = plan;
  const width = gates.input * H;
  const buffer = program.buffer('the table of characters', config.vocabulary * width * FLOAT);
  const table: Matrix = { buffer, columns: width };
  const embedding = E > 0 ? { buffer: program.buffer('the embedding', config.vocabulary * E * stored), columns: E } : undefined;
  return {
    buffer,
    pack: (bottom) => (embedding ? packEmbedded(context, bottom, embedding, table) : packOneHot(context, table)),
    backward: (bottom) => {
      const sums = { buffer: program.buffer('gradients of the table', config.vocabulary * width * FLOAT), columns: width };
      return [
        tokenSums(context, gateColumns(context, bottom, 0, gates.input), sums.buffer),
        ...(embedding ? embeddingGradients(context, bottom, embedding, sums) : [oneHotGradient(context, sums)]),
      ];
    },
  };
}

const inputRows = (context: RecurrentContext): TensorRows => gateTensor(context, 'weight_ih', 0, context.plan.gates.inputOrder);

const embeddingRows = ({ plan: { config } }: RecurrentContext): TensorRows => ({
  tensor: 'embedding.weight',
  rows: plainRows(config.vocabulary),
});

/**
 * The weights of a one-hot character are a column of weight_ih [G, V], so the table is its
 * transpose.
 */
function packOneHot(context: RecurrentContext, { buffer, columns }: Matrix): Task[] {
  const placement = { buffer, rowStride: 1, columnStride: columns };
  return [packTensor(context, inputRows(context), 'f32', placement, cellTensor(context.plan, 'bias_ih', 0))];
}

function oneHotGradient(context: RecurrentContext, { buffer, columns }: Matrix): Task {
  const gradient = { buffer, rowStride: 1, columnStride: columns, parts: 1, partStride: 0 };
  return unpackGradient(context, inputRows(context), gradient);
}

function packEmbedded(context: RecurrentContext, bottom: Layer, embedding: Matrix, table: Matrix): Task[] {
  const { buffer, columns } = embedding;
  return [
    packTensor(context, embeddingRows(context), 'storedScalar', { buffer, rowStride: columns, columnStride: 1 }),
    affine(context, vocabularyRows(context.plan), embedding, bottom.input!, bottom.bias, table),
  ];
}

/**
 * `sums` [V, G]: gradients of the table. With tied weights the embedding's gradient already
 * contains that of the output layer.
 */
function embeddingGradients(context: RecurrentContext, bottom: Layer, embedding: Matrix, sums: Matrix): Task[] {
  const { plan, program } = context;
  const { config, embedding: E } = plan;
  const rows = vocabularyRows(plan);
  const dEmbedding = { buffer: program.buffer('gradients of the embedding', config.vocabulary * E * FLOAT), columns: E };
  const gradient = { buffer: dEmbedding.buffer, rowStride: E, columnStride: 1, parts: 1, partStride: 0 };
  return [
    inputGradient(context, rows, sums, bottom.input!, dEmbedding),
    unpackGradient(context, embeddingRows(context), gradient, config.tied),
    ...weightGradient(context, rows, sums, embedding, inputRows(context)),
  ];
}

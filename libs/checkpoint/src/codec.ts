import { createVocabulary } from '@troupe/corpus';
import { CELL_SHAPES, createLayout, stateSize, type ModelConfig, type ParameterLayout } from '@troupe/model';
import type { Checkpoint } from './checkpoint.js';
import { FORMAT_VERSION, parseDescription, type Description } from './description.js';
import { CheckpointError, TAKE_ANOTHER, mismatch } from './errors.js';
import {
  dataOf,
  decodeContainer,
  encodeHeader,
  isRecord,
  tableOf,
  tensorOf,
  type Container,
  type Tensor,
  type TensorTable,
} from './safetensors.js';
import { carve, fromStateDict, gather, stateDict } from './state-dict.js';

/** SHA-256 of bytes, in one block or in several that follow each other; 64 hex digits. */
export type Sha256 = (bytes: Uint8Array | readonly Uint8Array[]) => string;

/** State vectors of a layer, in the order S of the flat array. */
const STATE_NAMES = ['h', 'c'];

/**
 * One safetensors file. Tensors, all float32:
 * - the model's, named and shaped as in the state dict of a PyTorch module (state-dict.ts);
 * - `optimizer.<slot>.<tensor>` for every slot of the optimizer and every tensor of the
 *   ParameterLayout;
 * - `average.<tensor>` in a run that averages its parameters; or `trained.<tensor>`, those that it
 *   trains, if the model's are the average (`averaged` in the metadata);
 * - `streams.h` [L, B, H], as nn.LSTM, nn.GRU and nn.RNN take their h0; for an LSTM `streams.c`,
 *   its c0. A file with weights only has neither these nor an optimizer.
 *
 * Metadata: `format` "pt"; `troupe`, JSON with everything else in the checkpoint; and `sha256`, the
 * SHA-256 of the UTF-8 JSON text [tensor table, troupe, SHA-256 of the tensors' bytes], which
 * detects every flipped bit. All format versions compute it in the same way. A tool that rewrites
 * tensors leaves `sha256` out, and the file is then accepted unchecked.
 *
 * Equal checkpoints give equal bytes, in whatever order their objects were built, because keys are
 * sorted.
 * @returns the file in blocks, most of which are views of the checkpoint's arrays: a copy of all
 * would be as large as the file
 * @throws CheckpointError `mismatch` if the parts do not fit together
 */
export function checkpointBlocks(checkpoint: Checkpoint, sha256: Sha256): readonly Uint8Array[] {
  const layout = checkParts(checkpoint);
  const { model, parameters, twin, optimizer, streamStates, ...rest } = checkpoint;
  const streams = checkpoint.cursors.length;
  const tensors = [
    ...stateDict(model, layout, parameters),
    ...(twin ? carve(layout, twin, twinPrefix(checkpoint)) : []),
    ...optimizer.slots.flatMap((slot) => carve(layout, slot.values, `optimizer.${slot.name}.`)),
    ...stateTensors(model, streams, streamStates),
  ];
  const description: Description = {
    ...rest,
    formatVersion: FORMAT_VERSION,
    model,
    streams,
    optimizer: { slots: optimizer.slots.map(({ name }) => name), scalars: optimizer.scalars },
  };
  const troupe = JSON.stringify(description, sortedKeys);
  const table = tableOf(tensors);
  const data = dataOf(tensors);
  return [encodeHeader(table, { format: 'pt', troupe, sha256: seal(table, troupe, data, sha256) }), ...data];
}

/** The same file as one block, which shares no memory with the checkpoint's arrays. */
export function encodeCheckpoint(checkpoint: Checkpoint, sha256: Sha256): Uint8Array {
  const blocks = checkpointBlocks(checkpoint, sha256);
  const file = new Uint8Array(blocks.reduce((sum, { length }) => sum + length, 0));
  let offset = 0;
  for (const block of blocks) {
    file.set(block, offset);
    offset += block.length;
  }
  return file;
}

/**
 * The checkpoint in the bytes of a file. It shares no memory with them.
 * @throws CheckpointError `not_a_checkpoint`, `truncated`, `corrupt`, `unsupported_version`,
 * `mismatch`
 */
export function decodeCheckpoint(file: Uint8Array, sha256: Sha256): Checkpoint {
  const container = decodeContainer(file);
  const { troupe, sha256: expected } = container.metadata;
  if (typeof troupe !== 'string') throw foreignTensors(container.table);
  if (expected !== undefined && expected !== seal(container.table, troupe, container.data, sha256)) {
    throw new CheckpointError('corrupt', 'the file is damaged: its bytes do not match their SHA-256', TAKE_ANOTHER);
  }
  const { formatVersion: _, streams, optimizer, ...description } = parseDescription(troupe);
  const { model } = description;
  const layout = layoutWithin(model, container);
  const slots = optimizer.slots.map((name) => ({ name, values: gather(layout, container, `optimizer.${name}.`) }));
  const checkpoint: Checkpoint = {
    ...description,
    parameters: fromStateDict(model, layout, container),
    ...twinOf(description, layout, container),
    optimizer: { slots, scalars: optimizer.scalars },
    streamStates: stateArray(model, streams, container),
  };
  checkParts(checkpoint);
  return checkpoint;
}

/**
 * The layout of the model. It throws if the file is too small for it, so that a wrong size never
 * causes a huge allocation.
 */
function layoutWithin(model: ModelConfig, container: Container): ParameterLayout {
  const tensors = Object.keys(container.table).length;
  if (model.layers > tensors) throw mismatch(`${model.layers} layers but only ${tensors} tensors`);
  const layout = createLayout(model);
  if (layout.size > container.data.length / 4) {
    throw mismatch(`the model has ${layout.size} parameters, the file ${container.data.length / 4} numbers`);
  }
  return layout;
}

function twinPrefix({ averaged }: Pick<Checkpoint, 'averaged'>): string {
  return averaged ? 'trained.' : 'average.';
}

function twinOf(
  description: Pick<Checkpoint, 'averaged'>,
  layout: ParameterLayout,
  container: Container,
): { twin?: Float32Array } {
  const prefix = twinPrefix(description);
  const present = layout.tensors.some(({ name }) => Object.hasOwn(container.table, prefix + name));
  return present ? { twin: gather(layout, container, prefix) } : {};
}

/** For JSON.stringify. */
function sortedKeys(_key: string, value: unknown): unknown {
  if (!isRecord(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function seal(table: TensorTable, troupe: string, data: Uint8Array | readonly Uint8Array[], sha256: Sha256): string {
  return sha256(new TextEncoder().encode(JSON.stringify([table, troupe, sha256(data)])));
}

// ---- hidden states

/** [B, L, S, H] -> S tensors [L, B, H]. */
function stateTensors(model: ModelConfig, streams: number, states: Float32Array): Tensor[] {
  const { layers: L, hidden: H } = model;
  const S = CELL_SHAPES[model.cell].stateVectors;
  // Weights only: some readers of safetensors refuse a tensor without elements.
  if (streams === 0) return [];
  return STATE_NAMES.slice(0, S).map((name, s) => {
    const values = new Float32Array(L * streams * H);
    for (let b = 0; b < streams; b++) {
      for (let k = 0; k < L; k++) {
        const from = ((b * L + k) * S + s) * H;
        values.set(states.subarray(from, from + H), (k * streams + b) * H);
      }
    }
    return { name: `streams.${name}`, shape: [L, streams, H], values };
  });
}

/** S tensors [L, B, H] -> [B, L, S, H]. */
function stateArray(model: ModelConfig, streams: number, container: Container): Float32Array {
  const { layers: L, hidden: H } = model;
  const S = CELL_SHAPES[model.cell].stateVectors;
  if (streams === 0) return new Float32Array(0);
  const tensors = STATE_NAMES.slice(0, S).map((name) => tensorOf(container, `streams.${name}`, [L, streams, H]));
  const states = new Float32Array(streams * L * S * H);
  for (const [s, values] of tensors.entries()) {
    for (let b = 0; b < streams; b++) {
      for (let k = 0; k < L; k++) {
        const from = (k * streams + b) * H;
        states.set(values.subarray(from, from + H), ((b * L + k) * S + s) * H);
      }
    }
  }
  return states;
}

// ---- checks

/** Checks that all parts fit together, before writing and after reading. */
function checkParts(checkpoint: Checkpoint): ParameterLayout {
  const { model, parameters, twin = parameters, optimizer, streamStates, cursors, vocabulary } = checkpoint;
  const layout = createLayout(model);
  const lengths: [string, number, number][] = [
    ['parameters', parameters.length, layout.size],
    ['the other parameters', twin.length, layout.size],
    ['vocabulary', vocabulary.length, model.vocabulary],
    ['streamStates', streamStates.length, cursors.length * stateSize(model)],
    ...optimizer.slots.map(({ name, values }): [string, number, number] => [
      `optimizer slot ${name}`,
      values.length,
      layout.size,
    ]),
  ];
  for (const [what, have, need] of lengths) if (have !== need) throw mismatch(`${what} has ${have} elements, expected ${need}`);
  for (const { name, value } of optimizer.scalars) {
    if (!Number.isFinite(value)) throw mismatch(`optimizer scalar ${name} is ${value}`);
  }
  if (new Set(optimizer.slots.map(({ name }) => name)).size !== optimizer.slots.length)
    throw mismatch('an optimizer slot appears twice');
  try {
    createVocabulary(vocabulary);
  } catch (cause) {
    throw mismatch(`vocabulary: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
  }
  return layout;
}

/**
 * The error for a safetensors file that Troupe did not write. It says what is missing if the file
 * has tensors of such a model.
 */
function foreignTensors(table: TensorTable): CheckpointError {
  const names = Object.keys(table);
  const module = Object.values(CELL_SHAPES).find((shape) => names.some((name) => name.startsWith(`${shape.module}.`)))?.module;
  if (module === undefined) {
    const first = names.length === 0 ? '' : ` (${names.slice(0, 4).join(', ')}${names.length > 4 ? ', ...' : ''})`;
    return new CheckpointError(
      'not_a_checkpoint',
      `a safetensors file, but not from Troupe: it has ${names.length} tensors${first}`,
      'Give a file that Troupe wrote (round-*.safetensors or best.safetensors), or the folder of a run.',
    );
  }
  const layer = ['weight_ih_l0', 'weight_hh_l0', 'bias_ih_l0', 'bias_hh_l0'].map((name) => `${module}.${name}`);
  const missing = [...layer, 'linear.weight', 'linear.bias'].filter((name) => !names.includes(name));
  const tensors = missing.length === 0 ? '' : `, and the tensors ${missing.join(', ')}`;
  return new CheckpointError(
    'not_a_checkpoint',
    `a safetensors file with tensors of a character ${module.toUpperCase()}, but not from Troupe: the metadata "troupe" is missing${tensors}`,
    'When a tool saves tensors of a checkpoint, let it keep the metadata "troupe" (model, vocabulary, streams) and leave "sha256" out.',
  );
}

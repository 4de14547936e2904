/** Models for the tests of exports, and what the reference engine computes with them. */
import fs from 'node:fs';
import path from 'node:path';
import { checkpointBlocks, weightsOnly, type Checkpoint } from '@troupe/checkpoint';
import { sha256 } from '@troupe/checkpoint/node';
import type { ExportedFile } from '@troupe/export';
import { CELLS, createLayout, initialParameters, stateSize, type ModelConfig } from '@troupe/model';
import { createReferenceEngine } from '@troupe/model/reference';

export const STREAMS = 3;
export const WINDOW = 12;

const vocabulary = [...'\n !,.abcdeé—😀'];
const base = { layers: 2, hidden: 16, vocabulary: vocabulary.length };

/** Every cell with every kind of input, output and normalisation. */
export const MODELS: readonly ModelConfig[] = CELLS.flatMap((cell) => [
  { ...base, cell },
  { ...base, cell, layers: 1, embedding: 10 },
  { ...base, cell, layers: 3, embedding: 16, tied: true, dropout: 0.5 },
  { ...base, cell, layerNorm: true, dropout: 0.25, dropoutOutput: 0.5 },
]);

export const named = ({ cell, layers, embedding = 0, tied = false, layerNorm = false }: ModelConfig): string =>
  `${layers} layers ${cell}${embedding > 0 ? `, embedding ${embedding}` : ''}${tied ? ', tied' : ''}${layerNorm ? ', layer norm' : ''}`;

/** A checkpoint like those of runs; weights and biases are so large that every gate matters. */
export function checkpointOf(model: ModelConfig): Checkpoint {
  const layout = createLayout(model);
  const factor = model.cell === 'rnn-relu' ? 1.5 : 4;
  return {
    runId: 'run',
    round: 40,
    model,
    config: {},
    vocabulary,
    corpus: { name: 'odd `name`\n"""', sha256: 'ab'.repeat(32), characters: 4000, trainFraction: 0.9 },
    parameters: initialParameters(model, layout, 1).map((value, i) => value * factor + Math.sin(i) / 20),
    parametersDigest: '0123456789abcdef',
    optimizer: { slots: [], scalars: [] },
    streamStates: new Float32Array(stateSize(model)),
    cursors: [0],
    rng: null,
    history: null,
  };
}

export const weightsOf = (checkpoint: Checkpoint): readonly Uint8Array[] => checkpointBlocks(weightsOnly(checkpoint), sha256);

/** Ids [STREAMS][WINDOW]. */
export const IDS: readonly (readonly number[])[] = Array.from({ length: STREAMS }, (_, b) =>
  Array.from({ length: WINDOW }, (__, t) => ((b + 2) * 31 + t ** 2 * 7 + t) % vocabulary.length),
);

/** Logits [STREAMS * WINDOW * V], stream-major, as the reference engine computes them from a state of zeros. */
export async function expectedLogits({ model, parameters }: Checkpoint): Promise<Float32Array> {
  const engine = createReferenceEngine(model, { maxStreams: STREAMS, maxWindow: 1 });
  engine.setParameters(parameters);
  const { vocabulary: V } = model;
  const states = new Float32Array(STREAMS * stateSize(model));
  const logits = new Float32Array(STREAMS * WINDOW * V);
  for (let t = 0; t < WINDOW; t++) {
    const step = await engine.step(
      Uint16Array.from(IDS, (ids) => ids[t]),
      states,
    );
    for (let b = 0; b < STREAMS; b++) logits.set(step.subarray(b * V, (b + 1) * V), (b * WINDOW + t) * V);
  }
  return logits;
}

/** The greatest difference between logits, relative to the greatest logit. */
export function difference(logits: ArrayLike<number>, expected: Float32Array): number {
  if (logits.length !== expected.length) return Infinity;
  const greatest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return expected.reduce((most, value, i) => Math.max(most, Math.abs(value - logits[i])), 0) / greatest;
}

/** Writes the files of an export. @returns the folder */
export function writeFolder(folder: string, files: readonly ExportedFile[]): string {
  fs.mkdirSync(folder);
  for (const { name, bytes } of files) {
    fs.writeFileSync(path.join(folder, name), Buffer.concat(bytes instanceof Uint8Array ? [bytes] : bytes));
  }
  return folder;
}

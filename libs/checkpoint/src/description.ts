/** Everything in a checkpoint except its tensors, stored as JSON in the metadata of its file. */
import { modelProblem } from '@troupe/config';
import type { OptimizerState } from '@troupe/optim';
import type { Checkpoint, CorpusIdentity } from './checkpoint.js';
import { CheckpointError, TAKE_ANOTHER, mismatch } from './errors.js';
import { isRecord } from './safetensors.js';

/**
 * 1: LSTMs of one-hot characters without dropout. 2: other cells, embeddings, dropout, layer
 * normalisation. 3: dropout on the output, a moving average of the parameters.
 */
export const FORMAT_VERSION = 3;

/** The metadata entry `troupe`, a JSON string. */
export interface Description extends Omit<Checkpoint, 'parameters' | 'twin' | 'optimizer' | 'streamStates'> {
  readonly formatVersion: number;
  readonly streams: number;
  readonly optimizer: { readonly slots: readonly string[]; readonly scalars: OptimizerState['scalars'] };
}

const isText = (value: unknown): value is string => typeof value === 'string';
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isListOf = (isItem: (item: unknown) => boolean) => (value: unknown) => Array.isArray(value) && value.every(isItem);
const isAnything = () => true;

function fieldsAre(value: unknown, checks: Readonly<Record<string, (field: unknown) => boolean>>): string | undefined {
  if (!isRecord(value)) return '';
  return Object.keys(checks).find((key) => !checks[key](value[key]));
}

/** This only keeps sizes from overflowing. The codec compares them with the tensors in the file. */
const MOST_SIZE = 1 << 24;

function isCorpus(value: unknown): value is CorpusIdentity {
  const isFraction = (fraction: unknown) => typeof fraction === 'number' && fraction > 0 && fraction < 1;
  return fieldsAre(value, { name: isText, sha256: isText, characters: isCount, trainFraction: isFraction }) === undefined;
}

function isOptimizer(value: unknown): value is Description['optimizer'] {
  const isScalar = (scalar: unknown) => fieldsAre(scalar, { name: isText, value: Number.isFinite }) === undefined;
  return fieldsAre(value, { slots: isListOf(isText), scalars: isListOf(isScalar) }) === undefined;
}

/** @throws CheckpointError `corrupt`, `unsupported_version`, `mismatch` */
export function parseDescription(troupe: string): Description {
  let value: unknown;
  try {
    value = JSON.parse(troupe);
  } catch (cause) {
    throw new CheckpointError('corrupt', 'the file is damaged: its metadata is not JSON', TAKE_ANOTHER, { cause });
  }
  const version = isRecord(value) ? value.formatVersion : undefined;
  if (isCount(version) && version > FORMAT_VERSION) {
    throw new CheckpointError(
      'unsupported_version',
      `the checkpoint has format version ${version}; this Troupe reads versions up to ${FORMAT_VERSION}`,
      'Install the version of Troupe that wrote it, or a newer one.',
    );
  }
  const wrong = fieldsAre(value, {
    formatVersion: (field) => isCount(field) && field >= 1,
    runId: isText,
    round: isCount,
    model: (field) => modelProblem(field, MOST_SIZE) === undefined,
    config: isAnything,
    vocabulary: isListOf(isText),
    corpus: isCorpus,
    parametersDigest: isText,
    optimizer: isOptimizer,
    streams: isCount,
    cursors: isListOf(isCount),
    rng: isAnything,
    history: isAnything,
    savedAt: (field) => field === undefined || isText(field),
    averaged: (field) => field === undefined || field === true,
    weightsOnly: (field) => field === undefined || field === true,
  });
  if (wrong !== undefined) throw mismatch(`metadata field ${wrong === '' ? '(all)' : wrong} is missing or malformed`);
  return value as Description;
}

/** The trained model that a new run starts from: --init. */
import { readFile } from 'node:fs/promises';
import { decodeCheckpoint, transferParameters, type Checkpoint } from '@troupe/checkpoint';
import { readCheckpoint, sha256 } from '@troupe/checkpoint/node';
import { FLAG_FIELDS, modelConfig, type TrainingConfig } from '@troupe/config';
import { createLayout, initialParameters } from '@troupe/model';
import { SettingsError } from './settings.js';

export interface InitialModel {
  readonly path: string;
  /** SHA-256 of the checkpoint's bytes, hex: all that the start of the run depends on. */
  readonly sha256: string;
  readonly checkpoint: Checkpoint;
}

/** A checkpoint file, or the best one in the folder of a run. @throws CheckpointError */
export async function readInitialModel(place: string): Promise<InitialModel> {
  const { path } = await readCheckpoint(place, { prefer: 'best' });
  // The bytes that are hashed are those that are used, even if the run goes on writing.
  const bytes = await readFile(path);
  return { path, sha256: sha256(bytes), checkpoint: decodeCheckpoint(bytes, sha256) };
}

/** Flags that say nothing of the shape of a model: the new run may have others. */
const FREE = ['--dropout', '--dropout-output', '--corpus'];

/**
 * The flags that describe the model of a checkpoint, as if they were given.
 * @param given the flags that the user gave; those of the model must agree
 * @throws SettingsError
 */
export function modelFlags({ checkpoint }: InitialModel, given: ReadonlyMap<string, string>): Map<string, string> {
  const model = modelConfig(checkpoint.model) as unknown as Record<string, unknown>;
  const flags = new Map<string, string>();
  for (const { field, flag, option } of FLAG_FIELDS) {
    const [group, name] = field.split('.');
    if (group !== 'model' || name === 'kind' || !option || FREE.includes(flag)) continue;
    const [value, typed] = [String(model[name]), given.get(flag)];
    if (typed !== undefined && (Number.isNaN(Number(value)) ? typed !== value : Number(typed) !== Number(value)))
      throw anotherModel(
        flag,
        option.type === 'switch' ? '' : ` ${typed}`,
        option.type === 'switch' ? 'is without it' : `has ${value}`,
      );
    if (value !== 'false') flags.set(flag, value);
  }
  if (given.has('--forget-bias'))
    throw new SettingsError('--forget-bias has no effect with --init, which brings all biases', 'Leave --forget-bias out.');
  return flags;
}

function anotherModel(flag: string, typed: string, has: string): SettingsError {
  return new SettingsError(
    `${flag}${typed} differs from the model of --init, which ${has}`,
    `Leave ${flag} out to start from that model, or leave --init out to train a new one.`,
  );
}

/** The first parameters [P] of a run, and the characters that start with fresh weights. */
export function initialWeights(
  { checkpoint }: InitialModel,
  { model, seed, forgetBias }: TrainingConfig,
  characters: readonly string[],
): { readonly parameters: Float32Array; readonly added: readonly string[] } {
  const fresh = initialParameters(model, createLayout(model), seed, forgetBias);
  return transferParameters(checkpoint, model, characters, fresh);
}

/** What people should know of the start. */
export function describeInitial({ path, sha256: digest, checkpoint }: InitialModel, added: readonly string[]): string {
  const news =
    added.length === 0
      ? 'it knows every character of the text'
      : `${added.length} characters of the text are new to it: ${JSON.stringify(added.slice(0, 60).join(''))}`;
  return `The run starts from the weights of ${path} (round ${checkpoint.round}, SHA-256 ${digest}); ${news}.`;
}

/** How a model lies in the web page: facts as JSON, and the weights as base64 text. */
import type { Checkpoint } from '@troupe/checkpoint';
import { modelConfig, modelName } from '@troupe/config';
import { parameterCount, type ModelConfig } from '@troupe/model';
import { ExportError } from './errors.js';
import { floatsOf, halvesOf, type Precision } from './precision.js';

/** What exports need of a checkpoint. */
export type TrainedModel = Pick<Checkpoint, 'model' | 'vocabulary' | 'parameters' | 'round' | 'corpus'>;

export interface WebFacts {
  /** "2x256 LSTM, embedding 64". */
  readonly name: string;
  readonly model: ModelConfig;
  /** [V] characters in the order of their ids. */
  readonly vocabulary: readonly string[];
  /** The name of the text that the model was trained on. */
  readonly corpus: string;
  readonly round: number;
  readonly precision: Precision;
}

export interface WebModel extends WebFacts {
  /** [P], as float32 numbers. */
  readonly parameters: Float32Array;
}

/** The two texts of a model. Every host that runs this code is little-endian. @throws ExportError `out_of_range` */
export function encodeWebModel(
  { model, vocabulary, parameters, round, corpus }: TrainedModel,
  precision: Precision,
): { readonly facts: string; readonly weights: string } {
  const name = modelName(modelConfig(model));
  const facts: WebFacts = { name, model, vocabulary, corpus: corpus.name, round, precision };
  const values = precision === 'float16' ? halvesOf(parameters) : parameters;
  return { facts: JSON.stringify(facts), weights: base64Of(new Uint8Array(values.buffer, values.byteOffset, values.byteLength)) };
}

/** @throws ExportError `damaged`: mail and editors can cut a file short */
export function decodeWebModel(facts: string, weights: string): WebModel {
  const parsed = parse(facts);
  const bytes = bytesOf(weights);
  const { model, precision } = parsed;
  const size = parameterCount(model) * (precision === 'float16' ? 2 : 4);
  if (bytes.length !== size) throw damaged(`it has ${bytes.length} bytes of weights and needs ${size}`);
  const parameters = precision === 'float16' ? floatsOf(new Uint16Array(bytes.buffer)) : new Float32Array(bytes.buffer);
  return { ...parsed, parameters };
}

function parse(facts: string): WebFacts {
  try {
    return JSON.parse(facts) as WebFacts;
  } catch {
    throw damaged('its description of the model cannot be read');
  }
}

function damaged(what: string): ExportError {
  return new ExportError('damaged', `This file is not whole: ${what}.`, 'Copy or download it again.');
}

/** Below the number of arguments that every browser accepts in a call. */
const CHUNK = 0x8000;

function base64Of(bytes: Uint8Array): string {
  let binary = '';
  for (let at = 0; at < bytes.length; at += CHUNK) binary += String.fromCharCode(...bytes.subarray(at, at + CHUNK));
  return btoa(binary);
}

function bytesOf(base64: string): Uint8Array {
  let binary: string;
  try {
    binary = atob(base64);
  } catch {
    throw damaged('its weights are not base64');
  }
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/**
 * The safetensors container (https://github.com/huggingface/safetensors): the length of the header
 * as uint64 LE, a JSON header padded with spaces, then the tensors without gaps. In files of Troupe
 * the data starts at a multiple of 8 bytes. Every tensor is little-endian float32; every host that
 * runs this code is little-endian.
 */
import { CheckpointError, TAKE_ANOTHER, mismatch } from './errors.js';

export interface Tensor {
  readonly name: string;
  /** Row-major. */
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** One row of the header. */
export interface TensorEntry {
  readonly dtype: string;
  readonly shape: readonly number[];
  /** First byte and end in the data. */
  readonly data_offsets: readonly [number, number];
}

export type TensorTable = Readonly<Record<string, TensorEntry>>;

export interface Container {
  readonly table: TensorTable;
  readonly metadata: Readonly<Record<string, unknown>>;
  /** The bytes of the tensors, a view of the file's bytes. */
  readonly data: Uint8Array;
}

/** The safetensors library has the same limit. */
const MAX_HEADER_BYTES = 100_000_000;

/** The position of each tensor in the data. */
export function tableOf(tensors: readonly Tensor[]): TensorTable {
  const table: Record<string, TensorEntry> = {};
  let offset = 0;
  for (const { name, shape, values } of tensors) {
    table[name] = { dtype: 'F32', shape, data_offsets: [offset, offset + values.byteLength] };
    offset += values.byteLength;
  }
  return table;
}

/** The bytes of each tensor, as views. */
export function dataOf(tensors: readonly Tensor[]): Uint8Array[] {
  return tensors.map(({ values }) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
}

/** The beginning of a file; the bytes of the tensors follow. */
export function encodeHeader(table: TensorTable, metadata: Readonly<Record<string, string>>): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify({ __metadata__: metadata, ...table }));
  const headerBytes = Math.ceil(json.length / 8) * 8;
  const header = new Uint8Array(8 + headerBytes).fill(0x20, 8 + json.length);
  new DataView(header.buffer).setBigUint64(0, BigInt(headerBytes), true);
  header.set(json, 8);
  return header;
}

/** @throws CheckpointError `not_a_checkpoint`, `truncated`, `corrupt` */
export function decodeContainer(file: Uint8Array): Container {
  if (file.length < 8) throw truncated(file.length, 8, 'its header');
  const headerBytes = Number(new DataView(file.buffer, file.byteOffset, 8).getBigUint64(0, true));
  const start = 8 + headerBytes;
  if (headerBytes < 2 || headerBytes > MAX_HEADER_BYTES || (file.length > 8 && file[8] !== 0x7b)) throw foreign(file);
  if (file.length < start) throw truncated(file.length, start, 'its header');
  const { __metadata__: metadata = {}, ...table } = parseHeader(file.subarray(8, start));
  if (!isRecord(metadata)) throw corrupt('its metadata is not a JSON object');
  for (const [name, entry] of Object.entries(table)) checkEntry(name, entry);
  const dataBytes = checkCoverage(table as TensorTable);
  if (file.length < start + dataBytes) throw truncated(file.length, start + dataBytes, 'its tensors');
  if (file.length > start + dataBytes) throw corrupt(`${file.length - start - dataBytes} bytes follow the last tensor`);
  return { table: table as TensorTable, metadata, data: file.subarray(start) };
}

/**
 * A copy of the values of one tensor.
 * @throws CheckpointError `mismatch` if it is absent, not float32, or of another shape
 */
export function tensorOf(container: Container, name: string, shape: readonly number[]): Float32Array {
  const entry = Object.hasOwn(container.table, name) ? container.table[name] : undefined;
  const want = `float32 [${shape.join(', ')}]`;
  if (entry === undefined) throw mismatch(`tensor ${name}, ${want}, is missing`);
  if (entry.dtype !== 'F32' || entry.shape.join() !== shape.join()) {
    throw mismatch(`tensor ${name} is ${entry.dtype} [${entry.shape.join(', ')}], expected ${want}`);
  }
  const [begin, end] = entry.data_offsets;
  const bytes = 4 * shape.reduce((product, dimension) => product * dimension, 1);
  // Checked before anything of that size is allocated.
  if (end - begin !== bytes) throw corrupt(`tensor ${name}, ${want}, has ${end - begin} bytes instead of ${bytes}`);
  const values = new Float32Array(bytes / 4);
  new Uint8Array(values.buffer).set(container.data.subarray(begin, end));
  return values;
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parseHeader(bytes: Uint8Array): Record<string, unknown> {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw corrupt('its header is not JSON', cause);
  }
  if (!isRecord(header)) throw corrupt('its header is not a JSON object');
  return header;
}

function checkEntry(name: string, entry: unknown): void {
  const natural = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;
  const sound =
    isRecord(entry) &&
    typeof entry.dtype === 'string' &&
    Array.isArray(entry.shape) &&
    entry.shape.every(natural) &&
    Array.isArray(entry.data_offsets) &&
    entry.data_offsets.length === 2 &&
    entry.data_offsets.every(natural) &&
    (entry.data_offsets[0] as number) <= (entry.data_offsets[1] as number);
  if (!sound) throw corrupt(`the header entry of tensor ${JSON.stringify(name)} is malformed`);
}

/** Checks that tensors follow each other without gap or overlap. Returns where the last one ends. */
function checkCoverage(table: TensorTable): number {
  const spans = Object.entries(table).map(([name, { data_offsets: span }]) => ({ name, begin: span[0], end: span[1] }));
  spans.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let at = 0;
  for (const { name, begin, end } of spans) {
    if (begin !== at)
      throw corrupt(`tensor ${name} ${begin < at ? 'overlaps the tensor before it' : `leaves a gap of ${begin - at} bytes`}`);
    at = end;
  }
  return at;
}

const FORMATS: readonly (readonly [string, string])[] = [
  ['PK\x03\x04', 'a zip archive, as torch.save and numpy.savez write'],
  ['\x80\x02', 'a Python pickle'],
  ['\x80\x04', 'a Python pickle'],
  ['\x89HDF', 'an HDF5 file, as Keras writes'],
  ['GGUF', 'a GGUF file'],
  ['\x93NUMPY', 'a NumPy array'],
  ['\x1f\x8b', 'a gzip file'],
  ['{', 'JSON or text'],
];

function foreign(file: Uint8Array): CheckpointError {
  const head = String.fromCharCode(...file.subarray(0, 16));
  const format =
    FORMATS.find(([magic]) => head.startsWith(magic))?.[1] ?? (/^[\t\n\r -~]+$/.test(head) ? 'a text file' : undefined);
  return new CheckpointError(
    'not_a_checkpoint',
    `this is not a checkpoint of Troupe${format === undefined ? ': it does not begin with a safetensors header' : `; it seems to be ${format}`}`,
    'Give a file that Troupe wrote (round-*.safetensors or best.safetensors), or the folder of a run.',
  );
}

function truncated(have: number, need: number, what: string): CheckpointError {
  return new CheckpointError('truncated', `the file ends within ${what}: it has ${have} bytes and needs ${need}`, TAKE_ANOTHER);
}

function corrupt(what: string, cause?: unknown): CheckpointError {
  return new CheckpointError('corrupt', `the file is damaged: ${what}`, TAKE_ANOTHER, cause === undefined ? {} : { cause });
}

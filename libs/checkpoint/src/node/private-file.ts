/** Small JSON files beside the checkpoints of a run that only their owner may read. */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CheckpointError } from '../errors.js';
import { cannotWrite, writeWhole } from './files.js';

const FORMAT = 1;
const OWNER_ONLY = 0o600;

export interface PrivateFile<T> {
  readonly name: string;
  /** "the port and the tokens". */
  readonly what: string;
  /** For a person who finds it damaged. */
  readonly remedy: string;
  /** @throws Error for what is not of that shape */
  parse(fields: Readonly<Record<string, unknown>>): T;
}

/**
 * @returns undefined if the folder has no such file
 * @throws CheckpointError `cannot_read` if the file cannot be read, or is not such a file
 */
export async function readPrivateFile<T>(folder: string, { name, what, remedy, parse }: PrivateFile<T>): Promise<T | undefined> {
  const file = join(folder, name);
  try {
    const { format, ...fields } = ((JSON.parse(await readFile(file, 'utf8')) as unknown) ?? {}) as Record<string, unknown>;
    if (format !== FORMAT) throw new Error(`it is not in format ${FORMAT}`);
    return parse(fields);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    throw new CheckpointError('cannot_read', `${what} in ${file} cannot be read: ${message}`, remedy, { cause });
  }
}

/** @param fields undefined: removes the file. @throws CheckpointError `cannot_write` */
export async function writePrivateFile<T extends object>(
  folder: string,
  { name }: Pick<PrivateFile<T>, 'name'>,
  fields: T | undefined,
): Promise<void> {
  if (fields) {
    await writeWhole(folder, name, Buffer.from(`${JSON.stringify({ format: FORMAT, ...fields })}\n`), OWNER_ONLY);
    return;
  }
  const file = join(folder, name);
  await rm(file, { force: true }).catch((cause: unknown) => Promise.reject(cannotWrite(file, cause)));
}

/**
 * The file beside the checkpoints of a run that lets its links live on after a resume: its port, and the tokens that its coordinator has
 * made up. Only its owner may read it. It is apart from run.json, which people share with a run.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CheckpointError } from '../errors.js';
import { writeWhole } from './files.js';

const SECRETS_FILE = 'secrets.json';
const FORMAT = 1;
const OWNER_ONLY = 0o600;
const TOKEN = /^[\x21-\x7e]{1,256}$/;

export interface RunSecrets {
  /** At which the coordinator listened last. */
  readonly port?: number | undefined;
  /** The tokens of workers, of volunteers and of admins. Absent: a person chose it, and gives it again. */
  readonly token?: string | undefined;
  readonly volunteerToken?: string | undefined;
  readonly adminToken?: string | undefined;
}

/**
 * Those of the run in a folder; none in a folder without them.
 * @throws CheckpointError `cannot_read` if the file cannot be read, or is not such a file
 */
export async function readRunSecrets(folder: string): Promise<RunSecrets> {
  const file = join(folder, SECRETS_FILE);
  try {
    return secretsIn(JSON.parse(await readFile(file, 'utf8')));
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') return {};
    throw new CheckpointError(
      'cannot_read',
      `the port and the tokens in ${file} cannot be read: ${message}`,
      'Correct the file, or remove it: the run then gets new ones.',
      { cause },
    );
  }
}

/** @throws CheckpointError `cannot_write` */
export async function writeRunSecrets(folder: string, secrets: RunSecrets): Promise<void> {
  await writeWhole(folder, SECRETS_FILE, Buffer.from(`${JSON.stringify({ format: FORMAT, ...secrets })}\n`), OWNER_ONLY);
}

function secretsIn(value: unknown): RunSecrets {
  const { format, port, token, volunteerToken, adminToken } = (value ?? {}) as Readonly<Record<string, unknown>>;
  if (format !== FORMAT) throw new Error(`it is not in format ${FORMAT}`);
  if (!isPort(port) || !isToken(token) || !isToken(volunteerToken) || !isToken(adminToken))
    throw new Error('a field has an unusable value');
  return { port, token, volunteerToken, adminToken };
}

function isPort(value: unknown): value is number | undefined {
  return value === undefined || (Number.isInteger(value) && (value as number) > 0 && (value as number) < 2 ** 16);
}

function isToken(value: unknown): value is string | undefined {
  return value === undefined || (typeof value === 'string' && TOKEN.test(value));
}

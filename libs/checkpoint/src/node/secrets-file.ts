/**
 * The file beside the checkpoints of a run that lets its links live on after a resume: its port, and the tokens that its coordinator has
 * made up. Only its owner may read it. It is apart from run.json, which people share with a run.
 */
import { readPrivateFile, writePrivateFile, type PrivateFile } from './private-file.js';

const TOKEN = /^[\x21-\x7e]{1,256}$/;

export interface RunSecrets {
  /** At which the coordinator listened last. */
  readonly port?: number | undefined;
  /** The tokens of workers, of volunteers and of admins. Absent: a person chose it, and gives it again. */
  readonly token?: string | undefined;
  readonly volunteerToken?: string | undefined;
  readonly adminToken?: string | undefined;
}

const SECRETS: PrivateFile<RunSecrets> = {
  name: 'secrets.json',
  what: 'the port and the tokens',
  remedy: 'Correct the file, or remove it: the run then gets new ones.',
  parse: secretsIn,
};

/**
 * Those of the run in a folder; none in a folder without them.
 * @throws CheckpointError `cannot_read` if the file cannot be read, or is not such a file
 */
export async function readRunSecrets(folder: string): Promise<RunSecrets> {
  return (await readPrivateFile(folder, SECRETS)) ?? {};
}

/** @throws CheckpointError `cannot_write` */
export function writeRunSecrets(folder: string, secrets: RunSecrets): Promise<void> {
  return writePrivateFile(folder, SECRETS, secrets);
}

function secretsIn({ port, token, volunteerToken, adminToken }: Readonly<Record<string, unknown>>): RunSecrets {
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

/** The commands of Slurm on this machine. */
import { execFile } from 'node:child_process';
import { CliError } from '../errors.js';
import { parseQueue, QUEUE_FORMAT, type QueuedTask } from './slurm.js';

/** A controller that restarts, or is busy, is waited for this long by the commands themselves. */
const ANSWER_MS = 60_000;

interface Said {
  readonly code: number;
  readonly out: string;
  readonly errors: string;
}

/** The answer of Slurm could not be had. What it says is in the message. */
export class SlurmSilent extends Error {
  override readonly name = 'SlurmSilent';
}

export class SlurmCluster {
  readonly #env: Readonly<Record<string, string | undefined>>;
  readonly #user: string;

  /** @param user the user whose jobs are looked at */
  constructor(env: Readonly<Record<string, string | undefined>>, user: string) {
    // No command passes the token on to a job, and none waits for the end of one. What they write must be English to be understood.
    const { TROUPE_TOKEN: _secret, SBATCH_WAIT: _waits, ...rest } = env;
    this.#env = { ...rest, LC_ALL: 'C' };
    this.#user = user;
  }

  /** Tasks of this user that wait, run or are leaving, of all jobs with this name. @throws SlurmSilent, CliError */
  async tasksNamed(name: string): Promise<readonly QueuedTask[]> {
    return this.#queue(`--user=${this.#user}`, `--name=${name}`);
  }

  /** All tasks of a job that Slurm still knows, also those that are over. @throws SlurmSilent, CliError */
  async tasksOf(jobId: string): Promise<readonly QueuedTask[]> {
    return this.#queue(`--jobs=${jobId}`, '--states=all');
  }

  /** @returns the id of the job, or what sbatch says if it refuses. @throws CliError without sbatch */
  async submit(args: readonly string[]): Promise<{ readonly id: string } | { readonly refusal: string }> {
    const { code, out, errors } = await this.#run('sbatch', ['--parsable', ...args]);
    const [, id] = /^(\d+)/m.exec(out) ?? [];
    return code === 0 && id !== undefined ? { id } : { refusal: errors };
  }

  /** @throws SlurmSilent, CliError */
  async cancel(jobId: string, signal?: 'KILL'): Promise<void> {
    const { code, errors } = await this.#run('scancel', [
      ...(signal === undefined ? [] : [`--signal=${signal}`, '--full']),
      jobId,
    ]);
    if (code !== 0) throw new SlurmSilent(lastLine(errors));
  }

  async #queue(...which: readonly string[]): Promise<readonly QueuedTask[]> {
    const { code, out, errors } = await this.#run('squeue', ['--noheader', '--array', `--format=${QUEUE_FORMAT}`, ...which]);
    if (code === 0) return parseQueue(out);
    // So it says of a job that ended some minutes ago.
    if (/Invalid job id/i.test(errors)) return [];
    throw new SlurmSilent(lastLine(errors));
  }

  #run(tool: string, args: readonly string[]): Promise<Said> {
    return new Promise((resolve, reject) => {
      execFile(tool, args, { env: { ...this.#env }, timeout: ANSWER_MS, maxBuffer: 2 ** 24 }, (error, out, errors) => {
        if (error?.code === 'ENOENT') return reject(noSlurm(tool));
        const late = error?.killed ? `${tool} did not answer within ${ANSWER_MS / 1000} s` : '';
        resolve({ code: error === null ? 0 : 1, out, errors: errors || late || (error?.message ?? '') });
      });
    });
  }
}

function noSlurm(tool: string): CliError {
  const remedy = 'Give --slurm on a machine of the cluster where that command works, usually its login node.';
  return new CliError('no_slurm', `There is no Slurm here: ${tool} is not found.`, remedy);
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1)?.trim() ?? '';
}

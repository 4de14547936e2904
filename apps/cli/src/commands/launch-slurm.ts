/** The flags of `troupe launch` about Slurm, as a plan. */
import { readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { EngineChoice } from '@troupe/engines';
import { ENGINE_OPTION } from '@troupe/engines/options';
import { CliError } from '../errors.js';
import type { Slot } from '../launch/hosts.js';
import { SlurmCluster, SlurmSilent } from '../launch/slurm-cluster.js';
import type { SlurmPlan } from '../launch/slurm-keeper.js';
import { findJob, isPlainPath, jobNameOf, ORDER_FILE, readSlurmArgs, SLURM_LABEL, type SlurmOrder } from '../launch/slurm.js';
import type { Shell } from '../shell.js';

export interface SlurmFlags {
  readonly slurm?: true;
  readonly tasks?: number;
  readonly slurmArgs?: string;
  readonly slurmDir?: string;
  readonly engine?: EngineChoice;
  readonly threads?: number;
}

const SCRIPT = 'slurm.sbatch';

/**
 * What to submit, or the job of an earlier launch that is to be followed; undefined without --slurm.
 * @param logs the folder of the logs, for the script
 * @throws CliError
 */
export async function planSlurm(
  { env }: Pick<Shell, 'env'>,
  flags: SlurmFlags,
  address: string,
  logs: string,
): Promise<SlurmPlan | undefined> {
  if (!flags.slurm) {
    checkUnused(flags);
    return undefined;
  }
  const args = argumentsOf(flags.slurmArgs ?? '');
  const home = folderOf(flags.slurmDir, env);
  const name = jobNameOf(address);
  const folder = path.join(home, 'slurm', name);
  const cluster = new SlurmCluster(env, os.userInfo().username);
  const found = await findEarlier(cluster, name);
  const slots = found === undefined ? slotsOf(flags) : earlierSlots(folder, found);
  const script = path.resolve(logs, SCRIPT);
  return { cluster, name, folder, cache: path.join(home, 'launch'), slots, threads: flags.threads, args, script, found };
}

function checkUnused({ tasks, slurmArgs, slurmDir }: SlurmFlags): void {
  const given =
    tasks !== undefined
      ? '--tasks'
      : slurmArgs !== undefined
        ? '--slurm-args'
        : slurmDir !== undefined
          ? '--slurm-dir'
          : undefined;
  if (given === undefined) return;
  throw new CliError('usage', `${given} is for workers in a Slurm job.`, `Give --slurm as well, or leave ${given} out.`);
}

function argumentsOf(text: string): readonly string[] {
  const words = readSlurmArgs(text);
  if (!('message' in words)) return words;
  throw new CliError('usage', words.message, words.remedy);
}

function folderOf(given: string | undefined, env: Shell['env']): string {
  const folder = path.resolve(given ?? path.join(env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache'), 'troupe'));
  if (isPlainPath(folder)) return folder;
  const remedy = 'Give a folder whose path has only letters, digits and . , : @ + = / ~ _ - with --slurm-dir DIR.';
  throw new CliError(
    'usage',
    `The path ${folder} has characters that Slurm does not take in the name of an output file.`,
    remedy,
  );
}

async function findEarlier(cluster: SlurmCluster, name: string): Promise<string | undefined> {
  try {
    return findJob(await cluster.tasksNamed(name));
  } catch (cause) {
    if (!(cause instanceof SlurmSilent)) throw cause;
    const remedy = 'Type sinfo to see for yourself, and ask who runs the cluster.';
    throw new CliError('no_slurm', `Slurm does not answer: ${cause.message}`, remedy, { cause });
  }
}

function slotsOf({ tasks = 1, engine = ENGINE_OPTION.default, threads }: SlurmFlags): readonly Slot[] {
  return Array.from({ length: tasks }, (_, i) => ({
    name: `${SLURM_LABEL}/${i + 1}`,
    engine,
    threads,
    sharedBy: 1,
    gpu: true,
    listen: undefined,
    env: {},
  }));
}

/** @throws CliError if the job of an earlier launch has left nothing in this folder */
function earlierSlots(folder: string, jobId: string): readonly Slot[] {
  try {
    return (JSON.parse(readFileSync(path.join(folder, ORDER_FILE), 'utf8')) as SlurmOrder).slots;
  } catch (cause) {
    const message = `Slurm job ${jobId} of an earlier launch works for this coordinator already, and ${folder} has nothing of it.`;
    throw new CliError('usage', message, `Give the same --slurm-dir as then, or end that job first: scancel ${jobId}`, { cause });
  }
}

/** The Slurm job of a launch: its script, and what Slurm says, in words. Pure. */
import { createHash } from 'node:crypto';
import { shellQuote } from '@troupe/config';
import type { Slot } from './hosts.js';
import { findNode } from './ssh.js';
import type { ToHost } from './wire.js';

/** Elements of an array; Slurm itself allows indices up to 1,000 unless it is told otherwise. */
export const MAX_TASKS = 1_000;
/** The name of the worker of the first task is "slurm/1". */
export const SLURM_LABEL = 'slurm';

/** What tasks read in the folder of their job: above all the token, which belongs into no script, command line or environment of a job. */
export const ORDER_FILE = 'order.json';

/** The content of that file. */
export interface SlurmOrder {
  readonly order: Omit<Extract<ToHost, { do: 'start' }>, 'do' | 'slots'>;
  /** Of the task with the index 1, 2, ... */
  readonly slots: readonly Slot[];
  /** A worker that takes part in no run for this long gives its node back. */
  readonly patienceMs: number;
  /** The folder of the release, which is in use as long as the job lives. */
  readonly release: string;
}

/** The environment variable that leads a task to that folder. */
export const FOLDER_VARIABLE = 'TROUPE_SLURM_FOLDER';
const ENTRY_VARIABLE = 'TROUPE_SLURM_ENTRY';

/** A job is known by the coordinator that it works for, so a later launch finds it. */
export function jobNameOf(address: string): string {
  return `troupe-${createHash('sha256').update(address).digest('hex').slice(0, 10)}`;
}

export function outputFile(index: number): string {
  return `${index}.out`;
}

/** What a person may not write for --slurm-dir: Slurm gives a meaning of its own to it, or a script would have to quote it. */
export function isPlainPath(folder: string): boolean {
  return /^[\w.,:@+=/~-]+$/.test(folder);
}

export interface JobPlan {
  readonly name: string;
  readonly tasks: number;
  /** Cores of each task; undefined: what Slurm gives without being asked. */
  readonly threads: number | undefined;
  /** The folder of the job, which all nodes see. */
  readonly folder: string;
  /** The module that a task runs. */
  readonly entry: string;
  /** Programs to try as Node, before those in the usual places. */
  readonly nodes: readonly string[];
}

/** The options of the job, for sbatch. */
export function sbatchOptions({ name, tasks, threads, folder }: JobPlan): string[] {
  return [
    `--job-name=${name}`,
    `--array=1-${tasks}`,
    `--output=${folder}/%a.out`,
    '--open-mode=append',
    '--ntasks=1',
    ...(threads === undefined ? [] : [`--cpus-per-task=${threads}`]),
  ];
}

const LOADER = `import(require("url").pathToFileURL(process.env.${ENTRY_VARIABLE}).href)`;

/** The script that sbatch submits. It holds no secret. */
export function sbatchScript(plan: JobPlan): string {
  return [
    '#!/bin/sh',
    '# Workers for a Troupe coordinator, one for each task of this array. Written by "troupe launch --slurm".',
    ...sbatchOptions(plan).map((option) => `#SBATCH ${option}`),
    `export ${FOLDER_VARIABLE}=${shellQuote(plan.folder)}`,
    `export ${ENTRY_VARIABLE}=${shellQuote(plan.entry)}`,
    `exec ${findNode(LOADER, undefined, plan.nodes)}`,
    '',
  ].join('\n');
}

/** Options that belong to the launch. */
const OWN = [
  ['-a', '--array'],
  ['-J', '--job-name'],
  ['-o', '--output'],
  ['-e', '--error'],
  ['-W', '--wait'],
  ['--wrap'],
  ['--open-mode'],
  ['--parsable'],
  ['-n', '--ntasks'],
] as const;

/** Two full sentences. */
export interface SlurmProblem {
  readonly message: string;
  readonly remedy: string;
}

const WORD = /(?:[^\s"']|"[^"]*"|'[^']*')+/g;

/** The words of a text, as a shell divides it: quotes keep spaces together. @returns undefined if a quote is open */
export function splitWords(text: string): readonly string[] | undefined {
  if (text.replace(WORD, '').trim() !== '') return undefined;
  const unquote = (word: string): string =>
    word.replace(/"([^"]*)"|'([^']*)'/g, (_, double?: string, single?: string) => double ?? single!);
  return (text.match(WORD) ?? []).map(unquote);
}

/** The words of --slurm-args, or what is wrong with them. */
export function readSlurmArgs(text: string): readonly string[] | SlurmProblem {
  const words = splitWords(text);
  if (words === undefined)
    return { message: '--slurm-args has an open quote.', remedy: `Close it: --slurm-args '--comment="two words"'.` };
  if (words.some((word) => word.includes('TROUPE_TOKEN'))) {
    const remedy = 'Leave it out of --slurm-args: workers read the token from a file that only you can read.';
    return { message: 'A command line is no place for the token: others on this machine can read it.', remedy };
  }
  const own = words.find((word) => OWN.some((names) => names.some((name) => isOption(word, name))));
  if (own === undefined) return words;
  const message = `${own} in --slurm-args is set by the launch itself.`;
  const remedy = /^(?:-a|--array|-n|--ntasks)/.test(own) ? 'Give the number of workers with --tasks N.' : 'Leave it out.';
  return { message, remedy };
}

/** "--array=1-4", "--array", "-a" and "-a1-4" are the option -a, --array. */
function isOption(word: string, name: string): boolean {
  if (name.startsWith('--')) return word === name || word.startsWith(`${name}=`);
  return word.startsWith(name) && !word.startsWith('--');
}

/** A task of the array as squeue shows it. */
export interface QueuedTask {
  readonly jobId: string;
  readonly index: number;
  /** "PENDING", "RUNNING", "TIMEOUT": https://slurm.schedmd.com/squeue.html#SECTION_JOB-STATE-CODES */
  readonly state: string;
  /** Why it is pending: "Resources", "Priority". */
  readonly reason: string;
  readonly node: string;
}

export const QUEUE_FORMAT = '%F|%K|%T|%r|%N';

/** Lines of squeue in QUEUE_FORMAT. Others, such as jobs that are no array, are left out. */
export function parseQueue(text: string): readonly QueuedTask[] {
  return text.split('\n').flatMap((line) => {
    const [jobId, index, state, reason, node] = line.split('|').map((field) => field.trim());
    return node !== undefined && /^\d+$/.test(jobId) && /^\d+$/.test(index)
      ? [{ jobId, index: Number(index), state, reason, node }]
      : [];
  });
}

/** States of a task that waits for a node, again after a requeue or for the first time. */
const WAITING: ReadonlySet<string> = new Set([
  'PENDING',
  'REQUEUED',
  'REQUEUE_HOLD',
  'REQUEUE_FED',
  'SPECIAL_EXIT',
  'RESV_DEL_HOLD',
]);
const ON_A_NODE: ReadonlySet<string> = new Set([
  'RUNNING',
  'CONFIGURING',
  'SUSPENDED',
  'STOPPED',
  'RESIZING',
  'SIGNALING',
  'STAGE_OUT',
]);

/** States after which nothing of a task follows. Others may be requeued, or what it wrote last may still be on its way. */
const FINAL: ReadonlySet<string> = new Set(['CANCELLED', 'TIMEOUT', 'OUT_OF_MEMORY', 'DEADLINE']);

/** What a state means for the worker of the task. `leaving`: it ends, and another state follows. `ended`: it is over unless that changes. */
export function phaseOf(state: string): 'waits' | 'runs' | 'leaving' | 'ended' | 'over' {
  if (WAITING.has(state)) return 'waits';
  if (ON_A_NODE.has(state)) return 'runs';
  if (state === 'COMPLETING') return 'leaving';
  return FINAL.has(state) ? 'over' : 'ended';
}

/** The id of the job that an earlier launch has submitted and that still has tasks: the newest, if there are several. */
export function findJob(tasks: readonly QueuedTask[]): string | undefined {
  const live = tasks.filter(({ state }) => ['waits', 'runs'].includes(phaseOf(state)));
  return live.length === 0 ? undefined : String(Math.max(...live.map(({ jobId }) => Number(jobId))));
}

/** Why a task waits, and what a person can do about it, if anything. */
export function explainWait(reason: string, jobId: string): { readonly text: string; readonly remedy?: string } {
  const text = reason === '' || reason === 'None' ? 'in the queue' : `in the queue: ${reason}`;
  const found = WAITS.find(([pattern]) => pattern.test(reason));
  return found === undefined ? { text } : { text, remedy: found[1].replace('JOB', jobId) };
}

const WAITS: readonly (readonly [RegExp, string])[] = [
  [
    /PartitionTimeLimit/,
    'Give a time that the partition allows, such as --slurm-args "--time=1:00:00"; sinfo -o "%P %l" shows the limits.',
  ],
  [
    /PartitionConfig|PartitionNodeLimit|BadConstraints|ReqNodeNotAvail/,
    'No node of the partition can ever give what is asked for. Ask for less in --slurm-args and --threads; sinfo -N -l shows the nodes.',
  ],
  [/PartitionDown|PartitionInactive/, 'Name another partition in --slurm-args; sinfo shows which are up.'],
  [
    /^(?:Assoc|QOS|Max|InvalidAccount|InvalidQOS)/,
    'A limit of your account holds it. Ask who runs the cluster; it starts when the limit allows.',
  ],
  [/JobHeldUser|JobHeldAdmin|JobHold/, 'Let it start with: scontrol release JOB'],
];

/** Why sbatch has refused a job: the words of Slurm, and a remedy. @param errors what sbatch wrote to standard error */
export function explainRefusal(errors: string): { readonly text: string; readonly remedy: string } {
  const lines = errors
    .split('\n')
    .map((line) => line.replace(/^sbatch: (?:error|fatal): /, '').trim())
    .filter((line) => line !== '' && !line.startsWith('Try "sbatch --help"'));
  const text = `Slurm refuses the job: ${lines.join('; ') || 'it gives no reason'}`;
  const [, remedy] = REFUSALS.find(([pattern]) => pattern.test(errors)) ?? [undefined, OTHER_REFUSAL];
  return { text, remedy };
}

const OTHER_REFUSAL = 'Correct --slurm-args, which sbatch takes as they stand, or ask who runs the cluster.';
const REFUSALS: readonly (readonly [RegExp, string])[] = [
  [/invalid partition/i, 'Name a partition of the cluster, such as --slurm-args "--partition=NAME"; sinfo -s lists them.'],
  [
    /invalid account|account\/partition combination/i,
    'Name an account of yours, such as --slurm-args "--account=NAME"; sacctmgr show associations user=$USER lists them.',
  ],
  [/invalid qos/i, 'Name a QOS of yours, such as --slurm-args "--qos=NAME"; sacctmgr show qos lists them.'],
  [/array specification/i, 'Give fewer --tasks; scontrol show config | grep MaxArraySize shows the limit.'],
  [/time limit/i, 'Give a shorter time, such as --slurm-args "--time=1:00:00"; sinfo -o "%P %l" shows the limits.'],
  [
    /node configuration|specification can not be satisfied|generic resource|\bfeature\b|node count/i,
    'Ask for what some node has, in --slurm-args and --threads; sinfo -N -l and sinfo -o "%N %G" show what nodes have.',
  ],
  [
    /job violates|limit|policy/i,
    'A limit of the cluster or of your account is in the way. Ask for fewer --tasks, or ask who runs the cluster.',
  ],
  [
    /contact slurm controller|unable to (?:establish|process)|configuration (?:file|source)|connection refused|protocol authentication|munge/i,
    'Slurm does not answer here. Type sinfo to see for yourself, and ask who runs the cluster.',
  ],
];

/** Why a task of the job is over although its worker has not said so. */
export function explainEnd(
  state: string,
  hasSpoken: boolean,
  folder: string,
): { readonly text: string; readonly remedy: string } {
  const base = state.replace(/\+$/, '');
  if (!hasSpoken && ['FAILED', 'COMPLETED'].includes(base)) {
    const text = 'its task ended before it wrote anything';
    return {
      text,
      remedy: `All nodes must see the folder ${folder}. If they do not, name one that they see with --slurm-dir DIR.`,
    };
  }
  const [text, remedy] = ENDS[base] ?? [`Slurm has ended its task: ${base}`, 'Start the launch again.'];
  return { text, remedy };
}

const ENDS: Readonly<Record<string, readonly [text: string, remedy: string]>> = {
  CANCELLED: ['its task was cancelled', 'Start the launch again, if that was not meant.'],
  COMPLETED: ['its task ended', 'Start the launch again.'],
  FAILED: ['its task failed', 'See its log, and start the launch again.'],
  TIMEOUT: ['its task has used up its time', 'Start the launch again, with a longer time such as --slurm-args "--time=8:00:00".'],
  OUT_OF_MEMORY: [
    'its task has used up its memory',
    'Ask for more, such as --slurm-args "--mem=8G", and start the launch again.',
  ],
  PREEMPTED: ['another job has taken its node', 'Start the launch again.'],
  NODE_FAIL: ['its node failed', 'Start the launch again.'],
  BOOT_FAIL: ['its node did not start', 'Start the launch again.'],
  DEADLINE: ['its deadline has passed', 'Start the launch again.'],
  UNKNOWN: ['Slurm knows its task no more', 'Start the launch again.'],
};

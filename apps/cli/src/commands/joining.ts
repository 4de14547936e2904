/** How workers find a run: the address of its coordinator, and its token. */
import { joinTarget, UsageError, type JoinTarget } from '@troupe/process';
import type { Discovery, FoundRun } from '@troupe/transport/discovery';
import { CliError, Interrupted } from '../errors.js';
import type { Shell } from '../shell.js';

/** @throws CliError */
export function targetOf(address: string): JoinTarget {
  try {
    return joinTarget(address);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new CliError('usage', error.message, error.remedy, { cause: error });
  }
}

/** The token, if it is not in the environment and somebody is there to type it. */
export async function askToken({ env, ask }: Shell): Promise<string | undefined> {
  return env.TROUPE_TOKEN ? undefined : (await ask?.('Token of the run (the coordinator prints it): ')) || undefined;
}

/** Time for a coordinator on the network to answer. */
const SEARCH_MS = 4_000;

/**
 * The address of a coordinator on this network that a person chooses.
 * @throws CliError if there is none, or nobody to choose; Interrupted if the person wants none
 */
export async function findOnNetwork(shell: Shell): Promise<string> {
  shell.stderr.write('looking for coordinators on this network ...\n');
  const found = await shell.discover(SEARCH_MS);
  const { runs } = found;
  if (runs.length === 0) throw nothingFound(found, shell);
  shell.stderr.write(`${listOf(runs)}\n`);
  if (shell.prompt === undefined) {
    const remedy = `Type: ${shell.program} worker ${runs[0].address}`;
    throw new CliError('usage', 'Nobody is here to say which run this machine should join.', remedy);
  }
  const chosen = await choose(runs, shell.prompt);
  if (chosen !== undefined) return chosen.address;
  throw new Interrupted('no run is chosen');
}

function nothingFound({ asked, problems }: Discovery, { program }: Shell): CliError {
  const where =
    asked.length === 0 ? 'This machine has no network that can be searched' : 'No coordinator answers on this network';
  const message = [`${where}.`, ...problems.map((problem) => `${problem}.`)].join(' ');
  const remedy =
    `Give its address: ${program} worker ws://HOST:7070\n` +
    'Only coordinators with --discoverable are found, and only on the same subnet. Many wireless networks and firewalls block multicast ' +
    '(UDP port 5353).';
  return new CliError('no_coordinator', message, remedy);
}

/** One line for each run: its number, its name, who runs it, and its address. */
export function listOf(runs: readonly FoundRun[]): string {
  const width = Math.max(...runs.map((run) => titleOf(run).length));
  return runs.map((run, i) => `  ${i + 1}  ${titleOf(run).padEnd(width)}  ${run.address}`).join('\n');
}

function titleOf({ name, organizer }: FoundRun): string {
  return organizer === undefined ? name : `${name}, by ${organizer}`;
}

/** Asks until the answer is one. @returns undefined for none */
async function choose(runs: readonly FoundRun[], prompt: NonNullable<Shell['prompt']>): Promise<FoundRun | undefined> {
  const isOne = runs.length === 1;
  const question = isOne ? `Join it? (y/n) ` : `Which one? (1 to ${runs.length}, or n for none) `;
  for (;;) {
    const answer = (await prompt(question)).toLowerCase();
    if (['n', 'no'].includes(answer)) return undefined;
    if (isOne && ['y', 'yes'].includes(answer)) return runs[0];
    const run = /^\d+$/.test(answer) ? runs[Number(answer) - 1] : undefined;
    if (run !== undefined) return run;
  }
}

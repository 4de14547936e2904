/** How workers find a run: the address of its coordinator, and its token. */
import { joinTarget, UsageError, type JoinTarget } from '@troupe/process';
import { CliError } from '../errors.js';
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

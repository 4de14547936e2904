/** Secrets on the command line. Other users of a machine can read the arguments of every process, but not its environment. */
import type { Command } from 'commander';
import type { Shell } from '../shell.js';

/** Flags with a secret, and the variables in which the apps read it. */
const VARIABLES = {
  '--token': 'TROUPE_TOKEN',
  '--volunteer-token': 'TROUPE_VOLUNTEER_TOKEN',
  '--admin-token': 'TROUPE_ADMIN_TOKEN',
  '--metrics-token': 'TROUPE_METRICS_TOKEN',
} as const;

/** No process that this one starts has them among its arguments. */
export const SECRET_FLAGS: readonly string[] = Object.keys(VARIABLES);

/**
 * The environment for an app: that of this process, and the secrets that were typed as flags. Warns of the latter.
 * @param ownToken the variable in which the app reads `--token`
 */
export function environmentWithSecrets(
  { env, stderr }: Pick<Shell, 'env' | 'stderr'>,
  command: Command,
  ownToken = 'TROUPE_TOKEN',
): Shell['env'] {
  const secrets: Record<string, string> = {};
  for (const [flag, variable] of Object.entries({ ...VARIABLES, '--token': ownToken })) {
    const value: unknown = command.getOptionValue(keyOf(flag));
    if (typeof value !== 'string') continue;
    secrets[variable] = value;
    stderr.write(
      `warning: other users of this machine can read the secret in ${flag}\n  Give it in the environment instead: ${variable}=SECRET before the command.\n`,
    );
  }
  return { ...env, ...secrets };
}

/** A link that was typed contains the token. */
export function warnOfLink({ stderr, program }: Pick<Shell, 'stderr' | 'program'>, address: string): void {
  stderr.write(
    `warning: other users of this machine can read the token in the link\n  Give it in the environment instead: TROUPE_TOKEN=TOKEN ${program} worker ${address.replace(/\/control$/, '')}\n`,
  );
}

/** "--admin-token" -> "adminToken", as commander has it. */
function keyOf(flag: string): string {
  return flag.slice(2).replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}

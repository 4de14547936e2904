/**
 * `troupe coordinator`, `troupe worker` and `troupe allreduce`: run the apps with the help texts of
 * the command line.
 */
import { Option, type Command } from 'commander';
import { ALLREDUCE_OPTIONS } from '@troupe/config';
import type { EngineChoice } from '@troupe/engines';
import { WORKER_OPTIONS } from '@troupe/engines/options';
import { EXIT } from '@troupe/process';
import { CliError } from '../errors.js';
import { onStopRequest, startApp } from '../processes.js';
import { describeRecipes, LIST, recipeOption, withRecipe } from '../recipes.js';
import type { AppPaths, Shell } from '../shell.js';
import { addAppOptions, addRunOptions, afterwards, checkThreads, examples, givenArguments, runArguments } from './flags.js';
import { askToken, findOnNetwork, targetOf } from './joining.js';
import { environmentWithSecrets, SECRET_FLAGS, warnOfLink } from './secrets.js';

type Ended = (exitCode: number) => void;

export function defineCoordinator(program: Command, shell: Shell, ended: Ended): void {
  const command = program
    .command('coordinator')
    .summary('run only a coordinator; workers join from any machine')
    .description(
      'Runs the coordinator of a run: it assigns the text to workers, validates, samples and writes checkpoints. It computes no ' +
        'gradients itself. Ctrl-C saves and stops; --resume continues.',
    );
  addRunOptions(command)
    .addOption(recipeOption())
    .addOption(new Option('--json', 'print every event of the run as one line of JSON').helpGroup('Output:'))
    .addHelpText(
      'after',
      examples(
        [
          `${shell.program} coordinator --host 0.0.0.0`,
          'wait for workers on port 7070 of every network interface, and print how to join',
        ],
        [
          `${shell.program} coordinator --host 0.0.0.0 --corpus tiny-shakespeare --batch 128`,
          'a larger global batch, for more workers',
        ],
        [
          `${shell.program} coordinator --host 0.0.0.0 --reducers 3`,
          'sum the gradients of a large model on three more cores; workers also connect to the ports 7071 to 7073',
        ],
        [
          `${shell.program} coordinator --host 0.0.0.0 --tls-cert lab.pem --tls-key lab.key`,
          'the same over https and wss, without which browsers on other machines get neither a GPU nor more than one core',
        ],
        [`${shell.program} coordinator --resume --out runs/001`, 'continue a run after a stop or a crash'],
      ) + afterwards(`${shell.program} worker ws://HOST:7070   on every machine that is to compute; it asks for the token`),
    )
    .action(async (flags: CoordinatorFlags) => {
      if (flags.recipe === LIST) {
        shell.stdout.write(describeRecipes(shell.program));
        return ended(EXIT.ok);
      }
      const args = [...coordinatorArguments(shell, command, flags), ...(flags.json ? ['--json'] : [])];
      ended(await runApp(shell, 'coordinator', args, environmentWithSecrets(shell, command)));
    });
}

interface CoordinatorFlags {
  readonly recipe?: string;
  readonly json?: true;
}

function coordinatorArguments(shell: Shell, command: Command, { recipe, json }: CoordinatorFlags): readonly string[] {
  const given = runArguments(command, SECRET_FLAGS);
  if (recipe === undefined) return given;
  const { args, note } = withRecipe(recipe, given);
  (json ? shell.stderr : shell.stdout).write(`${note}\n`);
  return args;
}

interface WorkerFlags {
  readonly token?: string;
  readonly engine?: EngineChoice;
  readonly threads?: number;
}

export function defineWorker(program: Command, shell: Shell, ended: Ended): void {
  const command = program
    .command('worker')
    .summary('compute for a coordinator, here or on another machine')
    .description(
      'Joins the run of a coordinator and computes gradients until the run is over. A worker may join and leave at any time; its ' +
        'unfinished work is handed to others. Ctrl-C leaves.',
    )
    .argument(
      '[address]',
      'address of the coordinator: ws://HOST:PORT, or wss://HOST:PORT if it has a certificate, or its link for volunteers; without it, ' +
        'coordinators on this network that allow it are found, and you are asked',
    );
  addAppOptions(command, WORKER_OPTIONS)
    .addHelpText(
      'after',
      examples(
        [`${shell.program} worker ws://192.168.1.20:7070`, 'join the run on the machine 192.168.1.20; asks for the token'],
        [`TROUPE_TOKEN=TOKEN ${shell.program} worker ws://lab:7070 --name bench-3`, 'the same in a script'],
        [`${shell.program} worker`, 'look for coordinators on this network that were started with --discoverable'],
        [`${shell.program} worker ws://lab:7070 --threads 8`, 'compute on eight cores'],
        [
          `NODE_EXTRA_CA_CERTS=lab.pem ${shell.program} worker wss://lab:7070`,
          'also trust the certificate in lab.pem, and certificates signed with it',
        ],
        [`${shell.program} worker ws://lab:7070 --engine webgpu`, 'compute on the GPU'],
        [`${shell.program} worker ws://lab:7070 --share 50 --hours 22:00-06:30`, 'compute at night, with half of its cores'],
      ) +
        afterwards(
          `${shell.program} doctor   the engines of this machine and their speeds`,
          'Start one worker with a thread per core (--threads N), or one for the GPU. The coordinator lists them.',
        ),
    )
    .action(async (given: string | undefined, flags: WorkerFlags) => {
      checkThreads({ engine: flags.engine ?? 'auto', threads: flags.threads ?? 1 });
      const { address, token: linked } = targetOf(given ?? (await findOnNetwork(shell)));
      const env = environmentWithSecrets(shell, command);
      if (linked !== undefined && given !== undefined) warnOfLink(shell, address);
      const token = flags.token ?? linked ?? (await askToken(shell));
      checkToken(shell, token, 'A worker needs the token of the run.', 'The coordinator prints it.');
      const args = [address, ...givenArguments(command, WORKER_OPTIONS, SECRET_FLAGS)];
      ended(await runApp(shell, 'worker', args, token === undefined ? env : { ...env, TROUPE_TOKEN: token }));
    });
}

/** @throws CliError */
function checkToken(shell: Shell, flag: string | undefined, message: string, source: string): void {
  if (flag || shell.env.TROUPE_TOKEN) return;
  throw new CliError('usage', message, `Give it with --token or in TROUPE_TOKEN. ${source}`);
}

export function defineAllreduce(program: Command, shell: Shell, ended: Ended): void {
  const command = program
    .command('allreduce')
    .summary('run only the all-reduce service')
    .description(
      'Averages and clips the gradients of a run on a separate machine. Without it the coordinator does that itself, which suits most ' +
        'runs.',
    );
  addAppOptions(command, ALLREDUCE_OPTIONS)
    .addHelpText(
      'after',
      examples(
        [
          `${shell.program} allreduce --host 0.0.0.0 --port 7071`,
          'make up a secret, and print how a coordinator uses the service',
        ],
        [
          `TROUPE_ALLREDUCE_TOKEN=SECRET ${shell.program} allreduce --host 0.0.0.0 --port 7071`,
          'serve the coordinator that has this secret, which is no token of the run',
        ],
        [`TROUPE_ALLREDUCE_TOKEN=SECRET ${shell.program} train --allreduce ws://HOST:7071`, 'start a run that uses it'],
        [
          `TROUPE_ALLREDUCE_TOKEN=SECRET ${shell.program} allreduce --host 0.0.0.0 --port 7071 --reducers 3`,
          'the same, and sum on three more cores; workers also connect to the ports 7072 to 7074',
        ],
        [
          `TROUPE_ALLREDUCE_TOKEN=SECRET ${shell.program} train --allreduce ws://HOST:7071,ws://OTHER:7071`,
          'start a run that uses services on two machines: the first decides, the second sums',
        ],
      ) + afterwards('Start a coordinator with --allreduce ws://HOST:PORT and the same secret in TROUPE_ALLREDUCE_TOKEN.'),
    )
    .action(async () => {
      const env = environmentWithSecrets(shell, command, 'TROUPE_ALLREDUCE_TOKEN');
      ended(await runApp(shell, 'allreduce', givenArguments(command, ALLREDUCE_OPTIONS, SECRET_FLAGS), env));
    });
}

/**
 * Runs an app on this terminal. Passes on the first stop request, and kills the app on the second.
 * Resolves with its exit code.
 */
export async function runApp(
  shell: Shell,
  app: keyof AppPaths,
  args: readonly string[],
  env: Shell['env'] = shell.env,
): Promise<number> {
  const process = startApp(shell.apps[app], { args, env, output: 'inherit' });
  const forget = onStopRequest(shell, process.stop, process.kill);
  try {
    return (await process.exited).code;
  } finally {
    forget();
  }
}

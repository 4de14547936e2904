/** `troupe coordinator`, `troupe worker`, `troupe allreduce`: the apps as they are, with our help. */
import { Option, type Command } from 'commander';
import { CliError } from '../errors.js';
import { onStopRequest, startApp } from '../processes.js';
import type { AppPaths, Shell } from '../shell.js';
import type { EngineChoice } from '@troupe/engines';
import { addRunOptions, afterwards, checkThreads, engineOption, examples, runArguments, threadsOption } from './flags.js';

type Ended = (exitCode: number) => void;

export function defineCoordinator(program: Command, shell: Shell, ended: Ended): void {
  const command = program
    .command('coordinator')
    .summary('run a coordinator alone; workers join from anywhere')
    .description(
      'Keeps a run: deals out the text to the workers that join, validates, samples and writes checkpoints. It computes no gradients ' +
        'itself. Ctrl-C saves and stops; --resume goes on.',
    );
  addRunOptions(command)
    .addOption(new Option('--json', 'one JSON object a line for every event of the run').helpGroup('Output:'))
    .addHelpText(
      'after',
      examples(
        [
          `${shell.program} coordinator --host 0.0.0.0`,
          'waits for workers on port 7070 of every network interface and prints how they join',
        ],
        [`${shell.program} coordinator --host 0.0.0.0 --corpus tiny-shakespeare --batch 128`, 'a global batch for more workers'],
        [
          `${shell.program} coordinator --host 0.0.0.0 --tls-cert lab.pem --tls-key lab.key`,
          'the same over https and wss, which browsers on other machines need for several cores and GPUs',
        ],
        [`${shell.program} coordinator --resume --out runs/001`, 'goes on with a run after a stop or a crash'],
      ) + afterwards(`${shell.program} worker ws://HOST:7070 --token TOKEN   on every machine that takes part`),
    )
    .action(async (flags: { token?: string; json?: true }) => {
      const args = [...runArguments(command, ['--token']), ...(flags.json ? ['--json'] : [])];
      ended(await runApp(shell, 'coordinator', args, flags.token));
    });
}

interface WorkerFlags {
  readonly token?: string;
  readonly name?: string;
  readonly engine: EngineChoice;
  readonly threads: number;
  readonly gpu: boolean;
  readonly json?: true;
}

export function defineWorker(program: Command, shell: Shell, ended: Ended): void {
  program
    .command('worker')
    .summary('compute for a coordinator, here or on another machine')
    .description(
      'Joins the run of a coordinator and computes gradients for it until the run is over. It may come and go at any time: what it ' +
        'leaves undone is given to others. Ctrl-C leaves.',
    )
    .argument('<address>', 'where the coordinator listens: ws://HOST:PORT, or wss:// where it has a certificate')
    .addOption(new Option('--token <TOKEN>', 'what the coordinator printed (default: TROUPE_TOKEN)').helpGroup('Joining:'))
    .addOption(
      new Option('--name <NAME>', 'how the coordinator calls this worker (default: the name of the machine)').helpGroup(
        'Joining:',
      ),
    )
    .addOption(engineOption('auto', 'auto measures for a moment which is fastest here'))
    .addOption(
      threadsOption(
        'engine threads of this worker, which share its streams; instead of more workers on one machine: one replica, one link',
      ),
    )
    .addOption(new Option('--no-gpu', 'auto and tfjs leave GPUs to other workers of this machine').helpGroup('Engine:'))
    .addOption(new Option('--json', 'one JSON object a line for what happens').helpGroup('Output:'))
    .addHelpText(
      'after',
      examples(
        [`${shell.program} worker ws://192.168.1.20:7070 --token TOKEN`, 'joins the run of the machine 192.168.1.20'],
        [
          `TROUPE_TOKEN=TOKEN ${shell.program} worker ws://lab:7070 --name bench-3`,
          'keeps the token out of the list of processes',
        ],
        [`${shell.program} worker ws://lab:7070 --threads 8`, 'computes on eight cores'],
        [
          `NODE_EXTRA_CA_CERTS=lab.pem ${shell.program} worker wss://lab:7070 --token TOKEN`,
          'trusts the certificate in lab.pem, or those that its authority has signed, besides the usual ones',
        ],
        [`${shell.program} worker ws://lab:7070 --engine webgpu`, 'computes on the GPU'],
      ) +
        afterwards(
          `${shell.program} doctor   the engines of this machine and how fast they are`,
          'One worker with --threads N, or one per core; the coordinator shows who has joined.',
        ),
    )
    .action(async (address: string, flags: WorkerFlags) => {
      if (!flags.token && !shell.env.TROUPE_TOKEN) {
        throw new CliError(
          'usage',
          'A worker needs the token of the run.',
          'Give it with --token, or in TROUPE_TOKEN; the coordinator prints it.',
        );
      }
      const name = flags.name === undefined ? [] : [`--name=${flags.name}`];
      checkThreads(flags);
      const engine = [`--engine=${flags.engine}`, `--threads=${flags.threads}`, ...(flags.gpu ? [] : ['--no-gpu'])];
      ended(await runApp(shell, 'worker', [address, ...name, ...engine, ...(flags.json ? ['--json'] : [])], flags.token));
    });
}

export function defineAllreduce(program: Command, shell: Shell, ended: Ended): void {
  program
    .command('allreduce')
    .summary('run the all-reduce service alone')
    .description(
      'Averages and clips the gradients of a run on a machine of its own. Without it the coordinator does that itself, which is right ' +
        'for most runs.',
    )
    .addOption(
      new Option('--host <H>', 'address to listen on; 0.0.0.0 lets other machines in (default: 127.0.0.1)').helpGroup('Network:'),
    )
    .addOption(new Option('--port <P>', 'port to listen on; 0 = any free one (default: its own)').helpGroup('Network:'))
    .addOption(new Option('--token <TOKEN>', 'what the coordinator must show (default: TROUPE_TOKEN)').helpGroup('Network:'))
    .option('--json', 'notes as one JSON object a line')
    .addHelpText(
      'after',
      examples(
        [`TROUPE_TOKEN=TOKEN ${shell.program} allreduce --host 0.0.0.0 --port 7071`, 'serves coordinators that know the token'],
        [`TROUPE_TOKEN=TOKEN ${shell.program} train --allreduce ws://HOST:7071`, 'a run that uses it'],
      ) + afterwards('Give its address to a coordinator: --allreduce ws://HOST:PORT, with the same token.'),
    )
    .action(async (flags: { host?: string; port?: string; token?: string; json?: true }) => {
      const host = flags.host === undefined ? [] : [`--host=${flags.host}`];
      const port = flags.port === undefined ? [] : [`--port=${flags.port}`];
      ended(await runApp(shell, 'allreduce', [...host, ...port, ...(flags.json ? ['--json'] : [])], flags.token));
    });
}

/** Runs an app on our terminal. The first stop request is passed on, the second kills. Resolves with its exit code. */
async function runApp(shell: Shell, app: keyof AppPaths, args: readonly string[], token: string | undefined): Promise<number> {
  const env = token === undefined ? shell.env : { ...shell.env, TROUPE_TOKEN: token };
  const process = startApp(shell.apps[app], { args, env, output: 'inherit' });
  const forget = onStopRequest(shell, process.stop, process.kill);
  try {
    return (await process.exited).code;
  } finally {
    forget();
  }
}

/** `troupe launch`: workers on many machines, over ssh, and on this one. */
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import os from 'node:os';
import type { Command } from 'commander';
import { shellQuote } from '@troupe/config';
import { ENGINE_OPTION } from '@troupe/engines/options';
import { EXIT, missingLines } from '@troupe/process';
import { printableLines } from '@troupe/protocol';
import { CliError, complaintOf } from '../errors.js';
import { advanceBoard, createBoard, createRepeats, describeEvent, renderBoard, type Board } from '../launch/board.js';
import type { LaunchEvent } from '../launch/events.js';
import { EXAMPLE, localHost, parseHosts, type Host, type HostDefaults } from '../launch/hosts.js';
import { launchWorkers, type LaunchEnd, type LaunchOptions } from '../launch/launch.js';
import { defaultLogFolder, SlotLogs } from '../launch/logs.js';
import type { NodeSource } from '../launch/node-source.js';
import { LAUNCH_OPTIONS } from '../launch/options.js';
import type { ReleaseBytes } from '../launch/release-bytes.js';
import type { SlurmPlan } from '../launch/slurm-keeper.js';
import type { Shell } from '../shell.js';
import { Screen } from '../terminal/screen.js';
import { canRedraw, counted, styleFor } from '../terminal/style.js';
import { addAppOptions, afterwards, checkThreads, examples } from './flags.js';
import { askToken, targetOf } from './joining.js';
import { planSlurm, type SlurmFlags } from './launch-slurm.js';

const EXAMPLE_FILE = 'hosts.txt';
/** Of a terminal that does not tell its height. */
const USUAL_ROWS = 24;

interface LaunchFlags extends SlurmFlags {
  readonly hosts?: string;
  readonly init?: true;
  readonly local?: number;
  readonly ssh?: string;
  readonly sshConfig?: string;
  readonly release?: string;
  readonly withNode?: true;
  readonly nodeFrom?: string;
  readonly logs?: string;
  readonly json?: true;
}

export function defineLaunch(program: Command, shell: Shell, ended: (exitCode: number) => void): void {
  const command = program
    .command('launch')
    .summary('start workers on many machines over ssh, and keep them running')
    .description(
      'Starts workers for the coordinator at ADDRESS on every host of a file, over ssh, and starts again what dies. Copies this release ' +
        'to each host when it has changed; a host needs Node 20.19 or later and tar. Ctrl-C stops all workers, and so does the end of ' +
        'this command, however it ends. The token travels through ssh: no command line and no log contains it.',
    )
    .argument('[address]', 'address of the coordinator, as the hosts reach it: ws://HOST:PORT, or wss://HOST:PORT');
  addAppOptions(command, LAUNCH_OPTIONS)
    .addHelpText(
      'after',
      examples(
        [`${shell.program} launch --init`, `write an example of a hosts file, ${EXAMPLE_FILE}`],
        [
          `${shell.program} launch ws://192.168.1.20:7070 --hosts ${EXAMPLE_FILE}`,
          'start workers on all hosts; asks for the token',
        ],
        [
          `TROUPE_TOKEN=TOKEN ${shell.program} launch ws://192.168.1.20:7070 --hosts ${EXAMPLE_FILE} --json`,
          'the same in a script',
        ],
        [
          `${shell.program} launch ws://login:7070 --slurm --tasks 8 --threads 16 --slurm-args "--partition=lab --time=8:00:00"`,
          'submit an array of eight workers to Slurm and follow it; Ctrl-C cancels it',
        ],
        [`${shell.program} launch ws://127.0.0.1:7070 --local 2`, 'keep two workers running on this machine'],
      ) + afterwards(`${shell.program} coordinator --host 0.0.0.0   start the run that they compute for, and print its token`),
    )
    .action(async (address: string | undefined, flags: LaunchFlags) => {
      ended(flags.init ? writeExample(shell, flags.hosts ?? EXAMPLE_FILE) : await launch(shell, address, flags));
    });
}

function writeExample(shell: Shell, file: string): number {
  try {
    writeFileSync(file, EXAMPLE, { flag: 'wx' });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
    const remedy = 'Edit that file, or name another one: troupe launch --init --hosts FILE';
    throw new CliError('usage', `${file} exists already.`, remedy.replace('troupe', shell.program), { cause });
  }
  const next = `${shell.program} launch ws://HOST:7070 --hosts ${shellQuote(file)}`;
  shell.stdout.write(`wrote ${file}\nWrite the names of your hosts into it, and then type: ${next}\n`);
  return EXIT.ok;
}

/** Resolves with the exit code. */
async function launch(shell: Shell, given: string | undefined, flags: LaunchFlags): Promise<number> {
  const hosts = hostsOf(flags);
  const address = addressOf(given);
  checkListening(address, hosts);
  const folder = flags.logs ?? defaultLogFolder();
  const slurm = await planSlurm(shell, flags, address, folder);
  const nodes = await nodesOf(flags);
  const token = await tokenOf(shell);
  const live = shell.live(flags.json ? (lines) => JSON.stringify({ event: 'note', text: missingLines(lines) }) : undefined);
  const slots = [...hosts.flatMap((host) => host.slots), ...(slurm?.slots ?? [])].map(({ name }) => name);
  const view = new LaunchView({ ...shell, ...live }, slots, flags.json === true);
  const logs = openLogs(folder, view);
  try {
    for (const note of notesOf(address, hosts, slurm)) view.show(note);
    const end = await launchWorkers(shell, {
      hosts,
      slurm,
      nodes,
      ssh: { program: flags.ssh ?? 'ssh', config: flags.sshConfig },
      order: { token, address, launch: shell.newToken(), by: `troupe launch on ${os.hostname()}, process ${process.pid}` },
      release: (signal) => readRelease(flags.release, signal),
      onLog: (slot, entry) => logs.write(slot, entry),
      ...view.callbacks(),
    });
    return exitCodeOf(end);
  } finally {
    view.close();
    await logs.close();
    await Promise.all([live.stdout.flush(), live.stderr.flush()]);
  }
}

/** @throws CliError `no_workers` if the launch ended by itself, with failures only */
function exitCodeOf({ wasStopped, states }: LaunchEnd): number {
  const all = [...states.values()];
  if (wasStopped || all.some((state) => state !== 'failed')) return EXIT.ok;
  throw new CliError(
    'no_workers',
    `None of ${counted(all.length, 'worker')} could be kept running.`,
    'See above what to do for each host.',
  );
}

/** @throws CliError */
function hostsOf({ hosts: file, local, slurm, engine = ENGINE_OPTION.default, threads }: LaunchFlags): readonly Host[] {
  const defaults = { engine, threads };
  checkThreads({ engine, threads: threads ?? 1 });
  const remedy = 'Give --hosts FILE, of which --init writes an example, --slurm, or --local N for workers on this machine.';
  if (file === undefined && local === undefined && !slurm)
    throw new CliError('usage', 'There are no hosts to launch workers on.', remedy);
  return [...(file === undefined ? [] : readHosts(file, defaults)), ...(local === undefined ? [] : [localHost(local, defaults)])];
}

/** @throws CliError `usage` that names the lines that are wrong */
function readHosts(file: string, defaults: HostDefaults): readonly Host[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    const remedy = `Check the path, or write an example with --init --hosts ${shellQuote(file)}.`;
    throw new CliError('usage', `The hosts file ${file} cannot be read: ${complaintOf(cause).message}`, remedy, { cause });
  }
  const { hosts, problems } = parseHosts(text, file, defaults);
  if (problems.length === 0) return hosts;
  const [first, ...more] = problems;
  throw new CliError(
    'usage',
    first.message,
    [first.remedy, ...more.map(({ message, remedy }) => `${message} ${remedy}`)].join('\n'),
  );
}

/** @throws CliError */
function addressOf(given: string | undefined): string {
  if (given === undefined) {
    throw new CliError('usage', 'A launch needs the address of a coordinator.', 'Give ws://HOST:PORT, as the hosts reach it.');
  }
  const { address, token } = targetOf(given);
  if (token === undefined) return address;
  const remedy = `Give ${address.replace(/\/control$/, '')} as the address, and the token in TROUPE_TOKEN.`;
  throw new CliError('usage', 'This link contains the token, and others on this machine can read command lines.', remedy);
}

/** @throws CliError */
async function nodesOf({ withNode, nodeFrom }: LaunchFlags): Promise<NodeSource | undefined> {
  if (!withNode && nodeFrom === undefined) return undefined;
  // Few launches need it, so others need not load it.
  const { findTarballs, NodeSource, ownNode } = await import('../launch/node-source.js');
  if (withNode) return new NodeSource(nodeFrom === undefined ? [] : findTarballs(nodeFrom), ownNode());
  throw new CliError('usage', '--node-from is for --with-node.', 'Give --with-node as well, or leave --node-from out.');
}

/** @throws CliError if workers would have to listen without a certificate, which browsers and workers of a secure run refuse */
function checkListening(address: string, hosts: readonly Host[]): void {
  if (!address.startsWith('wss:')) return;
  const host = hosts.find(({ slots }) => slots.some(({ listen }) => listen !== undefined && listen.tls === undefined));
  if (host === undefined) return;
  throw new CliError(
    'usage',
    `${host.where}: the coordinator has a certificate, so links between workers need one as well.`,
    'Give tls-cert=FILE and tls-key=FILE, which are files on that host, or leave listen out.',
  );
}

/** @throws CliError */
async function tokenOf(shell: Shell): Promise<string> {
  const token = (await askToken(shell)) ?? shell.env.TROUPE_TOKEN;
  if (token) return token;
  throw new CliError('usage', 'Workers need the token of the run.', 'Give it in TROUPE_TOKEN. The coordinator prints it.');
}

/** What a person may not have meant. */
function notesOf(address: string, hosts: readonly Host[], slurm: SlurmPlan | undefined): LaunchEvent[] {
  const { hostname } = new URL(address);
  const isLoopback = /^(localhost|127\..*|\[::1\])$/.test(hostname);
  const hasOthers = slurm !== undefined || hosts.some(({ destination }) => destination !== undefined);
  if (!isLoopback || !hasOthers) return [];
  const text = `${hostname} means each host itself`;
  return [{ event: 'note', text, remedy: 'Give the address by which the hosts reach the coordinator, unless it runs on them.' }];
}

/** The tarball that a person gave, or this copy of Troupe. @throws CliError */
async function readRelease(given: string | undefined, signal: AbortSignal): Promise<ReleaseBytes> {
  // Only hosts need it, so the help need not load it.
  const file = given ?? (await (await import('../release.js')).releaseTarball(signal)).path;
  const bytes = await readFile(file, { signal });
  return { bytes, sha256: createHash('sha256').update(bytes).digest('hex') };
}

function openLogs(folder: string, view: LaunchView): SlotLogs {
  const remedy = 'Workers go on without logs. Free space, or give another folder with --logs.';
  return new SlotLogs(
    folder,
    () => new Date(),
    (error) => {
      view.show({ event: 'note', text: `logs cannot be written: ${complaintOf(error).message}`, remedy });
    },
  );
}

/** The launch as it appears on the terminal, as plain lines, or as JSON. */
class LaunchView {
  readonly #shell: Shell;
  readonly #json: boolean;
  readonly #screen: Screen;
  readonly #isRepeat = createRepeats();
  #board: Board;

  constructor(shell: Shell, slots: readonly string[], json: boolean) {
    this.#shell = shell;
    this.#json = json;
    this.#board = createBoard(slots);
    const style = styleFor(shell.stdout, shell.env);
    this.#screen = new Screen(shell.stdout, {
      line: (width) => renderBoard(this.#board, width, shell.stdout.rows || USUAL_ROWS, style),
      quiet: json || !canRedraw(shell.stdout, shell.env),
    });
  }

  callbacks(): Pick<LaunchOptions, 'onEvent' | 'onStopping'> {
    return {
      onEvent: (event) => this.show(event),
      onStopping: () => {
        if (!this.#json) this.#screen.print('stopping the workers; press Ctrl-C again to end at once');
      },
    };
  }

  show(event: LaunchEvent): void {
    if (this.#json) {
      this.#shell.stdout.write(`${JSON.stringify(event)}\n`);
      return;
    }
    // Hosts and workers write what they like; it must not control the terminal.
    const safe = JSON.parse(JSON.stringify(event), (_key, value: unknown) =>
      typeof value === 'string' ? printableLines(value) : value,
    ) as LaunchEvent;
    this.#board = advanceBoard(this.#board, safe, this.#shell.now());
    const text = this.#textOf(safe);
    if (text !== undefined) this.#screen.print(text);
  }

  close(): void {
    this.#screen.close();
  }

  /** The table shows states; beside it only news that are longer than a row scroll. */
  #textOf(event: LaunchEvent): string | undefined {
    if (this.#isRepeat(event)) return undefined;
    const { stdout, env } = this.#shell;
    const hasTable = canRedraw(stdout, env);
    if (hasTable && event.event === 'state' && event.remedy === undefined && !event.text?.includes('\n')) return undefined;
    return describeEvent(event, styleFor(stdout, env));
  }
}

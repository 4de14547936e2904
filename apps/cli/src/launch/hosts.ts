/** The hosts file of `troupe launch`: which machines, how many workers on each, and how they compute. */
import { describeOption, isOptionValue, type AppOption } from '@troupe/config';
import type { EngineChoice } from '@troupe/engines';
import { ENGINE_OPTION, threadsProblem, WORKER_OPTIONS } from '@troupe/engines/options';
import {
  listenOf,
  listenProblem,
  takePorts,
  type HostsProblem,
  type ListenSettings,
  type SlotListen,
  type TakenPorts,
} from './listening.js';

/** Workers on one host. More of them seldom compute more than one with threads. */
export const MAX_SLOTS = 64;

/** Settings of a line that a worker has as flags. */
const OF_WORKERS: readonly string[] = ['--threads', '--engine', '--listen', '--tls-cert', '--tls-key'];
const FIELDS: readonly AppOption[] = [
  { flag: '--slots', type: 'whole', group: '', help: '', min: 1, max: MAX_SLOTS },
  ...WORKER_OPTIONS.filter(({ flag }) => OF_WORKERS.includes(flag)),
  { flag: '--node', type: 'text', group: '', help: '' },
];

/** One worker of a launch. */
export interface Slot {
  /** "lab-01/2": at the coordinator, in the table, in logs and for the lock on the host. Unique in a launch. */
  readonly name: string;
  readonly engine: EngineChoice;
  /** Absent: the cores of the host, divided among the slots of its line. */
  readonly threads: number | undefined;
  /** Slots that share the cores with this one. */
  readonly sharedBy: number;
  /** False: another slot of the host has the GPU. */
  readonly gpu: boolean;
  /** Where it listens for the other workers, to sum for them; absent: nowhere. */
  readonly listen: SlotListen | undefined;
  readonly env: Readonly<Record<string, string>>;
}

/** A host and the workers that one link to it serves. */
export interface Host {
  /** The name in messages, and the first part of the names of its slots. */
  readonly label: string;
  /** What ssh takes as its destination; undefined: this machine, without ssh. */
  readonly destination: string | undefined;
  /** "hosts.txt, line 3"; undefined for this machine. */
  readonly where: string | undefined;
  /** The node program on the host; undefined: the first one found that is new enough. */
  readonly node: string | undefined;
  readonly slots: readonly Slot[];
}

/** What holds for hosts that do not say otherwise. */
export interface HostDefaults {
  readonly engine: EngineChoice;
  readonly threads: number | undefined;
}

export const EXAMPLE = `# Hosts for "troupe launch": one host a line, by the name that you give to ssh.
#
#   slots=N       workers on the host (default: 1)
#   threads=N     threads of each worker (default: the cores of the host, divided among its workers)
#   engine=NAME   ${ENGINE_OPTION.choices.join(', ')} (default: auto)
#   listen=PORT   let other workers connect, and sum for them; the workers of a line have consecutive ports
#   node=PATH     the node program of the host, if it is not in PATH
#   NAME=VALUE    a variable in the environment of the workers
#
# A host may have several lines: one for its processor, one for its GPU.

lab-01
lab-02                  threads=8
student@lab-03          slots=2 threads=4
ssh://lab-04:2222       engine=native OMP_NUM_THREADS=4
lab-05                  engine=webgpu
`;

/**
 * The hosts of a file.
 * @param file its path, for messages
 * @returns problems, if there are any
 */
export function parseHosts(
  text: string,
  file: string,
  defaults: HostDefaults,
): { readonly hosts: readonly Host[]; readonly problems: readonly HostsProblem[] } {
  const hosts: Host[] = [];
  const problems: HostsProblem[] = [];
  const taken = new Map<string, number>();
  const ports: TakenPorts = new Map();
  for (const [i, line] of text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .entries()) {
    const [destination, ...settings] = line
      .replace(/(^|\s)#.*/, '')
      .split(/\s+/)
      .filter(Boolean);
    if (destination === undefined) continue;
    const where = `${file}, line ${i + 1}`;
    const problem = destinationProblem(destination) ?? settingsProblem(settings);
    const read = problem ?? readSettings(settings, defaults);
    const entry = 'message' in read ? read : (takePorts(labelOf(destination), read, read.slots, where, ports) ?? read);
    if ('message' in entry) problems.push({ ...entry, message: `${where}: ${entry.message}` });
    else hosts.push(hostOf(destination, where, entry, taken));
  }
  if (hosts.length === 0 && problems.length === 0) {
    problems.push({ message: `${file} names no host.`, remedy: 'Write one host a line, by the name that you give to ssh.' });
  }
  return { hosts, problems };
}

/** Workers on this machine. */
export function localHost(workers: number, { engine, threads }: HostDefaults): Host {
  const silent = { listen: undefined, tlsCert: undefined, tlsKey: undefined };
  const line = { slots: workers, engine, threads, node: undefined, env: {}, ...silent };
  return { ...hostOf('local', '', line, new Map()), destination: undefined, where: undefined };
}

interface Line extends ListenSettings {
  readonly slots: number;
  readonly engine: EngineChoice;
  readonly threads: number | undefined;
  readonly node: string | undefined;
  readonly env: Readonly<Record<string, string>>;
}

/** @param taken label -> slots of earlier lines; several lines of a host continue its numbers */
function hostOf(destination: string, where: string, line: Line, taken: Map<string, number>): Host {
  const label = labelOf(destination);
  const before = taken.get(label) ?? 0;
  taken.set(label, before + line.slots);
  const slots = Array.from({ length: line.slots }, (_, i) => ({
    name: `${label}/${before + i + 1}`,
    engine: line.engine,
    threads: line.threads,
    sharedBy: line.slots,
    // With these engines every worker would take the same GPU.
    gpu: i === 0 || !['auto', 'tfjs'].includes(line.engine),
    listen: listenOf(line, i),
    env: line.env,
  }));
  return { label, destination, where, node: line.node, slots };
}

/** "ssh://student@lab-03:2222" -> "lab-03:2222". */
function labelOf(destination: string): string {
  return destination
    .replace(/^ssh:\/\//, '')
    .replace(/^[^@]*@/, '')
    .replace(/\/$/, '');
}

const USER = String.raw`(?:[A-Za-z0-9_][\w.+-]*@)?`;
const NAME = String.raw`(?:[A-Za-z0-9_][\w.-]*|\[[0-9A-Fa-f:.]+\]|[0-9A-Fa-f:.]*::[0-9A-Fa-f:.]*)`;
const DESTINATION = new RegExp(`^${USER}${NAME}$`);
const URL_DESTINATION = new RegExp(`^ssh://${USER}${NAME}(?::\\d{1,5})?/?$`);

/** Nothing passes that ssh or a shell could take for an option or a command. */
function destinationProblem(text: string): HostsProblem | undefined {
  if (DESTINATION.test(text) || URL_DESTINATION.test(text)) return undefined;
  const message = `${text} is not a host.`;
  const [, host, port] = /^([\w.@-]+):(\d{1,5})$/.exec(text) ?? [];
  if (host !== undefined && !host.startsWith('-')) return { message, remedy: `Write the port as ssh://${host}:${port}.` };
  if (/^\w+=/.test(text)) return { message, remedy: `Write the name of the host first: lab-01 ${text}.` };
  return {
    message,
    remedy:
      'Write HOST, USER@HOST or ssh://USER@HOST:PORT, in letters, digits, dots, dashes and underscores; a dash may not be first.',
  };
}

const VARIABLE = /^[A-Z_][A-Z0-9_]*$/;
const SETTINGS =
  'Use slots=N, threads=N, engine=NAME, listen=PORT, node=PATH, or a variable in capitals such as OMP_NUM_THREADS=1.';

function settingsProblem(settings: readonly string[]): HostsProblem | undefined {
  const seen = new Set<string>();
  for (const setting of settings) {
    const [name, value] = splitSetting(setting);
    const problem = settingProblem(setting, name, value);
    if (problem !== undefined) return problem;
    if (seen.has(name)) return { message: `${name} is there twice.`, remedy: 'Leave one of them out.' };
    seen.add(name);
  }
  return undefined;
}

function settingProblem(setting: string, name: string, value: string | undefined): HostsProblem | undefined {
  if (value === undefined) {
    const remedy = /^\d+$/.test(setting) ? `Write slots=${setting} or threads=${setting}.` : SETTINGS;
    return { message: `${setting} is not a setting.`, remedy };
  }
  if (name === 'TROUPE_TOKEN') {
    const remedy = 'Leave it out, and give it to this command in the environment: it reaches the hosts through ssh.';
    return { message: 'The token does not belong in this file, where others may read it.', remedy };
  }
  const option = FIELDS.find(({ flag }) => flag.slice(2) === name);
  if (option === undefined) {
    return VARIABLE.test(name) ? undefined : { message: `${name} is not a setting of a host.`, remedy: SETTINGS };
  }
  if (isOptionValue(option, value)) return undefined;
  return { message: `${setting} is not right.`, remedy: `Give ${name} ${describeOption(option)}.` };
}

/** The settings of a line, which are right each by itself. */
function readSettings(settings: readonly string[], defaults: HostDefaults): Line | HostsProblem {
  const values = new Map(settings.map(splitSetting) as [string, string][]);
  const number = (name: string): number | undefined => (values.has(name) ? Number(values.get(name)) : undefined);
  const engine = (values.get('engine') as EngineChoice | undefined) ?? defaults.engine;
  const threads = number('threads') ?? (values.has('engine') ? undefined : defaults.threads);
  const problem = threads === undefined ? undefined : threadsProblem(engine, threads);
  if (problem !== undefined) {
    const message = `threads=${threads} is for engines that compute on the processor, and engine=${engine} takes one thread.`;
    return { message, remedy: 'Leave threads out, or choose native, wasm or auto.' };
  }
  const slots = number('slots') ?? 1;
  const listening = { listen: values.get('listen'), tlsCert: values.get('tls-cert'), tlsKey: values.get('tls-key') };
  const env = Object.fromEntries([...values].filter(([name]) => VARIABLE.test(name)));
  return listenProblem(listening, slots) ?? { slots, engine, threads, node: values.get('node'), env, ...listening };
}

/** "threads=4" -> ["threads", "4"]; the value is undefined without "=". */
function splitSetting(setting: string): readonly [name: string, value: string | undefined] {
  const at = setting.indexOf('=');
  return at < 0 ? [setting, undefined] : [setting.slice(0, at), setting.slice(at + 1)];
}

/** The flags of a run, one table for `troupe train`, `troupe coordinator` and their help. */
import { FLAG_FIELDS, type RunOption } from './flags.js';
import { ICE_SERVERS_OPTION } from './ice-servers.js';
import { LIMITS } from './limits.js';

/** Who sums the gradients. `auto`: what is faster · `star`: the all-reduce service · `peers`: workers whenever two can. */
export const TOPOLOGIES = ['auto', 'star', 'peers'] as const;
export type Topology = (typeof TOPOLOGIES)[number];

/**
 * The flags that set a field of the training config come from its tables. The others say where a
 * run is stored, who can reach it and how often it reports.
 */
export const RUN_OPTIONS: readonly RunOption[] = [
  {
    flag: '--corpus',
    type: 'text',
    placeholder: 'C',
    default: 'sonnets',
    group: 'Data',
    help: 'text to train on: sonnets (built in), a corpus name (see troupe corpus list), or the path of a text file or of a folder of them; several are separated by commas',
  },
  {
    flag: '--encoding',
    type: 'text',
    placeholder: 'NAME',
    group: 'Data',
    help: 'encoding of the text files, for example gb18030 or windows-1252 (default: UTF-8, or what a byte order mark says)',
  },
  {
    flag: '--init',
    type: 'text',
    placeholder: 'F',
    group: 'Model',
    help: 'start from the weights of this checkpoint, or of the best one in the folder of a run, instead of random ones; the model is then that of the checkpoint, and characters that it does not know start with random weights',
  },
  {
    flag: '--reproducible',
    type: 'switch',
    group: 'Reproducibility',
    help: 'write the same checkpoints, to the last bit, whichever workers join, leave or crash; slower, and every worker computes with the engine wasm',
  },
  ...FLAG_FIELDS.flatMap(({ option }) => option ?? []),
  {
    flag: '--out',
    type: 'text',
    placeholder: 'DIR',
    group: 'Run',
    help: 'folder for checkpoints (default: the next free runs/NNN)',
  },
  {
    flag: '--resume',
    type: 'switch',
    group: 'Run',
    help: 'continue from the last checkpoint in --out (default: the newest run in runs/), with the flags of the run; flags that are given change them, and --no-public, --no-tensorboard, --no-behind-proxy, --no-allreduce, --no-ice-servers, --no-tls-cert and --no-tls-key turn those off',
  },
  {
    flag: '--checkpoint-every',
    scaling: 'count',
    type: 'whole',
    placeholder: 'N',
    default: '200',
    group: 'Run',
    help: 'rounds between checkpoints; 0 = only at the end',
  },
  {
    flag: '--keep',
    type: 'whole',
    placeholder: 'N',
    default: '3',
    group: 'Run',
    help: 'checkpoints to keep, besides the best one',
  },
  {
    flag: '--eval-every',
    scaling: 'count',
    type: 'whole',
    placeholder: 'N',
    default: '100',
    group: 'Run',
    help: 'rounds between validations; 0 = only at the end',
  },
  {
    flag: '--sample-every',
    scaling: 'count',
    type: 'whole',
    placeholder: 'N',
    default: '200',
    group: 'Run',
    help: 'rounds between printed samples; 0 = only at the end',
  },
  {
    flag: '--max-loss',
    type: 'real',
    placeholder: 'X',
    default: '3',
    group: 'Run',
    help: 'stop as diverged when the training loss stays above X times that of guessing, the logarithm of the vocabulary, for 10 rounds, or for 3 local ones of --local-steps; 0 = never',
  },
  {
    flag: '--patience',
    type: 'whole',
    placeholder: 'N',
    default: '0',
    group: 'Run',
    help: 'stop when N validations in a row were not better than the best one; 0 = never',
  },
  {
    flag: '--name',
    type: 'text',
    placeholder: 'TEXT',
    group: 'Run',
    help: 'name of the run on its pages (default: the model and the corpus)',
  },
  {
    flag: '--keep-serving',
    type: 'switch',
    group: 'Run',
    help: 'keep the pages, the playground and the downloads open when the run is finished, until the process is told to stop (default in a terminal)',
  },
  {
    flag: '--exit-when-done',
    type: 'switch',
    group: 'Run',
    help: 'end as soon as the run is finished (default without a terminal, and with --json)',
  },
  { flag: '--organizer', type: 'text', placeholder: 'TEXT', group: 'Run', help: 'who organizes the run; shown to volunteers' },
  {
    flag: '--notify',
    type: 'text',
    placeholder: 'URL',
    group: 'Run',
    help: 'send a short message to this http or https address (Slack, Discord, Mattermost, ntfy.sh or a program; ntfy+https://HOST/TOPIC for another server of ntfy) when the run starts, ends, diverges, waits for workers for a minute, or has a problem that the run doctor sees (default: TROUPE_NOTIFY); it is not stored',
  },
  {
    flag: '--tensorboard',
    type: 'switch',
    negatable: true,
    group: 'Run',
    help: 'also write TensorBoard event files, to the folder tensorboard beside the checkpoints',
  },
  {
    flag: '--host',
    type: 'text',
    placeholder: 'H',
    default: '127.0.0.1',
    group: 'Network',
    help: 'address to listen on; 0.0.0.0 lets other machines join',
  },
  {
    flag: '--port',
    type: 'whole',
    placeholder: 'P',
    default: '7070',
    group: 'Network',
    help: 'port to listen on; 0 = any free port',
  },
  {
    flag: '--token',
    type: 'text',
    placeholder: 'TOKEN',
    group: 'Network',
    help: 'secret that workers need to join; what they compute is trusted (default: TROUPE_TOKEN, or else a random one, printed)',
  },
  {
    flag: '--volunteer-token',
    type: 'text',
    placeholder: 'TOKEN',
    group: 'Network',
    help: 'secret in the link for volunteers; what they compute is audited (default: TROUPE_VOLUNTEER_TOKEN, or else a random one, printed)',
  },
  {
    flag: '--admin-token',
    type: 'text',
    placeholder: 'TOKEN',
    group: 'Network',
    help: 'secret that the dashboard needs to show and control the run (default: TROUPE_ADMIN_TOKEN, or else a random one, printed)',
  },
  {
    flag: '--metrics-token',
    type: 'text',
    placeholder: 'TOKEN',
    group: 'Network',
    help: 'secret that can read /metrics and nothing else, for Prometheus (default: TROUPE_METRICS_TOKEN, or else none)',
  },
  {
    flag: '--access-file',
    type: 'text',
    path: true,
    placeholder: 'FILE',
    default: 'runs/access.json',
    group: 'Network',
    help: 'keys and revocations of the tokens that troupe token makes; the file need not exist, and changes take effect within seconds',
  },
  {
    flag: '--cap-scale',
    type: 'real',
    placeholder: 'X',
    default: '1',
    group: 'Network',
    help: 'multiply what one address or one signed token may have open and may send a minute; 0 = no caps',
  },
  {
    flag: '--public',
    type: 'switch',
    negatable: true,
    group: 'Network',
    help: 'let anyone who can reach the coordinator watch the run without a token, except addresses of workers; control still needs the admin token',
  },
  {
    flag: '--discoverable',
    type: 'switch',
    negatable: true,
    group: 'Network',
    help: 'tell the local network about the run, so that "troupe worker" without an address finds it; tokens are not told',
  },
  {
    flag: '--allow-host',
    type: 'text',
    placeholder: 'NAMES',
    group: 'Network',
    help: 'host names of a proxy in front, separated by commas, for browsers to reach the pages by; localhost, this machine and IP addresses always work',
  },
  {
    flag: '--tls-cert',
    type: 'text',
    path: true,
    negatable: true,
    placeholder: 'FILE',
    group: 'Network',
    help: 'serve https and wss with this certificate (PEM, with its intermediate certificates) and --tls-key; a renewed file is loaded within seconds',
  },
  {
    flag: '--tls-key',
    type: 'text',
    path: true,
    negatable: true,
    placeholder: 'FILE',
    group: 'Network',
    help: 'private key of the certificate (PEM, without a passphrase)',
  },
  {
    flag: '--behind-proxy',
    type: 'switch',
    negatable: true,
    group: 'Network',
    help: 'trust the headers X-Forwarded-For, -Proto and -Host of a proxy in front, and print https:// links with the first name of --allow-host; only safe if nothing but the proxy can connect',
  },
  {
    flag: '--proxy-hops',
    type: 'whole',
    placeholder: 'N',
    default: '1',
    group: 'Network',
    help: 'with --behind-proxy: number of proxies in a row in front; each must append to or set the headers',
  },
  {
    flag: '--path-prefix',
    type: 'text',
    placeholder: 'PATH',
    group: 'Network',
    help: 'path under which a proxy serves the coordinator, such as /troupe; printed links contain it, and the proxy may keep or strip it',
  },
  {
    flag: '--allreduce',
    type: 'text',
    negatable: true,
    placeholder: 'URLS',
    group: 'Network',
    help: 'use the all-reduce service at this address (default: the one inside the coordinator); further addresses, separated by commas, are services that sum a part of the parameters each for the first one. Their secret is in TROUPE_ALLREDUCE_TOKEN, and is no token of the run',
  },
  {
    flag: '--topology',
    type: 'choice',
    placeholder: 'NAME',
    choices: TOPOLOGIES,
    default: 'auto',
    group: 'Network',
    help: 'who sums the gradients: star, the all-reduce service; peers, the workers that have --listen or --webrtc, each a part of the parameters, as soon as two can reach each other; auto, whichever has the shorter rounds, which is tried now and then. The result is the same',
  },
  { ...ICE_SERVERS_OPTION, negatable: true },
  {
    flag: '--reducers',
    type: 'whole',
    placeholder: 'N',
    default: '0',
    group: 'Network',
    help: `threads that sum a part of the parameters each for the all-reduce inside the coordinator, at most ${LIMITS.reducers}; they listen on the N ports after --port, or on any free ones if that is 0. For workers that cannot connect to these ports, such as browsers and those behind a proxy, the coordinator passes on what they send`,
  },
];

/** "--no-public": turns off a flag that the run to resume has. */
export function negated(flag: string): string {
  return flag.replace('--', '--no-');
}

/** Flags that concern one start, and secrets. */
const ONE_START: readonly string[] = [
  ...['--resume', '--out', '--init', '--reproducible', '--keep-serving', '--exit-when-done'],
  ...['--token', '--volunteer-token', '--admin-token', '--metrics-token', '--notify'],
];

/**
 * Flags that describe how a run is stored, reported and reached. A resumed run has them again. The
 * checkpoint holds the training config; secrets are stored nowhere; the rest concerns one start.
 */
export const STORED_OPTIONS: readonly RunOption[] = RUN_OPTIONS.filter(
  ({ flag }) => !ONE_START.includes(flag) && !FLAG_FIELDS.some(({ option }) => option?.flag === flag),
);

/** Flags of fields that a person may change during the run: a resume that gives another value changes it as well. */
export const TUNABLE_OPTIONS: readonly RunOption[] = FLAG_FIELDS.flatMap(({ option, tunable }) =>
  option && tunable ? [option] : [],
);

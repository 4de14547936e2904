/** The flags that choose an engine, and those of `troupe worker`. */
import { JSON_OPTION, LIMITS, tokenOption, type AppOption } from '@troupe/config';
import { MIN_SHARE } from './effort.js';
import { ENGINE_CHOICES, takesThreads, type EngineChoice } from './names.js';

export const ENGINE_OPTION = {
  flag: '--engine',
  type: 'choice',
  placeholder: 'NAME',
  group: 'Engine',
  choices: ENGINE_CHOICES,
  default: 'auto',
  help: `engine that computes: ${ENGINE_CHOICES.join(', ')}; auto measures briefly which is fastest here`,
} as const satisfies AppOption;

export const THREADS_OPTION = {
  flag: '--threads',
  type: 'whole',
  placeholder: 'N',
  group: 'Engine',
  min: 1,
  max: 256,
  default: '1',
  help: 'threads of the engine, which share the streams; saves memory and traffic compared with several workers on one machine',
} as const satisfies AppOption;

export const WORKER_OPTIONS = [
  tokenOption('The coordinator prints it.', LIMITS.tokenLength),
  {
    flag: '--name',
    type: 'text',
    placeholder: 'NAME',
    group: 'Joining',
    help: 'name of this worker at the coordinator (default: the name of the machine)',
  },
  {
    flag: '--credited',
    type: 'switch',
    group: 'Joining',
    help: 'list the name, and what this worker computes, in the credits of the run, for everyone who sees it; without it, the work counts as anonymous there',
  },
  {
    flag: '--team',
    type: 'text',
    placeholder: 'TEAM',
    group: 'Joining',
    help: 'with --credited: a team to list with the name',
  },
  {
    flag: '--listen',
    type: 'text',
    placeholder: '[HOST:]PORT',
    group: 'Network',
    form: { matches: /^(?:[^\s:/]+:|\[[0-9a-fA-F:.]+\]:)?\d{1,5}$/, words: 'a port, or a host and a port such as 10.0.0.5:7080' },
    help: 'listen here for links of other workers, and sum a part of the parameters for them, if the run decides so; without it, this worker only connects to others. Nobody else is let in',
  },
  {
    flag: '--tls-cert',
    type: 'text',
    placeholder: 'FILE',
    group: 'Network',
    help: 'with --listen: certificate (PEM) for the links of other workers; needed when the address of the coordinator begins with wss://',
  },
  {
    flag: '--tls-key',
    type: 'text',
    placeholder: 'FILE',
    group: 'Network',
    help: 'private key of that certificate (PEM, without a passphrase)',
  },
  {
    flag: '--allow-reduce-host',
    type: 'text',
    placeholder: 'HOSTS',
    group: 'Network',
    env: 'TROUPE_ALLOW_REDUCE_HOST',
    help: 'hosts, separated by commas, to which the coordinator may send this worker for the sums although they are nearer to this machine than the coordinator itself: on this machine, or in its private network; * allows any',
  },
  {
    flag: '--webrtc',
    type: 'switch',
    group: 'Network',
    help: 'also exchange gradients with other workers over WebRTC, and sum for them, if the run decides so: for machines that cannot listen, because they are behind a router, and for volunteers who allow direct links',
  },
  ENGINE_OPTION,
  THREADS_OPTION,
  {
    flag: '--no-gpu',
    type: 'switch',
    group: 'Engine',
    help: 'use no GPU with auto or tfjs, for example because another worker on this machine uses it',
  },
  {
    flag: '--share',
    type: 'whole',
    placeholder: 'PERCENT',
    group: 'Lending',
    min: MIN_SHARE * 100,
    max: 100,
    default: '100',
    help: 'share of its threads or its GPU that this worker uses: fewer threads, and rests between gradients',
  },
  {
    flag: '--memory-limit',
    type: 'real',
    placeholder: 'GIB',
    group: 'Lending',
    min: 0.1,
    max: 1_000_000,
    help: 'GiB of memory that a run may need here; one that needs more is not joined (default: what the machine or its container has)',
  },
  {
    flag: '--traffic-limit',
    type: 'text',
    placeholder: 'SIZE',
    group: 'Lending',
    form: { matches: /^\d+(\.\d+)? ?[MGT]B$/i, words: 'a size such as 250MB or 2GB' },
    help: 'send and receive at most this much (250MB, 2GB); then the worker finishes the work under way, leaves, and ends with exit code 5',
  },
  {
    flag: '--rate-limit',
    type: 'real',
    placeholder: 'MBIT',
    group: 'Lending',
    min: 0.1,
    max: 100_000,
    help: 'send at most this many Mbit/s, and receive at most as many; the scheduler gives the worker less to do accordingly, or parks it',
  },
  {
    flag: '--hours',
    type: 'text',
    placeholder: 'HH:MM-HH:MM',
    group: 'Lending',
    form: { matches: /^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$/, words: 'hours such as 22:00-06:30' },
    help: 'hours of the day in which this worker computes, in local time; they may include midnight (22:00-06:30)',
  },
  {
    flag: '--only-when-idle',
    type: 'switch',
    group: 'Lending',
    help: 'pause while other programs use the processor of this machine',
  },
  JSON_OPTION,
] as const satisfies readonly AppOption[];

/** Why this engine cannot use that many threads, as two sentences; undefined if it can. */
export function threadsProblem(
  engine: EngineChoice,
  threads: number,
): { readonly message: string; readonly remedy: string } | undefined {
  if (threads === 1 || takesThreads(engine)) return undefined;
  return {
    message: `--threads ${threads} is for engines that compute on the processor, and --engine ${engine} takes one thread.`,
    remedy: 'Leave --threads out, or choose native, wasm or auto.',
  };
}

/** The settings of a worker: its address, its flags and the environment. */
import os from 'node:os';
import type { EngineChoice } from '@troupe/engines';
import { threadsProblem, WORKER_OPTIONS } from '@troupe/engines/options';
import { joinTarget, parseOptions, positionalsOf, UsageError } from '@troupe/process';
import type { Lending } from './availability.js';
import { parseHours, type Hours } from './hours.js';
import type { Listen } from './peer.js';
import { parseSize, type TrafficSettings } from './traffic.js';

export interface Settings {
  readonly address: string;
  readonly token: string;
  readonly name: string;
  /** Absent: it is listed in no credits. */
  readonly credited: { readonly team: string } | undefined;
  readonly engine: EngineChoice;
  readonly threads: number;
  readonly gpu: boolean;
  /** 0.1 to 1. */
  readonly share: number;
  /** In lower case; "*" allows any. */
  readonly reduceHosts: readonly string[];
  /** GiB that a run may need. Undefined: what the machine has. */
  readonly memoryLimit: number | undefined;
  readonly lending: Lending;
  readonly traffic: TrafficSettings;
  readonly listen: Listen | undefined;
  /** Links to other workers over WebRTC. */
  readonly webrtc: boolean;
  readonly json: boolean;
}

/**
 * The token is that of --token, of the link for volunteers, or of TROUPE_TOKEN, in this order.
 * @throws UsageError
 */
export function readSettings(args: readonly string[], env: Readonly<Record<string, string | undefined>>): Settings {
  const [given, ...more] = positionalsOf(WORKER_OPTIONS, args);
  if (given === undefined || more.length > 0)
    throw new UsageError('A worker needs one address.', 'Give the one that the coordinator prints.');
  const { address, token = env.TROUPE_TOKEN } = joinTarget(given);
  const { values } = parseOptions(WORKER_OPTIONS, args, { ...env, TROUPE_TOKEN: token }, { positionals: true });
  const { '--engine': engine, '--threads': threads } = values;
  const problem = threadsProblem(engine, threads);
  if (problem !== undefined) throw new UsageError(problem.message, problem.remedy);
  return {
    address,
    token: values['--token'],
    name: values['--name'] ?? os.hostname(),
    credited: creditedOf(values['--credited'], values['--team']),
    engine,
    threads,
    gpu: !values['--no-gpu'],
    share: values['--share'] / 100,
    reduceHosts: (values['--allow-reduce-host'] ?? '')
      .toLowerCase()
      .split(',')
      .map((host) => host.trim())
      .filter(Boolean),
    memoryLimit: values['--memory-limit'],
    lending: { hours: hoursOf(values['--hours']), onlyWhenIdle: values['--only-when-idle'] },
    traffic: trafficOf(values),
    listen: listenOf(address, values),
    webrtc: values['--webrtc'],
    json: values['--json'],
  };
}

/** @throws UsageError */
function creditedOf(isCredited: boolean, team: string | undefined): Settings['credited'] {
  if (isCredited) return { team: team ?? '' };
  if (team === undefined) return undefined;
  throw new UsageError('--team is for workers in the credits.', 'Give --credited as well, or leave --team out.');
}

/** @throws UsageError */
function listenOf(
  address: string,
  values: Readonly<Record<'--listen' | '--tls-cert' | '--tls-key', string | undefined>>,
): Listen | undefined {
  const { '--listen': listen, '--tls-cert': cert, '--tls-key': key } = values;
  if ((cert === undefined) !== (key === undefined))
    throw new UsageError('--tls-cert and --tls-key belong together.', 'Give both, or neither.');
  if (listen === undefined) {
    if (cert === undefined) return undefined;
    throw new UsageError(
      '--tls-cert is for workers that listen.',
      'Give --listen as well, or leave --tls-cert and --tls-key out.',
    );
  }
  const [, host, port] = /^(?:(.+):)?(\d+)$/.exec(listen)!;
  if (Number(port) > 65_535) throw new UsageError(`--listen ${listen} names a port above 65535.`, 'Give a port up to 65535.');
  const tls = cert !== undefined && key !== undefined ? { cert, key } : undefined;
  if (tls || !address.startsWith('wss:')) return { host, port: Number(port), tls };
  throw new UsageError(
    'The coordinator has a certificate, so links between workers need one as well.',
    'Give --tls-cert FILE and --tls-key FILE of this machine, or leave --listen out.',
  );
}

/** @throws UsageError */
function trafficOf(values: {
  readonly '--traffic-limit': string | undefined;
  readonly '--rate-limit': number | undefined;
  readonly '--listen': string | undefined;
  readonly '--webrtc': boolean;
}): TrafficSettings {
  const { '--traffic-limit': size, '--rate-limit': rateMbit } = values;
  const limitBytes = size === undefined ? undefined : parseSize(size);
  if (limitBytes === 0)
    throw new UsageError(`--traffic-limit ${size} allows nothing.`, 'Give more, or leave it out for no limit.');
  const isLimited = limitBytes !== undefined || rateMbit !== undefined;
  if (isLimited && (values['--listen'] !== undefined || values['--webrtc']))
    throw new UsageError(
      'A worker that sums for others decides neither how much they send nor how fast.',
      'Leave --listen and --webrtc out, or --traffic-limit and --rate-limit.',
    );
  return { limitBytes, rateMbit };
}

/** @throws UsageError */
function hoursOf(text: string | undefined): Hours | undefined {
  if (text === undefined) return undefined;
  const hours = parseHours(text);
  if (hours !== undefined) return hours;
  throw new UsageError(
    `--hours ${text} ends when it begins.`,
    'Give two different times, or leave --hours out for the whole day.',
  );
}

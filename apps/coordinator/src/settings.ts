/** Flags -> settings. The table of flags is RUN_OPTIONS; what a flag leaves open is filled from its default. */
import { parseArgs } from 'node:util';
import {
  configFromFlags,
  FLAG_FIELDS,
  parseTrainingConfig,
  RUN_OPTIONS,
  valueAt,
  type FlagField,
  type RunOption,
  type TrainingConfig,
} from '@troupe/config';
import { LIMITS } from '@troupe/protocol';

/** Paths of PEM files: of the certificate, with those of the authorities between it and the root, and of its key. */
export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
}

export interface Settings {
  readonly corpus: string;
  readonly host: string;
  readonly port: number;
  /** As given; absent = make one up. */
  readonly token: string | undefined;
  /** What whoever steers must show; absent = make one up. */
  readonly adminToken: string | undefined;
  /** Anyone may look on. */
  readonly public: boolean;
  /** Names of this server besides its own, in lower case. */
  readonly allowedHosts: readonly string[];
  /** Absent = plain http. */
  readonly tls: CertificateFiles | undefined;
  /** Whatever connects is a proxy, whose headers hold. */
  readonly behindProxy: boolean;
  /** Whoever started us will start workers on this machine. */
  readonly localWorkers: boolean;
  /** Of the run, for people. */
  readonly name: string | undefined;
  readonly organizer: string | undefined;
  readonly tensorboard: boolean;
  readonly allreduce: string | undefined;
  /** The secret of that service; absent = the run's token. */
  readonly allreduceToken: string | undefined;
  readonly out: string | undefined;
  readonly resume: boolean;
  readonly checkpointEvery: number;
  readonly keep: number;
  readonly evaluateEvery: number;
  readonly sampleEvery: number;
  readonly json: boolean;
  /** Flags that stood on the command line, "--layers", and their values, "true" for a switch. */
  readonly given: ReadonlyMap<string, string>;
  /** The training config for a vocabulary of that many characters. @throws SettingsError */
  training(vocabulary: number): TrainingConfig;
}

/** Of a name on the pages. */
const MAX_WORDS = 120;

/** A flag that is unknown or has an unusable value, or names a file that is of no use. */
export class SettingsError extends Error {
  override readonly name = 'SettingsError';
  readonly code: string;
  readonly remedy: string;
  constructor(message: string, remedy: string, code = 'bad_flag') {
    super(message);
    this.remedy = remedy;
    this.code = code;
  }
}

/** @throws SettingsError */
export function parseSettings(argv: readonly string[], env: Readonly<Record<string, string | undefined>>): Settings {
  const given = readFlags(argv);
  const text = (flag: string): string | undefined =>
    given.get(flag) ?? RUN_OPTIONS.find((option) => option.flag === flag)?.default;
  const number = (flag: string): number => Number(text(flag));
  return {
    corpus: text('--corpus')!,
    host: text('--host')!,
    port: number('--port'),
    ...tokensFrom(given, env),
    public: given.has('--public'),
    allowedHosts: (text('--allow-host') ?? '')
      .toLowerCase()
      .split(',')
      .map((name) => name.trim())
      .filter(Boolean),
    tls: tlsFrom(given),
    behindProxy: given.has('--behind-proxy'),
    localWorkers: given.has('--local-workers'),
    name: text('--name')?.slice(0, MAX_WORDS),
    organizer: text('--organizer')?.slice(0, MAX_WORDS),
    tensorboard: given.has('--tensorboard'),
    allreduce: text('--allreduce'),
    out: text('--out'),
    resume: given.has('--resume'),
    checkpointEvery: number('--checkpoint-every'),
    keep: number('--keep'),
    evaluateEvery: number('--eval-every'),
    sampleEvery: number('--sample-every'),
    json: given.has('--json'),
    given,
    training: (vocabulary) => {
      checkLeaseStreams(given);
      const config = checkTraining(configFromFlags((flag) => given.get(flag), vocabulary));
      checkForgetBias(config, given);
      return config;
    },
  };
}

type Tokens = Pick<Settings, 'token' | 'adminToken' | 'allreduceToken'>;

/** An empty variable is none: as a token it would let in whoever shows nothing. @throws SettingsError */
function tokensFrom(given: ReadonlyMap<string, string>, env: Readonly<Record<string, string | undefined>>): Tokens {
  const token = checkToken('--token or TROUPE_TOKEN', given.get('--token') ?? env.TROUPE_TOKEN);
  const adminToken = checkToken('--admin-token or TROUPE_ADMIN_TOKEN', given.get('--admin-token') ?? env.TROUPE_ADMIN_TOKEN);
  const allreduceToken = checkToken('TROUPE_ALLREDUCE_TOKEN', env.TROUPE_ALLREDUCE_TOKEN);
  if (token !== undefined && token === adminToken) {
    throw new SettingsError(
      'the token of admins is that of workers, who could then steer the run',
      'Give another --admin-token (or TROUPE_ADMIN_TOKEN), or none: one is made up then.',
    );
  }
  return { token, adminToken, allreduceToken };
}

/** @throws SettingsError when one is given without the other */
function tlsFrom(given: ReadonlyMap<string, string>): CertificateFiles | undefined {
  const [cert, key] = [given.get('--tls-cert'), given.get('--tls-key')];
  if (cert !== undefined && key !== undefined) return { cert, key };
  if (cert === undefined && key === undefined) return undefined;
  const [there, missing] = cert === undefined ? ['--tls-key', '--tls-cert'] : ['--tls-cert', '--tls-key'];
  throw new SettingsError(
    `${there} is given without ${missing}`,
    `Give ${missing} FILE too: https takes a certificate and its key.`,
  );
}

/** It travels in headers and hellos. It is a secret: no message repeats it. */
function checkToken(source: string, token: string | undefined): string | undefined {
  if (!token) return undefined;
  if (token.length <= LIMITS.tokenLength && !/[^\x21-\x7e]/.test(token)) return token;
  throw new SettingsError(
    `${source} is no token: it has a blank or a special character, or is longer than ${LIMITS.tokenLength}`,
    'Take letters, digits and signs of ASCII only, such as what "openssl rand -hex 16" prints.',
  );
}

/** A flag that does nothing would be taken for one that did. */
function checkForgetBias({ model }: TrainingConfig, given: ReadonlyMap<string, string>): void {
  if (model.cell === 'lstm' || !given.has('--forget-bias')) return;
  throw new SettingsError(
    `--forget-bias is for --cell lstm; a cell ${model.cell} has no forget gate`,
    'Leave --forget-bias out, or take --cell lstm.',
  );
}

function checkLeaseStreams(given: ReadonlyMap<string, string>): void {
  const size = given.get('--lease-streams');
  if (size === undefined) return;
  if (!given.has('--reproducible')) {
    throw new SettingsError('--lease-streams is for reproducible runs', 'Add --reproducible, or leave --lease-streams out.');
  }
  if (Number(size) === 0) throw new SettingsError('--lease-streams 0 leaves nothing to lend', 'Give at least 1.');
}

function readFlags(argv: readonly string[]): Map<string, string> {
  const options = Object.fromEntries(
    RUN_OPTIONS.map(({ flag, type }) => [
      flag.slice(2),
      { type: type === 'switch' ? ('boolean' as const) : ('string' as const) },
    ]),
  );
  let values: Record<string, string | boolean | undefined>;
  try {
    values = parseArgs({
      args: [...argv],
      // The second is for the command that starts us, and in no help.
      options: { ...options, json: { type: 'boolean' }, 'local-workers': { type: 'boolean' } },
      strict: true,
      allowPositionals: false,
    }).values;
  } catch (error) {
    throw new SettingsError((error as Error).message.split('. ')[0], 'troupe coordinator --help lists the flags.');
  }
  const given = new Map<string, string>();
  for (const [name, value] of Object.entries(values))
    if (value !== undefined && value !== false) given.set(`--${name}`, String(value));
  for (const option of RUN_OPTIONS) checkValue(option, given.get(option.flag));
  return given;
}

function checkValue(option: RunOption, value: string | undefined): void {
  if (value === undefined) return;
  const { flag, type, choices } = option;
  const wrong = (wanted: string): SettingsError =>
    new SettingsError(
      `${flag} ${value} is not ${wanted}`,
      `Give ${wanted}, say ${flag} ${option.default ?? choices?.[0] ?? '1'}.`,
    );
  if (type === 'whole' && !/^\d+$/.test(value)) throw wrong('a whole number');
  if (type === 'real' && !(value.trim() !== '' && Number.isFinite(Number(value)) && Number(value) >= 0))
    throw wrong('a number of at least 0');
  if (type === 'choice' && !choices!.includes(value)) throw wrong(`one of ${choices!.join(', ')}`);
  if (type === 'text' && value === '') throw wrong('a text');
  if (flag === '--port' && Number(value) > 65_535) throw wrong('a port from 0 to 65535');
}

/** @throws SettingsError naming the flag of the first field that breaks the schema */
export function checkTraining(config: unknown): TrainingConfig {
  const result = parseTrainingConfig(config);
  if (result.ok) return result.config;
  const { field, problem } = result;
  throw new SettingsError(
    `${FLAG_FIELDS.find((each) => each.field === field)?.flag ?? field}: ${problem}`,
    'troupe coordinator --help lists the flags with usual values.',
  );
}

/**
 * The config a run goes on with: the checkpoint's. Only --rounds may be given anew; any other flag that says something else is an
 * error, because the trajectory would no longer be that of one run.
 * @throws SettingsError
 */
export function resumeTraining(stored: TrainingConfig, settings: Settings): TrainingConfig {
  for (const field of FLAG_FIELDS) checkUnchanged(field, stored, settings.given);
  if (settings.given.has('--reproducible') && stored.leaseStreams === 0) throw withoutSwitch('--reproducible');
  const rounds = settings.given.get('--rounds');
  return rounds === undefined ? stored : checkTraining({ ...stored, rounds: Number(rounds) });
}

function checkUnchanged({ field, flag, tunable }: FlagField, stored: TrainingConfig, given: ReadonlyMap<string, string>): void {
  const [then, now] = [valueAt(stored, field), given.get(flag)];
  // Another --corpus is found out by its SHA-256.
  if (now === undefined || flag === '--rounds' || flag === '--corpus') return;
  // A person may have set it since: the run goes on with what its checkpoint says.
  if (tunable && stored.leaseStreams === 0) return;
  const [part] = field.split('.');
  if (then === undefined && (part === 'optimizer' || part === 'schedule'))
    throw notResumed(`${flag} means nothing to the run to resume, which has ${part} ${stored[part].kind}`, flag);
  if (then === undefined || (typeof then === 'number' ? then === Number(now) : String(then) === now)) return;
  if (typeof then === 'boolean') throw withoutSwitch(flag);
  throw notResumed(`${flag} ${now} differs from the run to resume, which has ${String(then)}`, flag);
}

function withoutSwitch(flag: string): SettingsError {
  return notResumed(`the run to resume is without ${flag}`, flag);
}

function notResumed(message: string, flag: string): SettingsError {
  return new SettingsError(
    message,
    `Leave ${flag} out to go on with that run, or start a new one with another --out and without --resume.`,
  );
}

/** Turns the flags of the command line into settings. RUN_OPTIONS declares the flags and their defaults. */
import { parseArgs } from 'node:util';
import {
  configFromFlags,
  FLAG_FIELDS,
  ICE_SERVERS_OPTION,
  negated,
  parseTrainingConfig,
  readIceServers,
  RUN_OPTIONS,
  shellQuote,
  valueAt,
  type IceAccess,
  type RunOption,
  type TrainingConfig,
} from '@troupe/config';
import { isSigned } from '@troupe/access';
import { requireFittingModel } from '@troupe/conductor';
import { isLoopback } from '@troupe/process';
import { LIMITS, type Topology } from '@troupe/protocol';
import { FIRST_NAMES } from './web/path-names.js';
import { isHook } from './notify/hooks.js';

/** Paths of PEM files: the certificate with its intermediate certificates, and its private key. */
export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
}

export interface Settings {
  readonly corpus: string;
  /** Of the text's files. Undefined: UTF-8. */
  readonly encoding: string | undefined;
  /** Checkpoint or folder of the model that a new run starts from. */
  readonly init: string | undefined;
  readonly host: string;
  readonly port: number;
  /** The join token. Undefined: generate one. */
  readonly token: string | undefined;
  /** The token of volunteers. Undefined: generate one. */
  readonly volunteerToken: string | undefined;
  /** The token of admins. Undefined: generate one. */
  readonly adminToken: string | undefined;
  /** The token for /metrics alone. Undefined: there is none. */
  readonly metricsToken: string | undefined;
  /** Keys and revocations of signed tokens. It need not exist. */
  readonly accessFile: string;
  /** Multiplies what one address or signed token may have open and send; 0: there are no caps. */
  readonly capScale: number;
  /** Anyone may watch the run without a token. */
  readonly public: boolean;
  /** Tells the local network about the run. */
  readonly discoverable: boolean;
  /** Additional host names of this server, in lower case. */
  readonly allowedHosts: readonly string[];
  /** Undefined: serve http. */
  readonly tls: CertificateFiles | undefined;
  /** All connections come from a proxy, whose headers are trusted. */
  readonly behindProxy: boolean;
  /** Number of proxies in a row, at least 1. */
  readonly proxyHops: number;
  /** Path under which a proxy serves the coordinator: "" or "/troupe". */
  readonly pathPrefix: string;
  /** The parent process starts workers on this machine. */
  readonly localWorkers: boolean;
  /** Name of the run for people. */
  readonly name: string | undefined;
  readonly organizer: string | undefined;
  /** Where people are told what becomes of the run. Often a secret. Undefined: nowhere. */
  readonly notify: URL | undefined;
  readonly tensorboard: boolean;
  /** Addresses of services: the first decides, the others sum a part of the parameters each. Undefined: the coordinator's own. */
  readonly allreduce: readonly string[] | undefined;
  /** Threads that sum a part of the parameters each for the coordinator's own service. */
  readonly reducers: number;
  /** STUN and TURN servers for workers that exchange gradients over WebRTC. */
  readonly ice: IceAccess | undefined;
  /** Who may sum the gradients. */
  readonly topology: Topology;
  /** The secret of those services. Given if there are any. */
  readonly allreduceToken: string | undefined;
  readonly out: string | undefined;
  readonly resume: boolean;
  readonly keep: number;
  /** See StopRules in libs/conductor. */
  readonly maxLoss: number;
  readonly patience: number;
  readonly json: boolean;
  /** The given flags ("--layers") and their values, "true" for a switch. */
  readonly given: ReadonlyMap<string, string>;
  /**
   * The training config for a vocabulary of this many characters.
   * @param more flags that count where none is given: those of the model of --init
   * @throws SettingsError
   */
  training(vocabulary: number, more?: ReadonlyMap<string, string>): TrainingConfig;
}

/** Of a name on the pages. */
const MAX_WORDS = 120;

/** A flag is unknown, has an unusable value, or names an unusable file. */
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

type Environment = Readonly<Record<string, string | undefined>>;

/** @throws SettingsError */
export function parseSettings(argv: readonly string[], env: Environment): Settings {
  return settingsOf(readFlags(argv), env);
}

/** @param given see Settings.given @throws SettingsError */
export function settingsOf(given: ReadonlyMap<string, string>, env: Environment): Settings {
  const text = (flag: string): string | undefined =>
    given.get(flag) ?? RUN_OPTIONS.find((option) => option.flag === flag)?.default;
  const number = (flag: string): number => Number(text(flag));
  checkReducers(number('--reducers'), given);
  checkWhenDone(given);
  return {
    corpus: text('--corpus')!,
    encoding: text('--encoding'),
    init: text('--init'),
    host: text('--host')!,
    port: given.has('--any-port') && !given.has('--port') ? 0 : number('--port'),
    ...checkedTokens(given, env, text('--host')!),
    accessFile: text('--access-file')!,
    capScale: number('--cap-scale'),
    public: given.has('--public'),
    discoverable: given.has('--discoverable'),
    allowedHosts: (text('--allow-host') ?? '')
      .toLowerCase()
      .split(',')
      .map((name) => name.trim())
      .filter(Boolean),
    tls: tlsFrom(given),
    behindProxy: given.has('--behind-proxy'),
    proxyHops: Math.max(1, number('--proxy-hops')),
    pathPrefix: pathPrefixFrom(text('--path-prefix') ?? ''),
    localWorkers: given.has('--local-workers'),
    name: text('--name')?.slice(0, MAX_WORDS),
    organizer: text('--organizer')?.slice(0, MAX_WORDS),
    notify: notifyFrom(given.get('--notify') ?? (env.TROUPE_NOTIFY || undefined)),
    tensorboard: given.has('--tensorboard'),
    allreduce: servicesFrom(text('--allreduce')),
    topology: text('--topology') as Topology,
    reducers: number('--reducers'),
    ice: iceFrom(given, env),
    out: text('--out'),
    resume: given.has('--resume'),
    keep: number('--keep'),
    maxLoss: number('--max-loss'),
    patience: number('--patience'),
    json: given.has('--json'),
    given,
    training: (vocabulary, more) => {
      checkLeaseStreams(given);
      const config = checkTraining(configFromFlags((flag) => given.get(flag) ?? more?.get(flag), vocabulary));
      checkForgetBias(config, given);
      return config;
    },
  };
}

type Tokens = Pick<Settings, 'token' | 'volunteerToken' | 'adminToken' | 'metricsToken' | 'allreduceToken'>;

/** Where a person gives each. */
const TOKEN_SOURCES: Readonly<Record<keyof Tokens, string>> = {
  token: '--token or TROUPE_TOKEN',
  volunteerToken: '--volunteer-token or TROUPE_VOLUNTEER_TOKEN',
  adminToken: '--admin-token or TROUPE_ADMIN_TOKEN',
  metricsToken: '--metrics-token or TROUPE_METRICS_TOKEN',
  allreduceToken: 'TROUPE_ALLREDUCE_TOKEN',
};

/** An empty variable counts as unset: as a token it would admit peers without one. @throws SettingsError */
function tokensFrom(given: ReadonlyMap<string, string>, env: Environment): Tokens {
  const token = checkToken(TOKEN_SOURCES.token, given.get('--token') ?? env.TROUPE_TOKEN);
  const adminToken = checkToken(TOKEN_SOURCES.adminToken, given.get('--admin-token') ?? env.TROUPE_ADMIN_TOKEN);
  const metricsToken = checkToken(TOKEN_SOURCES.metricsToken, given.get('--metrics-token') ?? env.TROUPE_METRICS_TOKEN);
  const volunteerToken = checkToken(TOKEN_SOURCES.volunteerToken, given.get('--volunteer-token') ?? env.TROUPE_VOLUNTEER_TOKEN);
  const allreduceToken = checkToken(TOKEN_SOURCES.allreduceToken, env.TROUPE_ALLREDUCE_TOKEN);
  if (token !== undefined && token === adminToken) {
    throw new SettingsError(
      'the token of admins equals the token of workers, who could then control the run',
      'Give another --admin-token (or TROUPE_ADMIN_TOKEN), or none: then one is generated.',
    );
  }
  if (volunteerToken !== undefined && [token, adminToken, metricsToken].includes(volunteerToken)) {
    throw new SettingsError(
      'the token of volunteers equals another token, so volunteers could do more than compute audited leases',
      'Give another --volunteer-token (or TROUPE_VOLUNTEER_TOKEN), or none: then one is generated.',
    );
  }
  if (metricsToken !== undefined && [token, adminToken].includes(metricsToken)) {
    throw new SettingsError(
      'the token for metrics equals another token, so a reader of metrics could do more',
      'Give another --metrics-token (or TROUPE_METRICS_TOKEN), or none.',
    );
  }
  return { token, volunteerToken, adminToken, metricsToken, allreduceToken };
}

/** @throws SettingsError also for tokens that are unfit for what the run is open to */
function checkedTokens(given: ReadonlyMap<string, string>, env: Environment, host: string): Tokens {
  const tokens = tokensFrom(given, env);
  if (given.has('--allreduce')) requireServiceSecret(tokens);
  if (isLoopback(host) && !given.has('--behind-proxy')) return tokens;
  for (const [name, token] of Object.entries(tokens)) {
    if (token === undefined || token.length >= LIMITS.shortestOpenToken) continue;
    throw new SettingsError(
      `${TOKEN_SOURCES[name as keyof Tokens]} has ${token.length} characters, and other machines could guess it`,
      `Use one of at least ${LIMITS.shortestOpenToken}, for example the output of "openssl rand -hex 16"; or leave it out, and one is made up.`,
    );
  }
  return tokens;
}

/**
 * This secret lets a client decide which contributions count, so it must not be a token of workers, volunteers or viewers.
 * @throws SettingsError
 */
export function requireServiceSecret({ allreduceToken, ...others }: Tokens): void {
  if (allreduceToken === undefined) {
    throw new SettingsError(
      '--allreduce needs the secret of the service',
      'Give it as TROUPE_ALLREDUCE_TOKEN=SECRET in the environment; "troupe allreduce" prints it when it starts.',
    );
  }
  if (!Object.values(others).includes(allreduceToken)) return;
  throw new SettingsError(
    'TROUPE_ALLREDUCE_TOKEN equals a token of the run, and everyone who has that one could then stop the run at the all-reduce service',
    'Start "troupe allreduce" with another secret, for example the output of "openssl rand -hex 16", and give the same here.',
  );
}

/**
 * @returns "" for the root, otherwise "/troupe" without a slash at the end
 * @throws SettingsError also for a path that could be the run's own: behind a proxy that strips the
 * prefix, nobody could tell which is meant
 */
function pathPrefixFrom(text: string): string {
  const prefix = text.replace(/^\/*/, '/').replace(/\/+$/, '');
  const first = prefix.split('/')[1] ?? '';
  if (FIRST_NAMES.includes(first)) {
    throw new SettingsError(
      `--path-prefix ${text} begins with /${first}, which is a path of the coordinator itself`,
      'Serve it under another path, such as --path-prefix /troupe, and change the proxy alike.',
    );
  }
  if (/^(\/[\w-]+)*$/.test(prefix)) return prefix;
  throw new SettingsError(
    `--path-prefix ${text} is not a path of letters, digits, "-" and "_"`,
    'Give the path under which the proxy serves the coordinator, such as --path-prefix /troupe.',
  );
}

/** Its path is often a secret, so no message repeats it. @throws SettingsError */
function notifyFrom(text: string | undefined): URL | undefined {
  if (text === undefined) return undefined;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !isHook(url)) {
    throw new SettingsError(
      'the address of --notify or TROUPE_NOTIFY does not begin with http://, https:// or, with a topic, ntfy+https://',
      "Write it in quotes, such as --notify 'https://ntfy.sh/my-runs' or 'ntfy+https://push.example.org/my-runs'.",
    );
  }
  if (url.username === '' && url.password === '') return url;
  throw new SettingsError(
    'the address of --notify or TROUPE_NOTIFY holds a name or a password, which is not sent',
    'Use an address that needs none, such as the webhook of a chat.',
  );
}

/** @throws SettingsError if only one of both is given */
function tlsFrom(given: ReadonlyMap<string, string>): CertificateFiles | undefined {
  const [cert, key] = [given.get('--tls-cert'), given.get('--tls-key')];
  if (cert !== undefined && key !== undefined) return { cert, key };
  if (cert === undefined && key === undefined) return undefined;
  const [there, missing] = cert === undefined ? ['--tls-key', '--tls-cert'] : ['--tls-cert', '--tls-key'];
  throw new SettingsError(
    `${there} is given without ${missing}`,
    `Give ${missing} FILE too: https needs a certificate and its key.`,
  );
}

/** @throws SettingsError that names the first wrong address */
function servicesFrom(text: string | undefined): readonly string[] | undefined {
  if (text === undefined) return undefined;
  const addresses = text.split(',').map((address) => address.trim());
  const known = new Set<string>();
  for (const address of addresses) {
    const { host, pathname } = serviceAddress(address);
    if (known.has(host + pathname))
      throw new SettingsError(`--allreduce names ${shown(address)} twice`, 'Name each all-reduce service once.');
    known.add(host + pathname);
  }
  if (addresses.length <= 1 + LIMITS.reducers) return addresses;
  const many = `--allreduce names ${addresses.length} services`;
  throw new SettingsError(many, `Name one that decides and at most ${LIMITS.reducers} that sum.`);
}

/** @throws SettingsError */
function serviceAddress(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url && /^wss?:$/.test(url.protocol) && url.hash === '' && text.length <= LIMITS.addressLength) return url;
  throw new SettingsError(
    `--allreduce: ${text === '' ? 'one address is empty' : `${shown(text)} is not the address of a service`}`,
    'Write each as ws://HOST:PORT or wss://HOST:PORT, separated by commas.',
  );
}

/** An address without its password, which no message repeats. */
function shown(address: string): string {
  return address.replace(/\/\/[^/]*@/, '//...@');
}

/** @throws SettingsError if reducers would have no effect, or if workers would reach them without the protection of TLS */
function checkReducers(reducers: number, given: ReadonlyMap<string, string>): void {
  if (reducers === 0) return;
  if (reducers > LIMITS.reducers)
    throw new SettingsError(`--reducers ${reducers} is too many`, `Give a number up to ${LIMITS.reducers}.`);
  if (given.has('--allreduce')) {
    throw new SettingsError(
      '--reducers is for the all-reduce inside the coordinator, and --allreduce names another one',
      'Give --reducers 0, and further services instead: --allreduce URL,URL. Or start "troupe allreduce" with --reducers.',
    );
  }
  if (!given.has('--tls-cert')) return;
  throw new SettingsError(
    '--reducers listen without TLS, and --tls-cert asks for it',
    'Give --reducers 0. Or start "troupe allreduce" services, each behind a proxy with https, and name them: --allreduce wss://HOST,wss://HOST.',
  );
}

/** @throws SettingsError */
function checkWhenDone(given: ReadonlyMap<string, string>): void {
  if (!given.has('--keep-serving') || !given.has('--exit-when-done')) return;
  throw new SettingsError('--keep-serving and --exit-when-done exclude each other', 'Give one of them.');
}

/** @throws SettingsError */
function iceFrom(given: ReadonlyMap<string, string>, env: Environment): IceAccess | undefined {
  const { flag } = ICE_SERVERS_OPTION;
  const text = given.get(flag);
  if (text !== undefined && given.has('--allreduce')) {
    throw new SettingsError(
      `${flag} is for the all-reduce inside the coordinator, and --allreduce names another one`,
      `Give ${flag} to "troupe allreduce" instead, and leave it out here.`,
    );
  }
  const result = readIceServers(text, env.TROUPE_TURN_SECRET);
  if (result.ok) return result.ice;
  throw new SettingsError(result.message.replace(/\.$/, ''), result.remedy);
}

/** Tokens are sent in headers and hellos. They are secret, so no message repeats one. */
function checkToken(source: string, token: string | undefined): string | undefined {
  if (!token) return undefined;
  if (isSigned(token)) {
    throw new SettingsError(
      `${source} is a signed token, which is for workers and viewers: as a secret of the run it could neither expire nor be revoked`,
      'Leave it out, and the coordinator makes a secret up. Or use another one, for example the output of "openssl rand -hex 16".',
    );
  }
  if (token.length <= LIMITS.tokenLength && !/[^\x21-\x7e]/.test(token)) return token;
  throw new SettingsError(
    `${source} is not a valid token: it has a space or a special character, or is longer than ${LIMITS.tokenLength} characters`,
    'Use only ASCII letters, digits and punctuation, for example the output of "openssl rand -hex 16".',
  );
}

/** Refuses a flag without effect, because users would think that it has one. */
function checkForgetBias({ model }: TrainingConfig, given: ReadonlyMap<string, string>): void {
  if (model.cell === 'lstm' || !given.has('--forget-bias')) return;
  throw new SettingsError(
    `--forget-bias is for --cell lstm; a cell ${model.cell} has no forget gate`,
    'Leave --forget-bias out, or use --cell lstm.',
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

/** @throws SettingsError that names the flag as it is called now */
function checkFormerNames(argv: readonly string[]): void {
  for (const { flag, former } of RUN_OPTIONS) {
    const at = former === undefined ? -1 : argv.findIndex((text) => text === former || text.startsWith(`${former}=`));
    if (at < 0) continue;
    const value = argv[at] === former ? (argv[at + 1] ?? '') : argv[at].slice(argv[at].indexOf('=') + 1);
    throw new SettingsError(`the flag ${former} is called ${flag} now`, `Give ${flag} ${shellQuote(value)} instead.`);
  }
}

function readFlags(argv: readonly string[]): Map<string, string> {
  checkFormerNames(argv);
  const options = Object.fromEntries(
    RUN_OPTIONS.flatMap(({ flag, type, negatable }) => {
      const kind = { type: type === 'switch' ? ('boolean' as const) : ('string' as const) };
      const off = { type: 'boolean' as const };
      const names = [[flag.slice(2), kind] as const];
      return negatable ? [...names, [negated(flag).slice(2), off] as const] : names;
    }),
  );
  let values: Record<string, string | boolean | undefined>;
  try {
    values = parseArgs({
      args: [...argv],
      // Only the command line passes the last three. No help mentions them.
      options: {
        ...options,
        json: { type: 'boolean' },
        'local-workers': { type: 'boolean' },
        'any-port': { type: 'boolean' },
        linger: { type: 'boolean' },
      },
      strict: true,
      allowPositionals: false,
    }).values;
  } catch (error) {
    throw new SettingsError((error as Error).message.split('. ')[0], 'The help of the command (--help) lists the flags.');
  }
  const given = new Map<string, string>();
  for (const [name, value] of Object.entries(values))
    if (value !== undefined && value !== false) given.set(`--${name}`, String(value));
  for (const option of RUN_OPTIONS) checkValue(option, given.get(option.flag));
  return given;
}

/** @throws SettingsError */
export function checkValue(option: RunOption, value: string | undefined): void {
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

/** @throws SettingsError that names the flag of the first wrong field, ModelTooLarge */
export function checkTraining(config: unknown): TrainingConfig {
  const result = parseTrainingConfig(config);
  if (result.ok) {
    requireFittingModel(result.config);
    return result.config;
  }
  const { field, problem } = result;
  const flag = FLAG_FIELDS.find((each) => each.field === field)?.flag ?? field;
  const value = valueAt(config as TrainingConfig, field);
  throw new SettingsError(
    `${flag} ${problem}${typeof value === 'object' ? '' : `; it is ${String(value)}`}.`,
    `Give ${flag} another value. The help of the command (--help) shows usual ones.`,
  );
}

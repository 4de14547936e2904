/** A coordinator in a Node process: sockets, disk and a thread for side jobs around a conductor. */
import { randomBytes } from 'node:crypto';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { createStarCollective, createStarService, type StarOptions } from '@troupe/collective/star';
import { createConductor, isReproducible, type Conductor, type ConductorOptions } from '@troupe/conductor';
import { LIMITS } from '@troupe/protocol';
import type { Listener } from '@troupe/transport';
import { createMemoryPair } from '@troupe/transport/memory';
import { attachWebSocket, connectWebSocket, listenHttp, type AttachOptions } from '@troupe/transport/websocket';
import { createCheckpointWriter } from './checkpoints.js';
import { createGradientFlows } from './gradient-flows.js';
import { addressesOf, isEverywhere, isLoopback, type Site } from './server/addresses.js';
import { watchCertificate, type Certificate } from './server/certificate.js';
import { prepare, type Preparation } from './preparation.js';
import { createBoard, type Board } from './record/board.js';
import { openHistory } from './record/history-file.js';
import { createPastRuns } from './record/past-runs.js';
import { createTensorBoard } from './record/tensorboard.js';
import { ofOthers, withoutFloods, type Report } from './reporter.js';
import type { Settings } from './settings.js';
import { createSideThread, type SideThread } from './side-jobs.js';
import { createApi } from './web/api.js';
import { createWebServer, loadPages, type WebServer, type Routes } from './server/server.js';
import { createAuth } from './web/auth.js';
import { createLiveLink } from './web/live.js';
import { createMetrics } from './web/metrics.js';
import { createPlayground } from './web/playground.js';
import { joinLink, runView } from './web/views.js';
import { createForwarded } from './server/forwarded.js';

/** Between two looks at the files of the certificate. */
const CERTIFICATE_MS = 5_000;
const DAY_MS = 86_400_000;
/** From when on the end of a certificate is warned of. */
const SOON_DAYS = 7;

export interface CoordinatorOptions {
  readonly settings: Settings;
  readonly env: NodeJS.ProcessEnv;
  readonly report: Report;
  /** Aborted: save and stop. */
  readonly signal: AbortSignal;
}

/** Runs one training run to its end. @throws what makes it impossible: SettingsError, CorpusError, TransportError, RunDiverged ... */
export async function runCoordinator(options: CoordinatorOptions): Promise<void> {
  const { settings, env, signal } = options;
  const prepared = await prepare(settings, env, signal);
  const { config, split } = prepared.training;
  const recorded = await openRecord(options, prepared);
  const { report } = recorded;
  for (const warning of prepared.warnings) {
    report({ event: 'note', level: 'warn', text: `a newer checkpoint is damaged and was passed over: ${warning.message}` });
  }
  const side = createSideThread({
    model: config.model,
    validation: split.validation,
    window: config.window,
    reproducible: isReproducible(config),
  });
  const server = createWebServer(recorded.troubles, prepared.certificate);
  const over = new AbortController();
  try {
    await serveRun({ settings, server, ...recorded, prepared, side, signal, over: over.signal });
  } finally {
    over.abort(new Error('the run is over'));
    await side.close();
    server.close();
    await recorded.board.close();
  }
}

/** What the run tells goes to its record and to whoever started us. */
async function openRecord(
  { settings, report: tell }: CoordinatorOptions,
  { training, folder, resumedFrom }: Preparation,
): Promise<Pick<RunParts, 'board' | 'report' | 'troubles'>> {
  const failed = (what: string) => (error: Error) =>
    tell({
      event: 'note',
      level: 'warn',
      text: `${what} cannot be kept on disk: ${error.message}`,
      remedy: 'Training goes on without.',
    });
  const resumedAt = resumedFrom === undefined ? undefined : training.round;
  const { history, file } = await openHistory(folder, resumedAt, failed('the history of the run'));
  const now = (): number => Date.now();
  const board = createBoard({
    runId: training.runId,
    name: settings.name,
    history,
    file,
    tensorboard: settings.tensorboard
      ? createTensorBoard(folder, training.round, () => now() / 1000, failed('figures for TensorBoard'))
      : undefined,
    best: training.history.best,
    checkpoint: resumedFrom === undefined ? undefined : { round: training.round, path: resumedFrom },
    now,
  });
  const record: Report = (event) => {
    tell(event);
    try {
      board.note(event);
    } catch (error) {
      // A record that fails is no reason to fail.
      failed('the record of the run')(error as Error);
    }
  };
  const sinceStartMs = (): number => performance.now();
  return { board, report: withoutFloods(record, sinceStartMs), troubles: ofOthers(record, sinceStartMs) };
}

interface RunParts {
  readonly settings: Settings;
  readonly server: WebServer;
  readonly report: Report;
  /** What goes wrong with the links and requests of others. */
  readonly troubles: Report;
  readonly board: Board;
  readonly prepared: Preparation;
  readonly side: SideThread;
  readonly signal: AbortSignal;
  /** Aborts when the run is over, however it ended. */
  readonly over: AbortSignal;
}

interface Secrets {
  readonly token: string;
  readonly adminToken: string;
}

async function serveRun(parts: RunParts): Promise<void> {
  const { settings, server, troubles, over } = parts;
  const token = settings.token ?? secret(12);
  const adminToken = settings.adminToken ?? secret(18);
  const control = attachWebSocket(server.links, '/control', linkOptions(settings));
  const conductor = await createConductor(conductorOptions(parts, token));
  try {
    const pages = await openPages(parts, conductor, { token, adminToken });
    await listen(parts, { token, adminToken });
    announceStart(parts);
    server.open(pages);
    serveAll(control, (link) => conductor.serve(link), troubles, over);
    await conductor.conduct(parts.signal);
  } finally {
    conductor.close();
  }
}

/** Links of workers; a ban and a log are about the worker, not about the proxy that it came through. */
function linkOptions({ behindProxy }: Settings): AttachOptions {
  const { forwardedFor } = createForwarded(behindProxy);
  return { frameBytes: LIMITS.frameBytes, clientAddress: forwardedFor };
}

/** Opens the port, and says how to get in. */
async function listen(parts: RunParts, { token, adminToken }: Secrets): Promise<void> {
  const { settings, server, report, prepared } = parts;
  const host = await openPort(server.server, settings.host, settings.port, report);
  const { here, outside } = addressesOf(siteOf(parts));
  const scheme = server.certificate ? 'wss' : 'ws';
  report({
    event: 'listening',
    address: `${scheme}://${host}`,
    joinCommand: `npx troupe worker ${outside.replace(/^http/, 'ws')} --token ${token}`,
    runId: prepared.training.runId,
    out: prepared.folder,
    dashboard: `${here}/#admin=${encodeURIComponent(adminToken)}`,
    volunteer: joinLink(outside, token),
    ...(await localPort(parts)),
  });
  tellOfSecurity(parts);
  keepCertificate(parts);
}

/** A door that fails later, for want of file handles say, is told of and goes on. */
async function openPort(server: Server, host: string, port: number, report: Report): Promise<string> {
  const address = await listenHttp(server, host, port);
  server.on('error', ({ message }) => report({ event: 'note', level: 'warn', text: `the server failed: ${message}` }));
  return address;
}

/**
 * A certificate is good for the names that other machines use, and may be signed by nobody whom Node knows; to encrypt takes time of the
 * cores that compute. Workers that are started with us come in by a plain door on the loopback, which no other machine reaches.
 */
async function localPort({ settings, server, report }: RunParts): Promise<{ readonly localAddress?: string }> {
  if (!settings.localWorkers || !server.certificate) return {};
  return { localAddress: `ws://${await openPort(server.local, '127.0.0.1', 0, report)}` };
}

function siteOf({ settings, server }: RunParts): Site {
  const { port } = server.server.address() as AddressInfo;
  const host = settings.host.includes(':') ? `[${settings.host}]` : settings.host;
  const { behindProxy, allowedHosts } = settings;
  return { host: `${host}:${port}`, certificate: server.certificate, behindProxy, allowedHosts };
}

/** What whoever runs this cannot see from here: what browsers on other machines will make of it. */
function tellOfSecurity({ settings: { host, behindProxy, allowedHosts }, server: { certificate }, report }: RunParts): void {
  const tell = (text: string, level: 'info' | 'warn' = 'info'): void => report({ event: 'note', level, text });
  if (certificate) tellOfExpiry(certificate, report);
  if (behindProxy && !allowedHosts.some((name) => name !== '*')) {
    tell(
      'the links above are not those of the proxy: give its name with --allow-host NAME, and browsers get in by it as well',
      'warn',
    );
  }
  if (behindProxy && !isLoopback(host)) {
    tell(
      'whoever reaches this port without the proxy can claim any address and any name: --host 127.0.0.1 keeps them off',
      'warn',
    );
  }
  if (certificate && isLoopback(host)) tell('it listens for this machine only: --host 0.0.0.0 lets others in');
  if (certificate || behindProxy || isLoopback(host)) return;
  tell(
    'browsers on other machines will compute on one core and without GPU, as they keep the rest for https: give --tls-cert and ' +
      '--tls-key, or put a proxy in front (--behind-proxy)',
  );
}

/** While there is time to renew it, and from then on. */
function tellOfExpiry({ expires }: Certificate, report: Report): void {
  const leftMs = expires.getTime() - Date.now();
  if (leftMs > SOON_DAYS * DAY_MS) return;
  const text = `the certificate ${leftMs > 0 ? 'expires' : 'has expired'} on ${expires.toISOString()}`;
  const remedy =
    'Renew it: the new one is taken up as soon as it is in its place. Browsers and workers turn an expired one down.';
  report({ event: 'note', level: 'warn', text, remedy });
}

async function watchExpiry({ server, report, over }: RunParts): Promise<void> {
  for (;;) {
    await sleep(DAY_MS, undefined, { signal: over, ref: false });
    if (server.certificate) tellOfExpiry(server.certificate, report);
  }
}

function keepCertificate(parts: RunParts): void {
  const { settings, server, report, over } = parts;
  const { tls } = settings;
  if (!tls || !server.certificate) return;
  const watching = watchCertificate(tls, server.certificate, {
    everyMs: CERTIFICATE_MS,
    signal: over,
    onRenewed(certificate) {
      server.renew(certificate);
      report({
        event: 'note',
        level: 'info',
        text: `the certificate was renewed; it expires on ${certificate.expires.toISOString()}`,
      });
      tellOfExpiry(certificate, report);
    },
    onBroken({ message, remedy }) {
      report({
        event: 'note',
        level: 'warn',
        text: `the certificate was changed, and the one before is kept: ${message}`,
        remedy,
      });
    },
  });
  Promise.all([watching, watchExpiry(parts)]).catch((error: Error) => {
    if (!over.aborted)
      report({ event: 'note', level: 'warn', text: `the certificate is not watched any more: ${error.message}` });
  });
}

async function openPages(parts: RunParts, conductor: Conductor, { token, adminToken }: Secrets): Promise<Routes> {
  const { settings, server, board, troubles, side, over, prepared } = parts;
  const { training, folder } = prepared;
  const { allowedHosts } = settings;
  const forwarded = createForwarded(settings.behindProxy);
  const certified = (): readonly string[] => server.certificate?.names ?? [];
  const auth = createAuth({ token, adminToken, public: settings.public, allowedHosts, certified, forwarded });
  const { runId, layout, config } = training;
  const outside = (): string | undefined => (isEverywhere(settings.host) ? addressesOf(siteOf(parts)).outside : undefined);
  const { organizer } = settings;
  const source = { conductor, board, runId, parameters: layout.size, organizer, token, forwarded, outside };
  const live = createLiveLink({
    history: board.history,
    admit: (given) => auth.admit(given, 'read'),
    view: (access, request) => runView(source, access, request),
    nowMs: () => performance.now(),
    forwarded,
    onFailed: ({ message }) => troubles({ event: 'note', level: 'warn', text: `a dashboard was let go: ${message}` }),
  });
  const roundCharacters = config.streams * config.window;
  const api = createApi({
    ...source,
    auth,
    report: troubles,
    over,
    reproducible: isReproducible(config),
    metrics: createMetrics({ conductor, board, roundCharacters, runId, viewers: () => live.viewers }),
    playground: createPlayground({
      vocabulary: training.vocabulary,
      side,
      parameters: () => training.replica.parameters,
      round: () => conductor.shell.round,
      newSeed: () => randomBytes(4).readUInt32LE(),
    }),
    pastRuns: createPastRuns(folder, () => performance.now()),
  });
  watchGradientFlow(parts);
  return { auth, api, live, ...(await loadPages()) };
}

function watchGradientFlow({ prepared: { training }, side, board, report, over }: RunParts): void {
  const failed = ({ message }: Error): void => {
    if (!over.aborted) report({ event: 'note', level: 'warn', text: `the gradient flow was left out: ${message}` });
  };
  const flows = createGradientFlows(training, side, (flow) => board.noteFlow(flow), failed);
  board.watch((entry) => {
    if (entry.type === 'round') flows.onRound(entry.point.round);
  });
}

function conductorOptions(parts: RunParts, token: string): ConductorOptions {
  const { settings, report, prepared, side } = parts;
  const embedded = settings.allreduce === undefined;
  const reduceToken = embedded ? secret(24) : (settings.allreduceToken ?? token);
  return {
    training: prepared.training,
    cadences: { ...settings, evaluateEvery: prepared.evaluateEvery },
    token,
    reduceToken,
    reduceAddress: settings.allreduce ?? '/reduce',
    bestPath: prepared.bestPath,
    side,
    writer: createCheckpointWriter(prepared.folder, settings.keep, {
      onSaved: (round, path, best) => report({ event: 'checkpoint', round, path, best }),
      onFailed: ({ message, remedy }) => report({ event: 'note', level: 'warn', text: message, ...(remedy ? { remedy } : {}) }),
    }),
    ports: {
      nowMs: () => performance.now(),
      sleep: (ms, until) => sleep(ms, undefined, { signal: until }),
      deadline: (ms) => AbortSignal.timeout(ms),
      timestamp: () => new Date().toISOString(),
      secret,
      collective: createStarCollective({
        connect: embedded ? embedReduce(parts, reduceToken) : (address, signal) => connectWebSocket(address, { signal }),
      }),
      report,
    },
  };
}

function secret(bytes: number): string {
  return randomBytes(bytes).toString('base64url');
}

/** An all-reduce in this process, reached over a memory link; workers reach it over WebSockets, and nobody sees the difference. */
function embedReduce({ settings, server, troubles, over }: RunParts, token: string): StarOptions['connect'] {
  const service = createStarService({
    token,
    deadline: (ms) => AbortSignal.timeout(ms),
    log: ({ level, text }) => {
      if (level === 'warn') troubles({ event: 'note', level, text });
    },
  });
  const listener = attachWebSocket(server.links, '/reduce', linkOptions(settings));
  serveAll(listener, (link) => service.serve(link, over), troubles, over);
  return () => {
    const [inside, outside] = createMemoryPair(['coordinator', 'all-reduce']);
    void service.serve(outside, over);
    return Promise.resolve(inside);
  };
}

/** Hands every incoming link to `serve` until the listener closes. */
function serveAll(listener: Listener, serve: Conductor['serve'], report: Report, signal: AbortSignal): void {
  const failed = (error: unknown): void =>
    report({ event: 'note', level: 'warn', text: `a link failed: ${(error as Error).message}` });
  const close = (): void => void listener.close('the run is over').catch(failed);
  signal.addEventListener('abort', close, { once: true });
  const loop = async (): Promise<void> => {
    for (;;) {
      const link = await listener.accept(signal);
      serve(link).catch(failed);
    }
  };
  loop().catch((error: unknown) => {
    if (!signal.aborted) failed(error);
  });
}

function announceStart({ prepared: { training }, report }: RunParts): void {
  const { round, config, layout, corpus, split } = training;
  report({
    event: 'started',
    round,
    config,
    parameters: layout.size,
    corpus: { name: corpus.name, characters: corpus.characters, train: split.train.length, validation: split.validation.length },
  });
}

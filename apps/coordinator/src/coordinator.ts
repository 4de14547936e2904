/** A coordinator in a Node process: sockets, disk and a thread for side jobs around a conductor. */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { createStarService } from '@troupe/collective/star';
import { createConductor, isReproducible, type Conductor, type ConductorOptions } from '@troupe/conductor';
import { LIMITS } from '@troupe/protocol';
import type { Connection, Listener } from '@troupe/transport';
import { createMemoryPair } from '@troupe/transport/memory';
import { attachWebSocket, connectWebSocket, listenHttp } from '@troupe/transport/websocket';
import { createCheckpointWriter } from './checkpoints.js';
import { createGradientFlows } from './gradient-flows.js';
import { prepare, type Preparation } from './preparation.js';
import { createBoard, type Board } from './record/board.js';
import { openHistory } from './record/history-file.js';
import { createPastRuns } from './record/past-runs.js';
import { createTensorBoard } from './record/tensorboard.js';
import { withoutFloods, type Report } from './reporter.js';
import type { Settings } from './settings.js';
import { createSideThread, type SideThread } from './side-jobs.js';
import { createApi } from './web/api.js';
import { createFrontDoor, loadPages, type FrontDoor, type Rooms } from './web/front-door.js';
import { createGate } from './web/gate.js';
import { createLiveLink } from './web/live.js';
import { createMetrics } from './web/metrics.js';
import { createPlayground } from './web/playground.js';
import { joinLink, lanAddress, runView } from './web/views.js';

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
  const door = createFrontDoor(report);
  const over = new AbortController();
  try {
    await serveRun({ settings, door, report, board: recorded.board, prepared, side, signal, over: over.signal });
  } finally {
    over.abort(new Error('the run is over'));
    await side.close();
    door.close();
    await recorded.board.close();
  }
}

/** What the run tells goes to its record and to whoever started us. */
async function openRecord(
  { settings, report: tell }: CoordinatorOptions,
  { training, folder, resumedFrom }: Preparation,
): Promise<{ readonly board: Board; readonly report: Report }> {
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
  return { board, report: withoutFloods(record, () => performance.now()) };
}

interface RunParts {
  readonly settings: Settings;
  readonly door: FrontDoor;
  readonly report: Report;
  readonly board: Board;
  readonly prepared: Preparation;
  readonly side: SideThread;
  readonly signal: AbortSignal;
  /** Aborts when the run is over, however it ended. */
  readonly over: AbortSignal;
}

async function serveRun(parts: RunParts): Promise<void> {
  const { settings, door, report, prepared, over } = parts;
  const token = settings.token ?? secret(12);
  const adminToken = settings.adminToken ?? secret(18);
  const control = attachWebSocket(door.links, '/control', { frameBytes: LIMITS.frameBytes });
  const conductor = await createConductor(conductorOptions(parts, token));
  try {
    const pages = await openPages(parts, conductor, { token, adminToken });
    const host = await listenHttp(door.server, settings.host, settings.port);
    door.server.on('error', ({ message }) => report({ event: 'note', level: 'warn', text: `the server failed: ${message}` }));
    const joinCommand = `npx troupe worker ws://${host.replace('0.0.0.0', 'THIS-MACHINE')} --token ${token}`;
    const links = { dashboard: dashboardLink(host, adminToken), volunteer: joinLink(`http://${outsideName(host)}`, token) };
    const { folder, training } = prepared;
    report({ event: 'listening', address: `ws://${host}`, joinCommand, runId: training.runId, out: folder, ...links });
    announceStart(parts);
    door.open(pages);
    serveAll(control, (link) => conductor.serve(link), report, over);
    await conductor.conduct(parts.signal);
  } finally {
    conductor.close();
  }
}

interface Secrets {
  readonly token: string;
  readonly adminToken: string;
}

async function openPages(parts: RunParts, conductor: Conductor, { token, adminToken }: Secrets): Promise<Rooms> {
  const { settings, board, report, side, over, prepared } = parts;
  const { training, folder } = prepared;
  const gate = createGate({ token, adminToken, public: settings.public, allowedHosts: settings.allowedHosts });
  const { runId, layout, config } = training;
  const everywhere = ['0.0.0.0', '::'].includes(settings.host);
  const source = { conductor, board, runId, parameters: layout.size, organizer: settings.organizer, token, everywhere };
  const live = createLiveLink({
    history: board.history,
    admit: (given) => gate.admit(given, 'read'),
    view: (access, request) => runView(source, access, request),
    nowMs: () => performance.now(),
    onFailed: ({ message }) => report({ event: 'note', level: 'warn', text: `a dashboard was let go: ${message}` }),
  });
  const roundCharacters = config.streams * config.window;
  const api = createApi({
    ...source,
    gate,
    report,
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
  return { gate, api, live, ...(await loadPages()) };
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

/** For this machine's own browser. */
function dashboardLink(host: string, adminToken: string): string {
  return `http://${host.replace(/^(0\.0\.0\.0|\[::\])/, '127.0.0.1')}/#admin=${encodeURIComponent(adminToken)}`;
}

/** "all interfaces" is no address to connect to. */
function outsideName(host: string): string {
  return host.replace(/^(0\.0\.0\.0|\[::\])/, lanAddress() ?? 'THIS-MACHINE');
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
      connectReduce: embedded
        ? embedReduce(parts, reduceToken)
        : () => connectWebSocket(settings.allreduce!, { signal: parts.over }),
      report,
    },
  };
}

function secret(bytes: number): string {
  return randomBytes(bytes).toString('base64url');
}

/** An all-reduce in this process, reached over a memory link; workers reach it over WebSockets, and nobody sees the difference. */
function embedReduce({ door, report, over }: RunParts, token: string): () => Promise<Connection> {
  const service = createStarService({
    token,
    deadline: (ms) => AbortSignal.timeout(ms),
    log: ({ level, text }) => {
      if (level === 'warn') report({ event: 'note', level, text });
    },
  });
  const listener = attachWebSocket(door.links, '/reduce', { frameBytes: LIMITS.frameBytes });
  serveAll(listener, (link) => service.serve(link, over), report, over);
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

/** Puts a run together: sockets, all-reduce, run core, side jobs and checkpoints, from the first listener to the last goodbye. */
import { randomBytes } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import { createStarService, hostReduce, type ReduceHost } from '@troupe/collective/star';
import { LIMITS } from '@troupe/protocol';
import { createRunState, type RunInput, type RunSettings } from '@troupe/run';
import type { Connection, Listener } from '@troupe/transport';
import { createMemoryPair } from '@troupe/transport/memory';
import { attachWebSocket, connectWebSocket, listenHttp } from '@troupe/transport/websocket';
import { createCheckpointWriter } from './checkpoints.js';
import { createControlDoor, type ControlDoor } from './control-door.js';
import { createFollowUps } from './follow-ups.js';
import { prepare, takeCheckpoint, type Preparation } from './preparation.js';
import { openReduceLink, type ReduceLink } from './reduce-link.js';
import type { Report } from './reporter.js';
import { createRunShell, type Ending } from './run-shell.js';
import type { Settings } from './settings.js';
import { createSideJobs, type SideJobs } from './side-jobs.js';
import { createStatusPage } from './status-page.js';

const TICK_MS = 250;
const GOODBYE_MS = 3_000;

export interface CoordinatorOptions {
  readonly settings: Settings;
  readonly env: NodeJS.ProcessEnv;
  readonly report: Report;
  /** Aborted: save and stop. */
  readonly signal: AbortSignal;
}

/** The loss or the gradient overflowed. */
export class RunDiverged extends Error {
  override readonly name = 'RunDiverged';
  readonly code = 'diverged';
  readonly remedy: string;
  constructor(reason: string, folder: string) {
    super(`the run has diverged: ${reason}`);
    this.remedy = `Start anew with a lower --lr or a --clip; the checkpoints of before stand in ${folder}.`;
  }
}

/** Runs one training run to its end. @throws what makes it impossible: SettingsError, CorpusError, TransportError, RunDiverged ... */
export async function runCoordinator(options: CoordinatorOptions): Promise<void> {
  const { settings, env, signal } = options;
  const page = createStatusPage(options.report);
  const { report } = page;
  const prepared = await prepare(settings, env, signal);
  for (const warning of prepared.warnings) {
    report({ event: 'note', level: 'warn', text: `a newer checkpoint is damaged and was passed over: ${warning.message}` });
  }
  const over = new AbortController();
  const server = createServer((request, response) => page.answer(request.url ?? '/', response));
  const token = settings.token ?? randomBytes(12).toString('base64url');
  const reduceSecret =
    settings.allreduce === undefined ? randomBytes(24).toString('base64url') : (settings.allreduceToken ?? token);
  const side = createSideJobs({
    model: prepared.config.model,
    validation: prepared.split.validation,
    window: prepared.config.window,
  });
  try {
    const control = attachWebSocket(server, '/control', { frameBytes: LIMITS.frameBytes });
    const reduce = await openReduceLink(
      reduceConnector({ settings, server, reduceSecret, prepared, report, signal: over.signal }),
      over.signal,
    );
    const address = `ws://${await listenHttp(server, settings.host, settings.port)}`;
    const joinCommand = `npx troupe worker ${address.replace('0.0.0.0', 'THIS-MACHINE')} --token ${token}`;
    report({ event: 'listening', address, joinCommand, runId: prepared.runId, out: prepared.folder });
    try {
      await conduct({ ...options, report, prepared, token, reduce, control, side, over: over.signal });
    } finally {
      reduce.close('the run is over');
    }
  } finally {
    over.abort(new Error('the run is over'));
    await side.close();
    server.close();
    server.closeAllConnections();
  }
}

interface ReduceParts {
  readonly settings: Settings;
  readonly server: Server;
  readonly reduceSecret: string;
  readonly prepared: Preparation;
  readonly report: Report;
  readonly signal: AbortSignal;
}

/** How to reach the all-reduce: in this process over a memory link, or elsewhere over a WebSocket; the run does not see the difference. */
function reduceConnector({ settings, server, reduceSecret, prepared, report, signal }: ReduceParts): () => Promise<ReduceHost> {
  const connect = settings.allreduce === undefined ? embedReduce() : () => connectWebSocket(settings.allreduce!, { signal });
  const { config, runId, layout, stateFloats } = prepared;
  return async () =>
    hostReduce(await connect(), {
      token: reduceSecret,
      runId,
      streams: config.streams,
      window: config.window,
      codec: config.codec,
      tensorSizes: layout.tensors.map((tensor) => tensor.size),
      stateFloats,
      signal,
    });

  function embedReduce(): () => Promise<Connection> {
    const service = createStarService({
      token: reduceSecret,
      deadline: (ms) => AbortSignal.timeout(ms),
      log: ({ level, text }) => {
        if (level === 'warn') report({ event: 'note', level, text });
      },
    });
    serveAll(
      attachWebSocket(server, '/reduce', { frameBytes: LIMITS.frameBytes }),
      (link) => service.serve(link, signal),
      report,
      signal,
    );
    return () => {
      const [inside, outside] = createMemoryPair(['coordinator', 'all-reduce']);
      void service.serve(outside, signal);
      return Promise.resolve(inside);
    };
  }
}

/** Hands every incoming link to `serve` until the listener closes. */
function serveAll(listener: Listener, serve: (link: Connection) => Promise<void>, report: Report, signal: AbortSignal): void {
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

interface Conducted extends CoordinatorOptions {
  readonly prepared: Preparation;
  readonly token: string;
  readonly reduce: ReduceLink;
  readonly control: Listener;
  readonly side: SideJobs;
  readonly over: AbortSignal;
}

/** From the first round to the last. */
async function conduct(parts: Conducted): Promise<void> {
  const { settings, report, signal, prepared, reduce, over } = parts;
  let end: (ending: Ending) => void = () => undefined;
  let fail: (error: unknown) => void = () => undefined;
  const ended = new Promise<Ending>((resolve, reject) => {
    end = resolve;
    fail = reject;
  });
  const writer = createCheckpointWriter(prepared.folder, settings.keep, {
    onSaved: (round, path, best) => report({ event: 'checkpoint', round, path, best }),
    onFailed: ({ message, remedy }) =>
      report({
        event: 'note',
        level: 'warn',
        text: `training goes on without this checkpoint: ${message}`,
        ...(remedy ? { remedy } : {}),
      }),
  });
  const followUps = createFollowUps({
    ...parts,
    writer,
    nowMs,
    timestamp: () => new Date().toISOString(),
    workers: () => shell.workers,
  });
  const shell = createRunShell({
    ...prepared,
    state: createRunState(runSettings(parts), prepared.round),
    nowMs,
    host: reduce,
    door: () => door,
    onUpdate: (update) => followUps.onUpdate(update),
    onDue: (effect) => followUps.onDue(effect),
    onWaiting: (reason) => report({ event: 'waiting', reason }),
    onEnd: (ending) => end(ending),
  });
  const door = openDoor(parts, (input) => shell.feed(input));
  announceStart(parts);
  serveAll(parts.control, (link) => door.serve(link, over), report, over);
  reduce
    .listen({
      onEvent: (event) => shell.onReduce(event),
      onLost: (reason) => report({ event: 'waiting', reason: `the all-reduce service is lost (${reason}); reconnecting` }),
      onRefused: (reason, remedy) => report({ event: 'note', level: 'warn', text: reason, remedy }),
      onRestored: () => shell.feed({ type: 'reopen' }),
    })
    .catch(fail);
  let concluding = false;
  const ticking = setInterval(() => {
    try {
      shell.feed({ type: 'tick' });
    } catch (error) {
      fail(error);
    }
  }, TICK_MS);
  const stop = (): void => shell.feed({ type: 'stop', reason: 'asked to stop' });
  signal.addEventListener('abort', stop, { once: true });
  try {
    shell.feed({ type: 'start' });
    if (signal.aborted) stop();
    const ending = await ended;
    const completed = ending.type === 'finish' && ending.outcome === 'completed';
    await door.dismissAll(completed ? 'the run is complete' : 'the run was stopped', GOODBYE_MS);
    if (ending.type === 'fail') throw new RunDiverged(ending.reason, prepared.folder);
    concluding = true;
    await followUps.conclude(ending.round, ending.outcome, signal);
  } catch (error) {
    // The replica is sound whatever else broke: nothing trained is lost.
    if (!concluding && !(error instanceof RunDiverged)) {
      await door.dismissAll('the coordinator has failed', GOODBYE_MS);
      await writer.save(takeCheckpoint(prepared, shell.round, new Date().toISOString()), false);
    }
    throw error;
  } finally {
    clearInterval(ticking);
    signal.removeEventListener('abort', stop);
    await writer.settled();
  }
}

const nowMs = (): number => performance.now();

function runSettings({ settings, prepared }: Conducted): RunSettings {
  const { config, streams } = prepared;
  return {
    streams: config.streams,
    window: config.window,
    rounds: config.rounds,
    windowsPerPass: streams.roundsPerPass,
    evaluateEvery: settings.evaluateEvery,
    checkpointEvery: settings.checkpointEvery,
    sampleEvery: settings.sampleEvery,
  };
}

function openDoor({ settings, prepared, token, reduce, report }: Conducted, feed: (input: RunInput) => void): ControlDoor {
  const { runId, config, layout } = prepared;
  const door = createControlDoor({
    token,
    layoutHash: layout.hash,
    welcome: { runId, config, layoutHash: layout.hash, reduceAddress: settings.allreduce ?? '/reduce' },
    admit: (workerId, ticket) => reduce.admit(workerId, ticket),
    dismiss: (workerId, reason) => reduce.dismiss(workerId, reason),
    feed,
    onChange: (worker, change, reason) => report({ event: 'worker', ...worker, change, reason, workers: door.workers }),
  });
  return door;
}

function announceStart({ prepared, report }: Conducted): void {
  const { round, config, layout, corpus, split } = prepared;
  report({
    event: 'started',
    round,
    config,
    parameters: layout.size,
    corpus: { name: corpus.name, characters: corpus.characters, train: split.train.length, validation: split.validation.length },
  });
}

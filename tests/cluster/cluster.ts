/**
 * A whole cluster in one process: the conductor, the real worker loop, the star and memory links.
 * No network, no disk.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Checkpoint } from '@troupe/checkpoint';
import { sha256 } from '@troupe/checkpoint/node';
import { createStarCollective, createStarService } from '@troupe/collective/star';
import { modelConfig } from '@troupe/config';
import { createStreams, createVocabulary, splitCorpus } from '@troupe/corpus';
import { createLayout, initialParameters, stateSize, type Engine, type EngineLimits, type ModelConfig } from '@troupe/model';
import { createReferenceEngine } from '@troupe/model/reference';
import { clipScale, createReplica, learningRateAt } from '@troupe/optim';
import type { TrainingConfig } from '@troupe/protocol';
import type { RunEvent } from '@troupe/run';
import { tap, type Connection } from '@troupe/transport';
import { createMemoryPair } from '@troupe/transport/memory';
import { runWorker, type WorkerLog, type WorkerPorts } from '@troupe/worker';
import {
  createBanList,
  createConductor,
  createTokenGate,
  createTraining,
  type ConductorOptions,
  type SideJobs,
  type Training,
} from '@troupe/conductor';

const TEXT = 'When forty winters shall besiege thy brow, and dig deep trenches in thy beauty\n'.repeat(12);
export const TOKEN = 'open sesame';

export const CONFIG: TrainingConfig = {
  model: modelConfig({ layers: 2, hidden: 6, vocabulary: createVocabulary(TEXT).size }),
  streams: 6,
  window: 8,
  rounds: 30,
  seed: 7,
  learningRate: 0.02,
  forgetBias: 1,
  clip: 0.5,
  optimizer: { kind: 'adam', beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0 },
  ema: 0,
  schedule: { kind: 'cosine', warmupRounds: 3, finalFraction: 0.1, decayRounds: 0 },
  codec: 'fp32',
  localSteps: 1,
  tracks: 0,
  outerLearningRate: 0.7,
  outerMomentum: 0.9,
  changedRound: 0,
  changedWindow: 0,
  leaseStreams: 0,
};

const tokens = createVocabulary(TEXT).encode(TEXT);

export interface Ended {
  /** The conductor's last event. */
  readonly ending: RunEvent | undefined;
  readonly failure: unknown;
  readonly losses: readonly number[];
  readonly parameters: Float32Array;
}

export interface Joined {
  readonly logs: WorkerLog[];
  /** Breaks the worker's links, as a crash does. */
  crash(): void;
  /** Asks it to leave. */
  leave(): void;
  /** How its loop ended: 'ended' or an error. */
  readonly done: Promise<unknown>;
}

export type EngineMaker = (config: ModelConfig, limits: EngineLimits) => Engine;

export interface ClusterOptions {
  /** Rounds between validations; 0 = only at the end. */
  readonly evaluateEvery?: number;
  readonly evaluate?: SideJobs['evaluate'];
}

/** Each stream takes so long at least. A model as small as the tests' is computed by one worker alone as fast, and the others are parked. */
const STREAM_MS = 2;

function unhurried(engine: Engine): Engine {
  const compute = engine.gradient.bind(engine);
  engine.gradient = async (batch) => {
    await delay(STREAM_MS * batch.streams);
    return compute(batch);
  };
  return engine;
}

export interface JoinOptions {
  readonly createEngine?: EngineMaker;
  readonly token?: string;
  /** Delays the snapshot and everything after it. */
  readonly holdSnapshotMs?: number;
}

/** Ways to open a link to the coordinator and to the all-reduce service. */
interface Dial {
  control(): Connection;
  reduce(): Connection;
}

export async function createCluster(
  config: TrainingConfig = CONFIG,
  onRound: (round: number) => void = () => undefined,
  options: ClusterOptions = {},
) {
  const over = new AbortController();
  const service = createStarService({
    token: 'secret',
    secret: () => crypto.randomUUID(),
    log: () => undefined,
    deadline: (ms) => AbortSignal.timeout(ms),
  });
  const reduceLink = (): Connection => connectTo((link) => service.serve(link, over.signal));
  const training = trainingOf(config, options);
  const losses: number[] = [];
  const events: RunEvent[] = [];
  const saved: Checkpoint[] = [];
  const report = (event: RunEvent): void => {
    events.push(event);
    if (event.event !== 'round') return;
    losses.push(event.trainLoss);
    onRound(event.round - 1);
  };
  const conductor = await createConductor(conductorOptions(training, options, saved, reduceLink, report), over.signal);
  const controlLink = (): Connection => connectTo((link) => conductor.serve(link));
  const asked = new AbortController();
  let failure: unknown;
  let conducted: Promise<void> = Promise.resolve();
  return {
    service,
    conductor,
    events,
    saved,
    /** Every join, leave and refusal, as "name change: reason". */
    changes: () => events.flatMap((event) => (event.event === 'worker' ? `${event.name} ${event.change}: ${event.reason}` : [])),
    /** How often the run reported that it waits. */
    waits: () => events.filter(({ event }) => event === 'waiting').length,
    controlLink,
    reduceLink,
    start(): void {
      conducted = conductor.conduct(asked.signal).catch((error: unknown) => {
        failure = error;
      });
    },
    /** Stops the run, as Ctrl-C does. */
    stop: () => asked.abort(new Error('asked to stop')),
    /** Resolves when this many workers have reported ready. */
    async ready(workers: number): Promise<void> {
      while (events.filter((event) => event.event === 'worker' && event.change === 'ready').length < workers) await delay(1);
    },
    join: (name: string, join: JoinOptions = {}) => joinWorker({ control: controlLink, reduce: reduceLink }, name, join),
    async finish(): Promise<Ended> {
      await conducted;
      conductor.close();
      const ending = events.findLast(({ event }) => event === 'finished');
      const result = { ending, failure, losses, parameters: training.replica.parameters.slice() };
      over.abort(new Error('over'));
      return result;
    },
  };
}

/** @returns the client's end of a memory link whose other end is served */
function connectTo(serve: (link: Connection) => Promise<void>): Connection {
  const [near, far] = createMemoryPair(['near', 'far']);
  void serve(far);
  return near;
}

function trainingOf(config: TrainingConfig, { evaluateEvery = 0 }: ClusterOptions): Training {
  return createTraining({
    runId: 'run',
    config,
    vocabulary: createVocabulary(TEXT),
    corpus: { name: 'sonnet', sha256: '0'.repeat(64), characters: tokens.length, trainFraction: 1 },
    split: { ...splitCorpus(tokens), train: tokens },
    evaluateEvery,
  });
}

function conductorOptions(
  training: Training,
  { evaluateEvery = 0, evaluate = async () => ({ lossPerChar: 1, tokens: 1 }) }: ClusterOptions,
  saved: Checkpoint[],
  reduceLink: () => Connection,
  report: (event: RunEvent) => void,
): ConductorOptions {
  let secrets = 0;
  return {
    training,
    stopRules: { maxLoss: 3, patience: 0 },
    cadences: { evaluateEvery, checkpointEvery: 0, sampleEvery: 0 },
    gate: createTokenGate(TOKEN),
    bans: createBanList({ now: () => 0 }),
    reduceToken: 'secret',
    reduceAddress: '/reduce',
    side: { pending: 0, evaluate, sample: async () => new Uint16Array(0) },
    writer: {
      place: 'memory',
      holds: async () => true,
      get newest() {
        return saved.length > 0 ? `memory/${saved.length}` : undefined;
      },
      save: async (checkpoint) => `memory/${saved.push(checkpoint)}`,
      offer: (checkpoint) => void saved.push(checkpoint),
      settled: async () => undefined,
    },
    ports: {
      nowMs: () => performance.now(),
      sleep: (ms, signal) => delay(ms, undefined, { signal }),
      deadline: (ms) => AbortSignal.timeout(ms),
      timestamp: () => '2026-01-01T00:00:00.000Z',
      secret: () => `secret-${secrets++}`,
      sha256: (parts) => Buffer.from(sha256(parts), 'hex'),
      collective: createStarCollective({ connect: async () => reduceLink() }),
      report,
    },
  };
}

function joinWorker(dial: Dial, name: string, options: JoinOptions): Joined {
  const stop = new AbortController();
  const links: Connection[] = [];
  const logs: WorkerLog[] = [];
  const noted = (link: Connection): Connection => {
    links.push(link);
    return link;
  };
  const ports: WorkerPorts = {
    async connect() {
      const link = noted(dial.control());
      return options.holdSnapshotMs === undefined ? link : heldBack(link, options.holdSnapshotMs);
    },
    collective: createStarCollective({ connect: async () => noted(dial.reduce()) }),
    createEngine: async (model, limits) => unhurried((options.createEngine ?? createReferenceEngine)(model, limits)),
    nowMs: () => performance.now(),
    // Backoff is shortened; deadlines are not.
    sleep: (ms, signal) => delay(ms > 5_000 ? ms : 5, undefined, { signal }),
    random: () => 0.5,
    sha256: async (bytes) => Buffer.from(sha256(bytes), 'hex'),
    log: (entry) => logs.push(entry),
  };
  const address = 'memory://cluster/control';
  const { token = TOKEN } = options;
  const done = runWorker({ address, token, name, kind: 'node', ports, signal: stop.signal }).then(
    () => 'ended',
    (error: unknown) => error,
  );
  return {
    logs,
    done,
    crash() {
      stop.abort(new Error('crashed'));
      for (const link of links) link.close('crashed');
    },
    leave: () => stop.abort(new Error('leaving')),
  };
}

/** A control link on which the snapshot and everything after it arrives late. */
function heldBack(link: Connection, delayMs: number): Connection {
  let frames = 0;
  // The snapshot is the second message, after the welcome.
  return tap(link, { received: () => (++frames === 2 ? delay(delayMs) : undefined) });
}

/** The same training on one machine without a cluster: the expected trajectory of every cluster. */
export async function trainAlone(config: TrainingConfig = CONFIG): Promise<{ losses: number[]; parameters: Float32Array }> {
  const layout = createLayout(config.model);
  const streams = createStreams(tokens, config);
  const replica = createReplica({ size: layout.size, optimizer: config.optimizer });
  replica.setParameters(initialParameters(config.model, layout, config.seed, config.forgetBias));
  const engine = createReferenceEngine(config.model, { maxStreams: config.streams, maxWindow: config.window });
  let states = new Float32Array(config.streams * stateSize(config.model));
  const everyStream = Uint32Array.from({ length: config.streams }, (_, stream) => stream);
  const losses: number[] = [];
  for (let round = 0; round < config.rounds; round++) {
    if (round % streams.windowsPerPass === 0) states.fill(0);
    const windows = Array.from({ length: config.streams }, (_, stream) => [...streams.streamWindow(stream, round)]);
    engine.setParameters(replica.parameters);
    const result = await engine.gradient({
      streams: config.streams,
      window: config.window,
      tokens: Uint16Array.from(windows.flat()),
      states,
      dropout: { seed: config.seed, round, streams: everyStream },
    });
    const mean = Float64Array.from(result.gradient, (value) => value / result.tokens);
    const scale = clipScale(Math.hypot(...mean), config.clip);
    replica.step(
      Float32Array.from(mean, (value) => value * scale),
      learningRateAt(config.schedule, config.learningRate, round, config.rounds),
    );
    states = result.endStates.slice();
    losses.push(result.lossSum / result.tokens);
  }
  return { losses, parameters: replica.parameters.slice() };
}

/** A whole cluster in one process: the coordinator's shell, the real worker loop, the star and memory links. No network, no disk. */
import { createStarService, hostReduce } from '@troupe/collective/star';
import { createStreams, createVocabulary } from '@troupe/corpus';
import { createLayout, initialParameters, stateSize, type Engine, type EngineLimits, type ModelConfig } from '@troupe/model';
import { createReferenceEngine } from '@troupe/model/reference';
import { clipScale, createReplica, learningRateAt } from '@troupe/optim';
import type { TrainingConfig } from '@troupe/protocol';
import { createRunState } from '@troupe/run';
import type { Connection } from '@troupe/transport';
import { createMemoryPair } from '@troupe/transport/memory';
import { runWorker, type WorkerLog, type WorkerPorts } from '@troupe/worker';
import { createControlDoor } from '../src/control-door.js';
import { createRunShell, type Ending } from '../src/run-shell.js';
import { createStreamStates } from '../src/stream-states.js';

const TEXT = 'When forty winters shall besiege thy brow, and dig deep trenches in thy beauty\n'.repeat(12);
export const TOKEN = 'open sesame';

export const CONFIG: TrainingConfig = {
  model: {
    cell: 'lstm',
    layers: 2,
    hidden: 6,
    vocabulary: createVocabulary(TEXT).size,
    embedding: 0,
    tied: false,
    dropout: 0,
    layerNorm: false,
  },
  streams: 6,
  window: 8,
  rounds: 30,
  seed: 7,
  learningRate: 0.02,
  forgetBias: 1,
  clip: 0.5,
  optimizer: { kind: 'adam', beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0 },
  schedule: { kind: 'cosine', warmupRounds: 3, finalFraction: 0.1 },
  codec: 'fp32',
};

const tokens = createVocabulary(TEXT).encode(TEXT);

export interface Ended {
  readonly ending: Ending;
  readonly losses: readonly number[];
  readonly parameters: Float32Array;
}

export interface Joined {
  readonly logs: WorkerLog[];
  /** Cuts the worker's links, as a crash does. */
  crash(): void;
  /** Asks it to leave. */
  leave(): void;
  /** How its loop ended. */
  readonly done: Promise<unknown>;
}

export type EngineMaker = (config: ModelConfig, limits: EngineLimits) => Engine;

export async function createCluster(config: TrainingConfig = CONFIG, onRound: (round: number) => void = () => undefined) {
  const over = new AbortController();
  const service = createStarService({ token: 'secret', log: () => undefined, deadline: (ms) => AbortSignal.timeout(ms) });
  const dial = (serve: (link: Connection) => Promise<void>): Connection => {
    const [near, far] = createMemoryPair(['near', 'far']);
    void serve(far);
    return near;
  };
  const reduceLink = (): Connection => dial((link) => service.serve(link, over.signal));
  const layout = createLayout(config.model);
  const stateFloats = stateSize(config.model);
  const streams = createStreams(tokens, config);
  const states = createStreamStates(config.streams, stateFloats);
  const replica = createReplica({ size: layout.size, optimizer: config.optimizer });
  replica.setParameters(initialParameters(config.model, layout, config.seed, config.forgetBias));
  const tensorSizes = layout.tensors.map((tensor) => tensor.size);
  const host = await hostReduce(reduceLink(), { ...config, token: 'secret', runId: 'run', tensorSizes, stateFloats });

  const losses: number[] = [];
  const changes: string[] = [];
  const waiters: string[] = [];
  let resolve: (ending: Ending) => void = () => undefined;
  const ended = new Promise<Ending>((done) => {
    resolve = done;
  });
  const shell = createRunShell({
    config,
    state: createRunState(
      {
        streams: config.streams,
        window: config.window,
        rounds: config.rounds,
        windowsPerPass: streams.roundsPerPass,
        evaluateEvery: 0,
        checkpointEvery: 0,
        sampleEvery: 0,
      },
      0,
    ),
    streams,
    states,
    stateFloats,
    replica,
    nowMs: () => performance.now(),
    host,
    door: () => door,
    onUpdate: (update) => {
      losses.push(update.lossSum / update.tokens);
      onRound(update.round);
    },
    onDue: () => undefined,
    onWaiting: (reason) => waiters.push(reason),
    onEnd: (ending) => resolve(ending),
  });
  const door = createControlDoor({
    token: TOKEN,
    layoutHash: layout.hash,
    welcome: { runId: 'run', config, layoutHash: layout.hash, reduceAddress: '/reduce' },
    admit: (workerId, ticket) => host.admit(workerId, ticket),
    dismiss: (workerId, reason) => host.dismiss(workerId, reason),
    feed: (input) => shell.feed(input),
    onChange: ({ name }, change, reason) => changes.push(`${name} ${change}: ${reason}`),
  });
  const pump = async (): Promise<void> => {
    for (;;) shell.onReduce(await host.receive(over.signal));
  };
  pump().catch((error: unknown) => {
    if (!over.signal.aborted) throw error;
  });

  const controlLink = (): Connection => dial((link) => door.serve(link, over.signal));
  return {
    service,
    door,
    shell,
    changes,
    waiters,
    controlLink,
    reduceLink,
    start: () => shell.feed({ type: 'start' }),
    /** When so many workers have said that they are ready. */
    async ready(workers: number): Promise<void> {
      while (changes.filter((change) => change.includes(' ready: ')).length < workers)
        await new Promise((resolve) => setTimeout(resolve, 1));
    },
    join(name: string, options: { createEngine?: EngineMaker; token?: string; holdSnapshotMs?: number } = {}): Joined {
      const stop = new AbortController();
      const links: Connection[] = [];
      const logs: WorkerLog[] = [];
      const ports: WorkerPorts = {
        connect: async (address) => {
          const toReduce = address.endsWith('/reduce');
          const link = toReduce ? reduceLink() : controlLink();
          links.push(link);
          return toReduce || options.holdSnapshotMs === undefined ? link : heldBack(link, options.holdSnapshotMs);
        },
        createEngine: async (model, limits) => (options.createEngine ?? createReferenceEngine)(model, limits),
        nowMs: () => performance.now(),
        sleep: (_, signal) => new Promise((done) => (signal.aborted ? done() : setTimeout(done, 5))),
        random: () => 0.5,
        log: (entry) => logs.push(entry),
      };
      const done = runWorker({
        address: 'memory://cluster/control',
        token: options.token ?? TOKEN,
        name,
        kind: 'node',
        ports,
        signal: stop.signal,
      }).then(
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
    },
    async finish(): Promise<Ended> {
      const ending = await ended;
      await door.dismissAll('the run is complete', 1000);
      const result = { ending, losses, parameters: replica.parameters.slice() };
      over.abort(new Error('over'));
      return result;
    },
  };
}

/** Every frame after the first (the welcome) arrives so much later: the control link of a worker far away. */
function heldBack(link: Connection, delayMs: number): Connection {
  let frames = 0;
  return {
    remote: link.remote,
    closed: link.closed,
    get bufferedBytes() {
      return link.bufferedBytes;
    },
    send: (frame) => link.send(frame),
    drained: (most, signal) => link.drained(most, signal),
    close: (reason) => link.close(reason),
    async receive(signal) {
      const frame = await link.receive(signal);
      // The snapshot is the second message: its head and its chunks are the second frame and those after it.
      if (++frames === 2) await new Promise((resolve) => setTimeout(resolve, delayMs));
      return frame;
    },
  };
}

/** The same training on one machine, without any cluster: what every cluster's trajectory is held against. */
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
    if (streams.wraps(round)) states.fill(0);
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

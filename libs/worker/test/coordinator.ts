/** Surroundings of a worker under test: control messages by hand, the real all-reduce service, and a clock that the test moves. */
import type { CollectiveHost, ReduceCounted, ReduceUpdate } from '@troupe/collective';
import { createStarCollective, createStarService } from '@troupe/collective/star';
import { modelConfig } from '@troupe/config';
import { createLayout, EngineError, initialParameters, stateSize, type Batch, type Engine } from '@troupe/model';
import { createReferenceEngine } from '@troupe/model/reference';
import { createReplica } from '@troupe/optim';
import {
  createChannel,
  encodeLeaseBody,
  LIMITS,
  PROTOCOL_VERSION,
  type Channel,
  type MessageOf,
  type MessageType,
  type TrainingConfig,
} from '@troupe/protocol';
import type { Connection } from '@troupe/transport';
import { createMemoryPair } from '@troupe/transport/memory';
import type { CountedWork } from '../src/counted.js';
import { runWorker, type WorkerLog, type WorkerPorts } from '../src/index.js';

export const CONFIG: TrainingConfig = {
  model: modelConfig({ layers: 2, hidden: 4, vocabulary: 5 }),
  streams: 6,
  leaseStreams: 2,
  window: 3,
  rounds: 9,
  seed: 7,
  learningRate: 0.02,
  forgetBias: 1,
  clip: 0.5,
  optimizer: { kind: 'adam', beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0 },
  ema: 0,
  schedule: { kind: 'constant' },
  codec: 'fp32',
  localSteps: 1,
  tracks: 0,
  outerLearningRate: 0.7,
  outerMomentum: 0.9,
  changedRound: 0,
  changedWindow: 0,
};

/** Time passes only when the test advances it. */
export function createClock() {
  const sleepers = new Set<{ readonly untilMs: number; readonly wake: () => void }>();
  let now = 0;
  return {
    nowMs: () => now,
    sleep(ms: number, signal: AbortSignal): Promise<void> {
      return new Promise((resolve, reject) => {
        const end = (settle: () => void): void => {
          sleepers.delete(sleeper);
          signal.removeEventListener('abort', abort);
          settle();
        };
        const sleeper = { untilMs: now + ms, wake: () => end(resolve) };
        const abort = (): void => end(() => reject(signal.reason as Error));
        signal.addEventListener('abort', abort, { once: true });
        if (signal.aborted) abort();
        else if (ms <= 0) sleeper.wake();
        else sleepers.add(sleeper);
      });
    },
    get sleepers() {
      return sleepers.size;
    },
    /** Lets everything due happen, then advances. */
    async advance(ms: number): Promise<void> {
      await settle();
      now += ms;
      for (const sleeper of [...sleepers]) if (sleeper.untilMs <= now) sleeper.wake();
      await settle();
    },
  };
}

/** Lets everything in flight arrive: memory links and promises, but no timers. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
}

export type EngineMaker = WorkerPorts['createEngine'];

export interface Surroundings {
  readonly config: TrainingConfig;
  readonly createEngine?: EngineMaker;
  readonly knownSpeed?: WorkerPorts['knownSpeed'];
  readonly requireMemory?: WorkerPorts['requireMemory'];
  /** Answers at the address of the all-reduce; absent: the real service. */
  readonly reduce?: (link: Connection) => void;
}

const accepts: readonly MessageType[] = ['hello', 'ready', 'decline', 'resync', 'bye'];
const soon = () => AbortSignal.timeout(5_000);

export async function createSurroundings({ config, createEngine, requireMemory, reduce, knownSpeed }: Surroundings) {
  const { model, streams, window } = config;
  const layout = createLayout(model);
  const stateFloats = stateSize(model);
  const clock = createClock();
  const stop = new AbortController();
  const leave = new AbortController();
  const over = new AbortController();
  const logs: WorkerLog[] = [];
  const countedWork: CountedWork[] = [];
  const links: Connection[] = [];
  let framesRead = 0;
  const service = createStarService({
    token: 's',
    secret: () => crypto.randomUUID(),
    log: () => undefined,
    deadline: (ms) => AbortSignal.timeout(ms),
  });
  const serve = (link: Connection): void => void service.serve(link, over.signal);
  const dial = (answer: (link: Connection) => void): Connection => {
    const [near, far] = createMemoryPair(['near', 'far']);
    answer(far);
    return near;
  };
  const host: CollectiveHost = await createStarCollective({ connect: async () => dial(serve) }).host({
    address: '/reduce',
    token: 's',
    runId: 'run',
    owner: 'it',
    streams,
    window,
    codec: config.codec,
    ordered: true,
    tensorSizes: layout.tensors.map(({ size }) => size),
    stateFloats,
    signal: soon(),
  });
  const replica = createReplica({ size: layout.size, optimizer: config.optimizer });
  replica.setParameters(initialParameters(model, layout, config.seed, config.forgetBias));

  const ports: WorkerPorts = {
    connect: async () => {
      const near = dial((link) => void links.push(link));
      const { receive } = near;
      return Object.assign(near, { receive: (until?: AbortSignal) => receive(until).finally(() => void framesRead++) });
    },
    collective: createStarCollective({ connect: async () => dial(reduce ?? serve) }),
    ...(requireMemory && { requireMemory }),
    createEngine: createEngine ?? (async (of, limits) => createReferenceEngine(of, limits)),
    nowMs: clock.nowMs,
    sleep: clock.sleep,
    random: () => 1,
    log: (entry) => void logs.push(entry),
    counted: (work) => void countedWork.push(work),
    ...(knownSpeed && { knownSpeed }),
  };
  const ended = runWorker({
    address: 'memory://host/control',
    token: 't',
    name: 'worker',
    kind: 'node',
    ports,
    signal: stop.signal,
    leave: leave.signal,
  }).then(
    (end) => (end === 'left' && leave.signal.aborted ? 'left' : 'ended'),
    (error: unknown) => error,
  );

  let workers = 0;
  const surroundings = {
    clock,
    logs,
    countedWork,
    links,
    host,
    replica,
    ended,
    leave,
    /** Frames that the worker has taken from its control links. */
    get framesRead() {
      return framesRead;
    },
    /** The newest control link, as the coordinator has it. */
    control: () => createChannel(links.at(-1)!, { accepts, bodyBytes: () => 0 }),
    async expectMessage<K extends MessageType>(channel: Channel, type: K): Promise<MessageOf<K>> {
      const { message } = await channel.receive(soon());
      if (message.type !== type) throw new Error(`the worker sent ${JSON.stringify(message)}`);
      return message;
    },
    async welcome(channel: Channel): Promise<void> {
      await surroundings.expectMessage(channel, 'hello');
      const workerId = `w${++workers}`;
      host.admit(workerId, 'ticket');
      channel.send({
        type: 'welcome',
        version: PROTOCOL_VERSION,
        runId: 'run',
        workerId,
        config,
        layoutHash: layout.hash,
        reduceAddress: '/reduce',
        ticket: 'ticket',
      });
    },
    snapshotMessage: (round: number): MessageOf<'snapshot'> => ({ type: 'snapshot', round, parametersDigest: replica.digest() }),
    async sendSnapshot(channel: Channel, round: number): Promise<MessageOf<'ready'>> {
      await surroundings.expectMessage(channel, 'resync');
      channel.send(surroundings.snapshotMessage(round), replica.snapshot());
      return surroundings.expectMessage(channel, 'ready');
    },
    /** Resolves when the worker is ready to compute `round`. */
    async join(round: number): Promise<Channel> {
      await settle();
      const channel = surroundings.control();
      await surroundings.welcome(channel);
      await surroundings.sendSnapshot(channel, round);
      return channel;
    },
    tokens: (stream: number, round: number): Uint16Array =>
      Uint16Array.from({ length: window + 1 }, (_, i) => (stream * 3 + round * 7 + i * i) % model.vocabulary),
    openRound(round: number): void {
      host.openRound({ round, learningRate: 0.1, clip: 0, parametersDigest: replica.digest() });
    },
    grant: (leaseId: string, round: number, ids: number[]): void =>
      host.grant({ round, leaseId, workerId: `w${workers}`, streams: ids }),
    lend(channel: Channel, leaseId: string, round: number, ids: number[], states: string): void {
      const windows = ids.map((stream) => surroundings.tokens(stream, round));
      const body = encodeLeaseBody(
        { steps: 1, streams: ids.length, window, given: 0, stateFloats },
        { windows, states: [], learningRates: [] },
      );
      channel.send({ type: 'lease', leaseId, round, streams: ids, states, deadlineMs: 1000 }, body);
    },
    /** The next contribution that counts. */
    async nextCounted(): Promise<ReduceCounted> {
      const event = await host.receive(soon());
      if (event.kind !== 'counted') throw new Error(`the service said ${event.kind}`);
      return event;
    },
    async stepped(): Promise<void> {
      const event = await host.receive(soon());
      if (event.kind !== 'update') throw new Error(`the service said ${event.kind}`);
      replica.step((event satisfies ReduceUpdate).parts, event.learningRate);
    },
    /** End states of these streams' window with the coordinator's parameters. */
    async expectedStates(ids: number[], round: number, states: Float32Array): Promise<Float32Array> {
      const engine = createReferenceEngine(model, { maxStreams: ids.length, maxWindow: window });
      engine.setParameters(replica.parameters);
      const tokens = Uint16Array.from(ids.flatMap((stream) => [...surroundings.tokens(stream, round)]));
      return (await engine.evaluate({ streams: ids.length, window, tokens, states })).endStates;
    },
    async end(): Promise<void> {
      stop.abort(new Error('the test is over'));
      over.abort(new Error('the test is over'));
      await ended;
    },
  };
  return surroundings;
}

/** The windows that measure a worker's speed start with the characters 0 and 7. */
const measures = ({ tokens }: Batch, vocabulary: number): boolean => tokens[0] === 0 && tokens[1] === 7 % vocabulary;

/** The reference engine, whose gradients of leases take until `until`. */
export function held(begun: () => void, until: Promise<void>): EngineMaker {
  return async (model, limits) => {
    const engine = createReferenceEngine(model, limits);
    return Object.assign(Object.create(engine) as Engine, {
      async gradient(batch: Batch) {
        if (!measures(batch, model.vocabulary)) {
          begun();
          await until;
        }
        return engine.gradient(batch);
      },
      setParameters: (parameters: Float32Array) => engine.setParameters(parameters),
      dispose: () => engine.dispose(),
    });
  };
}

/** The reference engine, which loses its device at the n-th lease. */
export function lostAt(n: number): EngineMaker {
  let made = 0;
  return async (model, limits) => {
    const engine = createReferenceEngine(model, limits);
    if (made++ > 0) return engine;
    let leases = 0;
    return Object.assign(Object.create(engine) as Engine, {
      gradient: async (batch: Batch) => {
        if (!measures(batch, model.vocabulary) && ++leases === n)
          throw new EngineError('device_lost', 'the device is gone', 'go on with another');
        return engine.gradient(batch);
      },
      setParameters: (parameters: Float32Array) => engine.setParameters(parameters),
      dispose: () => engine.dispose(),
    });
  };
}

export { LIMITS };

/** One life of a worker's link: join, fetch a snapshot, compute leases and apply updates until the run stops or the link breaks. */
import { applyUpdate, copyUpdate, type CollectiveMember, type ReduceResult, type ReduceUpdate } from '@troupe/collective';
import { createLayout, stateSize, type Batch, type Engine, type ParameterLayout } from '@troupe/model';
import { createReplica, snapshotBytes, type Replica } from '@troupe/optim';
import {
  brief,
  createChannel,
  leaseBodyBytes,
  LIMITS,
  PROTOCOL_VERSION,
  ProtocolError,
  receiveWithin,
  type Channel,
  type Message,
  type MessageOf,
  type TrainingConfig,
} from '@troupe/protocol';
import type { Connection } from '@troupe/transport';
import { createEngineSlot, type EngineSlot } from './engine-slot.js';
import { createInbox, type Inbox } from './inbox.js';
import { computeLease, dropoutOf, leaseShape, type HeldStates, type LeaseOrder } from './lease.js';
import { createDeadlines, createExpectation, type Expectation } from './deadlines.js';
import type { WorkerPorts } from './ports.js';

export interface SessionOptions {
  readonly address: string;
  readonly token: string;
  readonly name: string;
  readonly kind: 'node' | 'browser';
  readonly ports: WorkerPorts;
  readonly signal: AbortSignal;
}

/** The coordinator turned this worker down for a reason that trying again will not change. */
export class WorkerRefused extends Error {
  override readonly name = 'WorkerRefused';
  readonly code: string;
  readonly remedy: string;
  constructor(code: string, message: string, remedy: string) {
    super(message);
    this.code = code;
    this.remedy = remedy;
  }
}

/**
 * Updates kept while a snapshot is on its way; each as large as the parameters. Of a small model more are kept: its rounds take a
 * millisecond, and a worker that loses one while it waits would ask for snapshots for ever.
 */
const MISSED_UPDATES = 16;
const MISSED_BYTES = 64 * 1024 ** 2;

type Welcome = MessageOf<'welcome'>;
type Deadline = (ms: number) => AbortSignal;
type ReduceEvent = ReduceUpdate | ReduceResult;
type Item =
  | { readonly from: 'control'; readonly message: Message; readonly body: Uint8Array }
  | { readonly from: 'reduce'; readonly event: ReduceEvent };

/** How long a session that fails still listens for the reason. A coordinator that sends a worker away closes both links at once. */
const LAST_WORD_MS = 500;

/** What a worker has computed in its life: it outlives sessions. */
export interface Ledger {
  characters: number;
}

/** With what the coordinator told this worker to go. */
export type Farewell = Pick<MessageOf<'stop'>, 'code' | 'reason'>;

/** @throws what broke the session. */
export async function runSession(options: SessionOptions, ledger: Ledger): Promise<Farewell> {
  const { signal, ports } = options;
  signal.throwIfAborted();
  const link = await ports.connect(options.address, signal);
  const session = new AbortController();
  const stop = (): void => session.abort(signal.reason);
  signal.addEventListener('abort', stop, { once: true });
  try {
    return await attend(options, ledger, link, createDeadlines(ports, session.signal));
  } finally {
    link.close(signal.aborted ? 'the worker was asked to stop' : 'the session is over');
    signal.removeEventListener('abort', stop);
    session.abort(new Error('the session is over'));
  }
}

async function attend(options: SessionOptions, ledger: Ledger, link: Connection, deadline: Deadline): Promise<Farewell> {
  let bodies: (message: Message) => number = () => 0;
  const control = createChannel(link, {
    accepts: ['welcome', 'refuse', 'snapshot', 'lease', 'stop'],
    bodyBytes: (message) => bodies(message),
    deadline,
  });
  const welcome = await greet(control, options, deadline);
  const { model, optimizer } = welcome.config;
  const layout = createLayout(model);
  const replica = createReplica({ size: layout.size, optimizer });
  const snapshot = createExpectation(
    () => deadline(LIMITS.snapshotMs),
    () => control.close('the snapshot that was asked for does not come'),
  );
  bodies = (message) => {
    if (message.type === 'snapshot') snapshot.met();
    return bodyBytes(message, welcome.config, layout);
  };
  return workFor({ options, ledger, control, deadline, welcome, layout, replica, snapshot });
}

async function greet(control: Channel, { token, name, kind, signal }: SessionOptions, deadline: Deadline): Promise<Welcome> {
  control.send({ type: 'hello', versions: [PROTOCOL_VERSION], token, name: name.slice(0, LIMITS.nameLength), kind });
  const { message } = await receiveWithin(control, { deadline: deadline(LIMITS.answerMs), signal, what: 'a welcome' });
  if (message.type === 'refuse') throw turnedDown(message, 'before the welcome');
  if (message.type === 'stop') throw new WorkerRefused('run_over', message.reason, 'Start a new run, or join another one.');
  if (message.type !== 'welcome') throw unexpected(message);
  return message;
}

/** Refusals that the next try would meet again; all others are of a moment, a full run or a garbled frame. */
const LASTING: ReadonlySet<string> = new Set(['wrong_token', 'run_over', 'layout_mismatch', 'banned']);

function turnedDown({ code, message, remedy }: MessageOf<'refuse'>, when: 'before the welcome' | 'after the welcome'): Error {
  // Once versions are agreed on, a frame of another version is a garbled one.
  const lasting = LASTING.has(code) || (code === 'version_mismatch' && when === 'before the welcome');
  return lasting ? new WorkerRefused(code, message, remedy) : new ProtocolError('internal', message, remedy);
}

function bodyBytes(message: Message, config: TrainingConfig, layout: ParameterLayout): number {
  if (message.type === 'snapshot') return snapshotBytes(layout.size, config.optimizer);
  return message.type === 'lease' ? leaseBodyBytes(leaseShape(message, config)) : 0;
}

/** What a session has once it was welcomed. */
interface Membership {
  readonly options: SessionOptions;
  readonly ledger: Ledger;
  readonly control: Channel;
  readonly deadline: Deadline;
  readonly welcome: Welcome;
  readonly layout: ParameterLayout;
  readonly replica: Replica;
  /** Met as soon as the first frame of a snapshot is there; what follows is watched by the channel. */
  readonly snapshot: Expectation;
}

async function workFor(membership: Membership): Promise<Farewell> {
  const { options, welcome, layout } = membership;
  const { ports } = options;
  if (layout.hash !== welcome.layoutHash) {
    throw new WorkerRefused(
      'layout_mismatch',
      'the coordinator lays parameters out differently',
      'Install the same release of Troupe on both machines.',
    );
  }
  ports.log({ kind: 'welcome', runId: welcome.runId, workerId: welcome.workerId, parameters: layout.size });
  const slot = await openSlot(membership);
  try {
    const member = await joinReduceAs(membership);
    try {
      return await createDuty({ ...membership, member, slot }).serve();
    } finally {
      member.close('the session is over');
    }
  } finally {
    slot.dispose();
  }
}

function openSlot({ options, welcome, replica }: Membership): Promise<EngineSlot> {
  const { ports, signal } = options;
  const { config } = welcome;
  const limits = { maxStreams: mostStreams(config), maxWindow: config.window };
  return createEngineSlot({
    create: (not) => ports.createEngine(config.model, limits, { not, reproducible: config.leaseStreams > 0 }),
    measure: (engine) => measure(engine, config, replica, options),
    onLost: (engine, { message }) => ports.log({ kind: 'engine_lost', engine, reason: message }),
    nowMs: () => ports.nowMs(),
    sleep: (ms, until) => ports.sleep(ms, until),
    signal,
  });
}

/** Of a lease in this run. */
function mostStreams({ leaseStreams, streams }: TrainingConfig): number {
  return leaseStreams > 0 ? leaseStreams : streams;
}

async function joinReduceAs({ options, welcome, layout, deadline }: Membership): Promise<CollectiveMember> {
  const { ports, signal, address } = options;
  const { config, runId, workerId, ticket, reduceAddress } = welcome;
  return ports.collective.join({
    address: resolveAddress(reduceAddress, address),
    runId,
    workerId,
    ticket,
    codec: config.codec,
    tensorSizes: layout.tensors.map((tensor) => tensor.size),
    stateFloats: stateSize(config.model),
    signal,
    deadline,
  });
}

/** "/reduce" means: the host by which the coordinator was reached. */
function resolveAddress(address: string, control: string): string {
  return address.startsWith('/') ? control.replace(/^(\w+:\/\/[^/]+).*$/, `$1${address}`) : address;
}

/** Enough for engines of few threads. */
const FEW_STREAMS = 16;
/** Of fewer, an engine of many threads or a GPU leaves much of itself idle. */
const MANY_STREAMS = 64;
/** When few streams take no longer, many are measured: the worker is to be ready within seconds. */
const CHEAP_MS = 250;

/** One window of some streams, timed. */
async function measure(
  engine: Engine,
  config: TrainingConfig,
  replica: Replica,
  { ports, signal }: SessionOptions,
): Promise<number> {
  engine.setParameters(replica.parameters);
  const timed = async (streams: number): Promise<number> => {
    const batch = sampleBatch(config, streams);
    // Engines may compute for seconds without letting anything else run; between two calls the links get their turn.
    await ports.sleep(0, signal);
    const startMs = ports.nowMs();
    await engine.gradient(batch);
    return ports.nowMs() - startMs;
  };
  // Engines compile and allocate at the first window, and some at the first of so many streams.
  const warm = async (streams: number): Promise<number> => {
    await timed(streams);
    return timed(streams);
  };
  const most = mostStreams(config);
  let streams = Math.min(most, FEW_STREAMS);
  let ms = await warm(streams);
  if (ms <= CHEAP_MS && most > streams) {
    streams = Math.min(most, MANY_STREAMS);
    ms = await warm(streams);
  }
  return (streams * config.window * 1000) / Math.max(ms, 0.1);
}

function sampleBatch(config: TrainingConfig, streams: number): Batch {
  const { window, model } = config;
  const tokens = new Uint16Array(streams * (window + 1)).map((_, i) => (i * 7) % model.vocabulary);
  const numbers = Array.from({ length: streams }, (_, stream) => stream);
  return { streams, window, tokens, states: new Float32Array(streams * stateSize(model)), ...dropoutOf(config, 0, numbers) };
}

interface DutyParts extends Membership {
  readonly member: CollectiveMember;
  readonly slot: EngineSlot;
}

/** The worker's loop proper. It acts on one thing at a time, in the order in which things were heard. */
function createDuty(parts: DutyParts): { serve(): Promise<Farewell> } {
  const { options, ledger, control, member, welcome, slot, replica, snapshot } = parts;
  const { ports, signal } = options;
  const { engine } = slot;
  const held: HeldStates = new Map();
  const context = { config: welcome.config, engine, member, held, nowMs: () => ports.nowMs() };
  /** The round the replica computes next; undefined until the first snapshot and while a new one is awaited. */
  let round: number | undefined;
  let digest = '';
  /** Leases of the next round that arrived before its update. */
  let early: LeaseOrder[] = [];
  /** Copies of updates that overtook the snapshot awaited: they travel on another link. */
  let missed: ReduceUpdate[] = [];
  const mostMissed = Math.max(MISSED_UPDATES, Math.floor(MISSED_BYTES / (4 * parts.layout.size)));
  /** The latest update heard of, applied or not. */
  let heard = -1;
  let farewell: Farewell | undefined;

  return { serve };

  async function serve(): Promise<Farewell> {
    const inbox = createInbox<Item>();
    const listening = new AbortController();
    const stopListening = (): void => listening.abort(signal.reason);
    signal.addEventListener('abort', stopListening, { once: true });
    const pumps = [
      pump(
        () => control.receive(listening.signal),
        inbox,
        ({ message, body }) => {
          if (message.type === 'stop') farewell = { code: message.code, reason: message.reason };
          return { from: 'control', message, body };
        },
      ),
      pump(
        () => member.receive(listening.signal),
        inbox,
        (event) => ({ from: 'reduce', event }),
      ),
    ];
    try {
      askForSnapshot('joining');
      for (;;) {
        const item = await inbox.next();
        const stopped = item.from === 'control' ? await onControl(item.message, item.body) : await onReduce(item.event);
        if (stopped !== undefined) return stopped;
      }
    } catch (error) {
      // Links fail in no particular order, and during a lease nobody reads: that we were told to go may stand behind it.
      inbox.close();
      if (!signal.aborted) await Promise.race([pumps[0], passed(parts.deadline(LAST_WORD_MS))]);
      if (farewell === undefined) throw error;
      return farewell;
    } finally {
      signal.removeEventListener('abort', stopListening);
      if (signal.aborted) sayBye();
      listening.abort(new Error('the session is over'));
      inbox.close();
      await Promise.all(pumps);
    }
  }

  function sayBye(): void {
    try {
      const { reason } = signal as { reason?: unknown };
      control.send({ type: 'bye', reason: brief(reason instanceof Error ? reason.message : 'asked to stop') });
    } catch {
      // The link is gone already: the coordinator knows that we left.
    }
  }

  function askForSnapshot(reason: string): undefined {
    round = undefined;
    early = [];
    missed = [];
    held.clear();
    if (reason !== 'joining') ports.log({ kind: 'resync', reason });
    control.send({ type: 'resync', reason });
    snapshot.begin();
  }

  async function onControl(message: Message, body: Uint8Array): Promise<Farewell | undefined> {
    switch (message.type) {
      case 'stop':
        return farewell;
      case 'refuse':
        throw turnedDown(message, 'after the welcome');
      case 'snapshot':
        return onSnapshot(message, body);
      case 'lease':
        return onLease({ lease: message, body });
      default:
        throw unexpected(message);
    }
  }

  function onSnapshot(message: MessageOf<'snapshot'>, body: Uint8Array): undefined {
    replica.restore(body);
    if (replica.digest() !== message.parametersDigest) {
      throw new ProtocolError(
        'invalid_message',
        'the snapshot does not have the digest it came with',
        'Nothing to do: the worker joins again.',
      );
    }
    held.clear();
    early = [];
    let next = message.round;
    for (const update of missed) {
      if (update.round !== next) continue;
      applyUpdate(replica, update);
      next++;
    }
    missed = [];
    // Updates came that are neither in the snapshot nor kept: this replica would wait for them for ever.
    if (heard >= next) return askForSnapshot(`the snapshot of round ${message.round} came too late`);
    round = next;
    digest = replica.digest();
    engine.setParameters(replica.parameters);
    announceReady(round);
  }

  function announceReady(at: number): void {
    const { name, variant, device } = engine.info;
    const engineName = `${name} ${variant}`.slice(0, LIMITS.nameLength);
    const { charsPerSecond } = slot;
    control.send({
      type: 'ready',
      round: at,
      layoutHash: parts.layout.hash,
      parametersDigest: digest,
      engine: engineName,
      device: device.slice(0, LIMITS.nameLength),
      charsPerSecond,
    });
    ports.log({ kind: 'ready', round: at, engine: engineName, charsPerSecond });
  }

  /** The update of its round came first, on the other link. The coordinator waits to hear of every lease. */
  function sendBack({ lease: { leaseId } }: LeaseOrder, at: number): undefined {
    control.send({ type: 'decline', leaseId, round: at, code: 'no_state', reason: 'its round was over when it came' });
  }

  async function onLease(order: LeaseOrder): Promise<undefined> {
    if (round === undefined) return; // dealt before our resync: taken back by then
    if (order.lease.round < round) return sendBack(order, round);
    if (order.lease.round > round) {
      early.push(order);
      return;
    }
    const outcome = await computeLease(context, order, digest);
    const { leaseId } = order.lease;
    if (outcome.kind === 'declined') {
      control.send({ type: 'decline', leaseId, round, code: outcome.code, reason: outcome.reason });
      if (!slot.lost) ports.log({ kind: 'refused', round, result: outcome.code, reason: outcome.reason });
      else await goOnWithAnotherEngine(slot.lost.message);
      return;
    }
    ledger.characters += outcome.characters;
    ports.log({
      kind: 'computed',
      round,
      streams: order.lease.streams.length,
      computeMs: outcome.computeMs,
      credit: ledger.characters,
    });
  }

  /**
   * The lease was given back, so nobody waits; what comes meanwhile waits in the inbox. Who awaits a snapshot is dealt nothing, least of
   * all at the speed of the engine that is gone, until it says that it is ready: that is when the snapshot's turn has come.
   */
  async function goOnWithAnotherEngine(reason: string): Promise<void> {
    askForSnapshot(brief(`another engine is opened: ${reason}`));
    await snapshot.pausedDuring(() => slot.replace());
  }

  async function onReduce(event: ReduceEvent): Promise<undefined> {
    if (event.kind === 'result') {
      if (event.result !== 'counted')
        ports.log({ kind: 'refused', round: event.round, result: event.result, reason: event.reason });
      return;
    }
    heard = Math.max(heard, event.round);
    if (round === undefined) {
      if (missed.length < mostMissed) missed.push(copyUpdate(event));
      return;
    }
    if (event.round < round) return; // already in the snapshot
    if (event.round > round) {
      askForSnapshot(`the update of round ${round} was missed`);
      return;
    }
    applyUpdate(replica, event);
    digest = replica.digest();
    engine.setParameters(replica.parameters);
    round++;
    const ripe = early.filter(({ lease }) => lease.round === round);
    early = early.filter(({ lease }) => lease.round > round!);
    for (const order of ripe) await onLease(order);
  }
}

function passed(deadline: AbortSignal): Promise<void> {
  return new Promise((resolve) => deadline.addEventListener('abort', () => resolve(), { once: true }));
}

/** Never rejects: a source that fails fails the inbox. An update is valid until the next is asked for, so that waits its turn. */
async function pump<T>(receive: () => Promise<T>, inbox: Inbox<Item>, wrap: (received: T) => Item): Promise<void> {
  try {
    for (;;) await inbox.put(wrap(await receive()));
  } catch (error) {
    inbox.fail(error as Error);
  }
}

function unexpected(message: Message): ProtocolError {
  return new ProtocolError(
    'unexpected_message',
    `a ${message.type} came at the wrong moment`,
    'Run the same release of Troupe on both sides.',
  );
}

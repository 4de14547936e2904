/** Performs what `sync.ts` decides, and holds the vectors: retained updates by round, leases by id, hidden states by stream. */
import {
  applyArriving,
  applyUpdate,
  wholeUpdate,
  type ArrivingUpdate,
  type CollectiveMember,
  type ReduceUpdate,
} from '@troupe/collective';
import { snapshotBytes } from '@troupe/optim';
import { LIMITS, ProtocolError, roundOptimizer, type MessageOf } from '@troupe/protocol';
import type { EngineSlot } from './engine-slot.js';
import type { Deadline, Membership } from './join.js';
import { computeLease, type HeldStates, type LeaseOrder } from './lease.js';
import type { WorkerPorts } from './ports.js';
import { fetchSnapshot } from './sources.js';
import type { SyncAction, SyncInput } from './sync.js';

/** What a worker has computed since it started, characters. It outlives sessions. */
export interface Credit {
  characters: number;
}

export interface ExecutorParts extends Membership {
  readonly member: CollectiveMember;
  readonly slot: EngineSlot;
  readonly credit: Credit;
  readonly ports: Pick<WorkerPorts, 'nowMs' | 'log' | 'sha256' | 'counted'>;
  readonly deadline: Deadline;
  /** Aborts to make the worker leave. */
  readonly signal: AbortSignal;
  /** Receives the outcome of a fetch that was not abandoned. */
  onFetched(outcome: FetchOutcome): void;
  /** Whether the result of the lease is no longer needed. The answer can change while the lease is computed. */
  isOvertaken(lease: MessageOf<'lease'>): boolean;
}

type ReceivedSnapshot = {
  readonly message: Pick<MessageOf<'snapshot'>, 'round' | 'parametersDigest'>;
  readonly body: Uint8Array;
};

/** A snapshot from other workers, or why there is none. An error is a bug. */
export type FetchOutcome =
  | { readonly kind: 'fetched'; readonly snapshot: ReceivedSnapshot }
  | { readonly kind: 'failed'; readonly reason: string }
  | { readonly kind: 'broken'; readonly error: Error };

/** The vectors that came with an input. The values of an update may still be arriving. */
export interface Payload {
  readonly snapshot?: ReceivedSnapshot;
  readonly sources?: { readonly message: MessageOf<'sources'>; readonly body: Uint8Array };
  readonly lease?: LeaseOrder;
  readonly update?: ArrivingUpdate;
}

type Action<T extends SyncAction['type']> = Extract<SyncAction, { type: T }>;
type AwaitedAction = Action<'computeLease' | 'replaceEngine' | 'applyUpdate' | 'retainUpdate'>;

export class SyncExecutor {
  readonly #parts: ExecutorParts;
  readonly #held: HeldStates = new Map();
  readonly #leases = new Map<string, LeaseOrder>();
  /** Of the retained leases. */
  #leasedStreams = 0;
  readonly #updates = new Map<number, ReduceUpdate>();
  #trainLoss: number | undefined;
  /** Ends the fetching of a snapshot from other workers. */
  #fetching: AbortController | undefined;

  constructor(parts: ExecutorParts) {
    this.#parts = parts;
  }

  /**
   * @param payload of the input that led to the action
   * @returns the input that follows from it, if any
   * @throws what breaks the session
   */
  async perform(action: SyncAction, payload: Payload): Promise<SyncInput | undefined> {
    // What arrives meanwhile waits in the inbox.
    switch (action.type) {
      case 'computeLease':
        return this.#compute(this.#takeLease(action.leaseId) ?? payload.lease!);
      case 'replaceEngine':
        await this.#parts.snapshot.pausedDuring(() => this.#parts.slot.replace());
        return undefined;
      case 'applyUpdate':
        await applyArriving(this.#parts.replica, payload.update!);
        this.#trainLoss = payload.update!.lossSum / payload.update!.tokens;
        return undefined;
      case 'retainUpdate':
        await this.#retainUpdate(action, payload.update!);
        return undefined;
      default:
        this.#performNow(action, payload);
        return undefined;
    }
  }

  #performNow(action: Exclude<SyncAction, AwaitedAction>, payload: Payload): void {
    const { control, replica, slot, ports } = this.#parts;
    switch (action.type) {
      case 'loadEngine':
        return slot.engine.setParameters(replica.parameters);
      case 'retainLease':
        return this.#retainLease(action.leaseId, payload.lease!);
      case 'requestSnapshot':
        return this.#requestSnapshot(action);
      case 'park':
        this.#parts.snapshot.met();
        return this.#drop();
      case 'restoreSnapshot':
        return this.#restore(payload.snapshot!, action.updates);
      case 'fetchSnapshot':
        return this.#fetchSnapshot(payload.sources!);
      case 'keepSnapshot':
        return control.send({ type: 'seeded', round: action.round, kept: this.#keep(action.round) });
      case 'dropSnapshot':
        return this.#parts.member.keep(undefined);
      case 'declineSeed':
        return control.send({ type: 'seeded', round: action.round, kept: false });
      case 'announceReady':
        return this.#announceReady(action);
      case 'declineLease': {
        const { type: _type, ...decline } = action;
        this.#takeLease(action.leaseId);
        return control.send({ type: 'decline', ...decline });
      }
      case 'credit':
        return this.#credit(action);
      case 'log':
        return ports.log(action.entry);
      default:
        return action satisfies never;
    }
  }

  /** None of this fits the next parameters. */
  #drop(): void {
    this.#held.clear();
    this.#leases.clear();
    this.#leasedStreams = 0;
    this.#updates.clear();
    this.end();
    // This replica may differ from those of others.
    this.#parts.member.keep(undefined);
  }

  /** @returns false if there is no memory for a copy: that is no reason to end the session */
  #keep(round: number): boolean {
    try {
      this.#parts.member.keep({ round, bytes: this.#parts.replica.snapshot() });
      return true;
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      return false;
    }
  }

  /** What it does in the background is no longer needed. */
  end(): void {
    this.#fetching?.abort(new Error('another snapshot is needed'));
    this.#fetching = undefined;
  }

  async #retainUpdate({ round, drop }: Action<'retainUpdate'>, update: ArrivingUpdate): Promise<void> {
    if (drop !== undefined) this.#updates.delete(drop);
    this.#updates.set(round, await wholeUpdate(update));
  }

  /** @throws ProtocolError `limit_exceeded`: the streams of a round are lent once, so this coordinator only fills the memory */
  #retainLease(leaseId: string, order: LeaseOrder): void {
    this.#leases.set(leaseId, order);
    this.#leasedStreams += order.lease.streams.length;
    const most = LIMITS.leaseRoundsAhead * this.#parts.welcome.config.streams;
    if (this.#leasedStreams <= most) return;
    throw new ProtocolError(
      'limit_exceeded',
      `the coordinator sent leases of more than ${LIMITS.leaseRoundsAhead} later rounds`,
      'Check that this is the coordinator you want to help, and that it is of the same version.',
    );
  }

  #takeLease(leaseId: string): LeaseOrder | undefined {
    const order = this.#leases.get(leaseId);
    if (this.#leases.delete(leaseId)) this.#leasedStreams -= order!.lease.streams.length;
    return order;
  }

  async #compute(order: LeaseOrder): Promise<SyncInput> {
    const { welcome, slot, member, ports, replica, optimizer } = this.#parts;
    const context = {
      config: welcome.config,
      parameters: replica.parameters,
      optimizer,
      engine: slot.engine,
      member,
      held: this.#held,
      nowMs: () => ports.nowMs(),
      isOvertaken: () => this.#parts.isOvertaken(order.lease),
      onStep: this.#stepsOf(order.lease),
    };
    const outcome = await computeLease(context, order, replica.digest());
    const { leaseId, round, streams } = order.lease;
    if (outcome.kind === 'sent') return { type: 'computed', round, streams: streams.length, ...outcome };
    return { type: 'failed', leaseId, round, ...outcome, engineLost: slot.lost?.message };
  }

  /** Tells the coordinator, and the app, how far a long lease is. */
  #stepsOf({ leaseId, round }: LeaseOrder['lease']): (done: number) => boolean {
    const { control, ports, welcome, signal } = this.#parts;
    const { localSteps: of } = welcome.config;
    let lastMs = ports.nowMs();
    return (steps) => {
      const nowMs = ports.nowMs();
      if (steps === 0 || nowMs - lastMs < LIMITS.progressMs) return !signal.aborted;
      lastMs = nowMs;
      control.send({ type: 'progress', leaseId, steps });
      ports.log({ kind: 'progress', round, steps, of });
      return !signal.aborted;
    };
  }

  #requestSnapshot({ reason, round, fromPeers }: Action<'requestSnapshot'>): void {
    this.#drop();
    const canCheck = this.#parts.ports.sha256 !== undefined;
    this.#parts.control.send({ type: 'resync', reason, round, fromPeers: fromPeers && canCheck });
    this.#parts.snapshot.begin();
  }

  /** In the background: updates arrive meanwhile, and must be retained. */
  #fetchSnapshot({ message, body }: NonNullable<Payload['sources']>): void {
    const { welcome, layout, member, ports, deadline, onFetched } = this.#parts;
    this.end();
    const fetching = new AbortController();
    this.#fetching = fetching;
    const { round, workers } = message;
    const sources = { round, workers, digests: body, bytes: snapshotBytes(layout.size, roundOptimizer(welcome.config)) };
    // A worker that cannot check digests does not say that it can use sources.
    const fetch = (): Promise<Uint8Array | undefined> =>
      fetchSnapshot(sources, { member, sha256: ports.sha256!.bind(ports), deadline }, fetching.signal);
    void outcomeOf(fetch, message).then((outcome) => {
      if (!fetching.signal.aborted) onFetched(outcome);
    });
  }

  #restore({ message, body }: NonNullable<Payload['snapshot']>, updates: readonly number[]): void {
    const { replica } = this.#parts;
    const garbled = (what: string, cause?: unknown) =>
      new ProtocolError('invalid_message', what, 'Nothing to do: the worker joins again by itself.', { cause });
    try {
      replica.restore(body);
    } catch (error) {
      throw garbled('the snapshot holds numbers that no replica has', error);
    }
    if (replica.digest() !== message.parametersDigest)
      throw garbled('the snapshot does not have the digest that was sent with it');
    for (const round of updates) applyUpdate(replica, this.#updates.get(round)!);
    this.#drop();
  }

  #announceReady({ round }: Action<'announceReady'>): void {
    const { control, layout, replica, slot, ports } = this.#parts;
    const { name, variant, device } = slot.engine.info;
    const engine = `${name} ${variant}`.slice(0, LIMITS.nameLength);
    const { charsPerSecond } = slot;
    control.send({
      type: 'ready',
      round,
      layoutHash: layout.hash,
      parametersDigest: replica.digest(),
      engine,
      device: device.slice(0, LIMITS.nameLength),
      charsPerSecond,
    });
    ports.log({ kind: 'ready', round, engine, charsPerSecond });
  }

  #credit({ round, streams, computeMs, characters }: Action<'credit'>): void {
    const { credit, ports, welcome } = this.#parts;
    credit.characters += characters;
    const { rounds } = welcome.config;
    const known = this.#trainLoss === undefined ? {} : { trainLoss: this.#trainLoss };
    ports.log({ kind: 'computed', round, rounds, ...known, streams, computeMs, credit: credit.characters });
  }
}

/** Never rejects. */
async function outcomeOf(
  fetch: () => Promise<Uint8Array | undefined>,
  message: ReceivedSnapshot['message'],
): Promise<FetchOutcome> {
  try {
    const body = await fetch();
    return body
      ? { kind: 'fetched', snapshot: { message, body } }
      : { kind: 'failed', reason: 'no other worker sent the snapshot' };
  } catch (error) {
    return { kind: 'broken', error: error as Error };
  }
}

/**
 * Carries out what the scheduler decides: opens rounds, sends leases, requests snapshots for workers, and
 * applies updates to the coordinator's replica. The scheduler's other effects become events of the run.
 */
import { applyUpdate, type CollectiveHost, type ReduceUpdate } from '@troupe/collective';
import { encodeLeaseBody, ProtocolError } from '@troupe/protocol';
import { bannedText, laggingText, parkedText } from '@troupe/run';
import { step, type RunEffect, type RunInput, type RunState } from '@troupe/scheduler';
import type { ControlServer } from './control-server.js';
import type { ConductorEvent, WorkerIdentity, WorkerMessage } from './events.js';
import type { ReplicaState } from './seeding.js';
import type { SnapshotSender } from './snapshot-sender.js';
import { leaseWindows, stepOf, type Training } from './training.js';

type Lease = Extract<RunEffect, { type: 'lease' }>;

const LAGS = 'its link is too slow: updates piled up before it had a snapshot';

export interface ShellParts {
  /** The knobs are read when a round opens. */
  readonly training: Pick<Training, 'config' | 'knobs' | 'held' | 'streams' | 'states' | 'stateFloats' | 'replica'>;
  /** The scheduler's. The shell owns it from here on. */
  readonly state: RunState;
  readonly reduce: Pick<CollectiveHost, 'subscribe' | 'usePeers' | 'openRound' | 'grant'>;
  readonly workers: Pick<ControlServer, 'send' | 'expose'>;
  readonly snapshots: Pick<SnapshotSender, 'request' | 'forget' | 'leaveOut'>;
  put(event: ConductorEvent): void;
}

export class RunShell {
  /** Read-only for everyone else. It changes with every event. */
  readonly state: RunState;
  readonly #parts: ShellParts;
  /**
   * The scheduler and the hidden states have moved on, and the replica has not: the run must not
   * be saved.
   */
  #midStep = false;

  constructor(parts: ShellParts) {
    this.#parts = parts;
    this.state = parts.state;
  }

  /** Rounds completed. */
  get round(): number {
    return this.state.round;
  }

  /** Workers that may get leases. */
  get workers(): number {
    return [...this.state.workers.values()].filter((worker) => worker.state === 'ready').length;
  }

  /** Workers that compute, and to which others have links. */
  get seeds(): string[] {
    const { topology, workers } = this.state;
    return topology.candidates.filter((id) => workers.get(id)?.state === 'ready' && (topology.offers.get(id)?.linked ?? 0) > 0);
  }

  /**
   * Whether replica, hidden states and round agree. False only after a failure in the middle of a
   * step.
   */
  get sound(): boolean {
    return !this.#midStep;
  }

  /** The replica as it is, for a snapshot; undefined if it is not sound. */
  replicaState(): ReplicaState | undefined {
    if (!this.sound) return undefined;
    const { replica } = this.#parts.training;
    return { round: this.round, parametersDigest: replica.digest(), parts: replica.snapshotParts() };
  }

  /**
   * @throws ProtocolError when an update comes before all its contributions, and what applying an
   * update throws
   */
  handle(event: ConductorEvent, nowMs: number): void {
    if (event.type === 'update') return this.#update(event.update, nowMs);
    // Before the scheduler: a contribution and its end states count together.
    if (event.type === 'counted') this.#parts.training.states.count(event.contribution.streams, event.contribution.endStates);
    const input = inputOf(event);
    if (input) for (const effect of step(this.state, input, nowMs)) this.#perform(effect);
  }

  /**
   * The workers apply the update at the same time as the coordinator, so their next leases leave
   * before the coordinator's own replica steps. A contribution that comes before its round is open
   * waits for its grant at the all-reduce service.
   */
  #update(update: ReduceUpdate, nowMs: number): void {
    const { training, put } = this.#parts;
    requireWhole(this.state);
    this.#midStep = true;
    training.states.commit();
    const effects = step(this.state, { type: 'updated', round: update.round, trainLoss: update.lossSum / update.tokens }, nowMs);
    for (const effect of effects) if (effect.type === 'lease') this.#sendLease(effect);
    applyUpdate(training.replica, update);
    this.#midStep = false;
    put({ type: 'updated', update, readyWorkers: this.workers });
    for (const effect of effects) {
      if (effect.type === 'lease') this.#grant(effect);
      else this.#perform(effect);
    }
  }

  #perform(effect: RunEffect): void {
    switch (effect.type) {
      case 'openRound':
        return this.#openRound(effect.round);
      case 'lease':
        this.#grant(effect);
        return this.#sendLease(effect);
      case 'resync':
        // The service sends updates only to those of whom it has heard from here.
        this.#parts.reduce.subscribe(effect.workerId, true);
        return this.#parts.snapshots.request(effect.workerId, effect.round);
      case 'park':
        return this.#park(effect);
      case 'unpark':
        return this.#parts.reduce.subscribe(effect.workerId, true);
      case 'leaveOut':
        return this.#parts.snapshots.leaveOut(effect.workerId, LAGS);
      case 'usePeers':
        return this.#parts.reduce.usePeers(effect);
      case 'verify':
        return this.#parts.put(effect);
      case 'ban':
        return this.#ban(effect);
      case 'cancel':
        return void this.#parts.workers.send(effect.workerId, { type: 'cancel', leaseId: effect.leaseId });
      default:
        return this.#parts.put({ type: 'outcome', outcome: effect, round: this.round });
    }
  }

  #ban({ workerId, reason, since }: Extract<RunEffect, { type: 'ban' }>): void {
    const name = this.#parts.workers.expose(workerId, reason, bannedText(reason)) ?? workerId;
    const wrong = `what ${name} contributed after round ${since} is wrong, or may be`;
    if (since !== undefined) this.#parts.put({ type: 'tainted', since, reason: wrong });
  }

  /** The service tells the worker as well, in order with the updates. */
  #park({ workerId, faster, restMs }: Extract<RunEffect, { type: 'park' }>): void {
    this.#parts.reduce.subscribe(workerId, false);
    this.#parts.snapshots.forget(workerId);
    this.#parts.workers.send(workerId, {
      type: 'parked',
      reason: restMs === undefined ? parkedText(faster) : laggingText(restMs),
    });
  }

  #openRound(round: number): void {
    const { training, reduce } = this.#parts;
    reduce.openRound({ round, ...stepOf(training, round), parametersDigest: training.replica.digest() });
  }

  #grant({ workerId, leaseId, round, streams, audit, mostNorm }: Lease): void {
    this.#parts.reduce.grant({
      round,
      leaseId,
      workerId,
      streams: [...streams],
      audit,
      ...(mostNorm !== undefined && { mostNorm }),
    });
  }

  #sendLease({ workerId, leaseId, round, streams: ids, states: sources, deadlineMs }: Lease): void {
    const { training, workers } = this.#parts;
    const { config, states, stateFloats } = training;
    const given = ids.filter((_, i) => sources[i] === 'g').map((stream) => states.of(stream));
    const { windows, learningRates, local } = leaseWindows(training, round, ids);
    const shape = { steps: config.localSteps, streams: ids.length, window: config.window, given: given.length, stateFloats };
    const body = encodeLeaseBody(shape, { windows, states: given, learningRates });
    const tracked = local && { local };
    workers.send(workerId, { type: 'lease', leaseId, round, streams: [...ids], states: sources, deadlineMs, ...tracked }, body);
  }
}

/** The scheduler's input for an event. An update is no input until it is applied. */
function inputOf(event: ConductorEvent): RunInput | undefined {
  switch (event.type) {
    case 'workerMessage':
      return messageInput(event.worker, event.message);
    case 'workerLeft':
      return { type: 'workerLeft', workerId: event.worker.id, reason: event.reason };
    case 'counted': {
      const { leaseId, workerId, round, streams, lossSum, computeMs, serviceMs, norm } = event.contribution;
      return { type: 'counted', leaseId, workerId, round, streams, lossSum, computeMs, serviceMs, norm };
    }
    case 'rejected': {
      const { leaseId, workerId, round, computeMs, result, reason } = event.rejection;
      return { type: 'rejected', leaseId, workerId, round, computeMs, result, reason };
    }
    case 'peer': {
      const { workerId, offered, members, linked } = event.peer;
      return { type: 'peer', workerId, offered, members, linked };
    }
    case 'audit': {
      const { leaseId, workerId, round, norm } = event.audit;
      return norm === undefined ? undefined : { type: 'conspicuous', leaseId, workerId, round };
    }
    case 'lagging':
    case 'verified':
      return event;
    case 'audited':
      return { type: 'audited', ...event.lease, ...event.finding };
    case 'reduceRestored':
      return { type: 'reopen' };
    case 'order':
      return event.order;
    default:
      return undefined;
  }
}

function messageInput(
  { id: workerId, name, trusted, suspect = false }: WorkerIdentity,
  message: WorkerMessage,
): RunInput | undefined {
  switch (message.type) {
    case 'ready':
      return { type: 'workerReady', workerId, name, trusted, suspect, charsPerSecond: message.charsPerSecond };
    case 'decline':
      return { type: 'declined', workerId, leaseId: message.leaseId, code: message.code, reason: message.reason };
    case 'progress':
      return { type: 'progress', workerId, leaseId: message.leaseId, steps: message.steps };
    case 'resync':
      return { type: 'workerSyncing', workerId, reason: message.reason, round: message.round };
    case 'seeded':
      return undefined;
    default:
      return message satisfies never;
  }
}

/** Without the end states of every stream, the next round would start from outdated ones. */
function requireWhole({ units, round }: RunState): void {
  if (units.every(({ counted }) => counted)) return;
  throw new ProtocolError(
    'unexpected_message',
    `the update of round ${round} came before all its contributions`,
    'No action is needed: the coordinator reconnects to the all-reduce service and computes the round again.',
  );
}

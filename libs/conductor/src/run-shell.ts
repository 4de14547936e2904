/** Carries out what the run core decides: opens rounds, sends leases and snapshots, applies updates to the coordinator's replica. */
import { applyUpdate, type CollectiveHost, type ReduceCounted, type ReduceRejected, type ReduceUpdate } from '@troupe/collective';
import type { Streams } from '@troupe/corpus';
import { learningRateAt, type Replica } from '@troupe/optim';
import { encodeLeaseBody, ProtocolError, type TrainingConfig } from '@troupe/protocol';
import { step, type RunEffect, type RunInput, type RunState } from '@troupe/scheduler';
import type { ControlServer } from './control-server.js';
import type { StreamStates } from './stream-states.js';
import type { Knobs } from './training.js';

export type ReduceEvent = ReduceCounted | ReduceRejected | ReduceUpdate;
type Lease = Extract<RunEffect, { type: 'lease' }>;
export type Ending = Extract<RunEffect, { type: 'finish' | 'fail' }>;

export interface ShellParts {
  readonly config: TrainingConfig;
  /** Read when a round opens. */
  readonly knobs: Knobs;
  readonly state: RunState;
  readonly streams: Streams;
  readonly states: StreamStates;
  readonly stateFloats: number;
  readonly replica: Replica;
  readonly nowMs: () => number;
  readonly host: Pick<CollectiveHost, 'openRound' | 'grant'>;
  control(): ControlServer;
  onUpdate(update: ReduceUpdate): void;
  /** evaluate, sample, checkpoint: side jobs that no round waits for. */
  onDue(effect: Extract<RunEffect, { type: 'evaluate' | 'sample' | 'checkpoint' }>): void;
  onWaiting(reason: string): void;
  /** Out of the ordinary, and what follows from it. */
  onTell(text: string): void;
  onEnd(ending: Ending): void;
}

export interface RunShell {
  /** Rounds completed. */
  readonly round: number;
  /** Workers that may be lent streams. */
  readonly workers: number;
  /** For who looks on: read it, and do not keep it. */
  readonly state: RunState;
  /** Whether replica, states and round are of one moment; false only after a failure in mid-step. */
  readonly sound: boolean;
  feed(input: RunInput): void;
  onReduce(event: ReduceEvent): void;
}

export function createRunShell(parts: ShellParts): RunShell {
  const { config, state, streams, states, replica } = parts;
  /** The core and the states have moved on, and the replica has not: nothing of it may be saved. */
  let between = false;

  return {
    get round() {
      return state.round;
    },
    get workers() {
      return [...state.workers.values()].filter((worker) => worker.state === 'ready').length;
    },
    state,
    get sound() {
      return !between;
    },
    feed,
    onReduce(event) {
      switch (event.kind) {
        case 'counted': {
          if (state.phase === 'over' || event.round !== state.round) return;
          states.count(event.streams, event.endStates);
          const { leaseId, workerId, round, streams: ids } = event;
          return feed({ type: 'counted', leaseId, workerId, round, streams: ids });
        }
        case 'rejected': {
          const { leaseId, workerId, round, result, reason } = event;
          return feed({ type: 'rejected', leaseId, workerId, round, result, reason });
        }
        case 'update':
          return onUpdate(event);
        default:
          return event satisfies never;
      }
    },
  };

  function feed(input: RunInput): void {
    for (const effect of step(state, input, parts.nowMs())) perform(effect);
  }

  /**
   * The workers apply the update at the same time as we do, so their next leases leave before our own replica steps. A contribution to
   * the new round cannot arrive before it is opened: it waits for its grant at the all-reduce.
   */
  function onUpdate(update: ReduceUpdate): void {
    // After the end nothing moves any more: the last checkpoint is of the round that the core stopped at.
    if (state.phase === 'over' || update.round !== state.round) return;
    requireWhole(state);
    between = true;
    states.commit();
    const effects = step(state, { type: 'updated', round: update.round }, parts.nowMs());
    for (const effect of effects) if (effect.type === 'lease') sendLease(effect);
    applyUpdate(replica, update);
    between = false;
    parts.onUpdate(update);
    for (const effect of effects) {
      if (effect.type === 'lease') grant(effect);
      else perform(effect);
    }
  }

  function perform(effect: RunEffect): void {
    switch (effect.type) {
      case 'openRound':
        return openRound(effect.round);
      case 'lease':
        grant(effect);
        return sendLease(effect);
      case 'resync':
        return sendSnapshot(effect.workerId);
      case 'evaluate':
      case 'sample':
      case 'checkpoint':
        return parts.onDue(effect);
      case 'waiting':
        return parts.onWaiting(effect.reason);
      case 'tell':
        return parts.onTell(effect.text);
      case 'finish':
      case 'fail':
        return parts.onEnd(effect);
      default:
        return effect satisfies never;
    }
  }

  function openRound(round: number): void {
    const { learningRate: peak, clip } = parts.knobs;
    // As a float32: the last bit of a cosine may differ between releases of V8, and would show in every parameter.
    const learningRate = Math.fround(learningRateAt(config.schedule, peak, round, config.rounds));
    parts.host.openRound({ round, learningRate, clip, parametersDigest: replica.digest() });
  }

  function grant({ workerId, leaseId, round, streams: ids }: Lease): void {
    parts.host.grant({ round, leaseId, workerId, streams: [...ids] });
  }

  function sendLease({ workerId, leaseId, round, streams: ids, states: sources, deadlineMs }: Lease): void {
    const given = ids.filter((_, i) => sources[i] === 'g').map((stream) => states.of(stream));
    const shape = { streams: ids.length, window: config.window, given: given.length, stateFloats: parts.stateFloats };
    const windows = ids.map((stream) => streams.streamWindow(stream, round));
    const body = encodeLeaseBody(shape, windows, given);
    parts.control().send(workerId, { type: 'lease', leaseId, round, streams: [...ids], states: sources, deadlineMs }, body);
  }

  function sendSnapshot(workerId: string): void {
    parts
      .control()
      .send(workerId, { type: 'snapshot', round: state.round, parametersDigest: replica.digest() }, replica.snapshot());
  }
}

/** Without the end states of every stream the next round would go on from those of the round before. */
function requireWhole({ units, round }: RunState): void {
  if (units.every(({ counted }) => counted)) return;
  throw new ProtocolError(
    'unexpected_message',
    `the update of round ${round} came before all its contributions`,
    'Nothing to do: the coordinator connects to the all-reduce service again and computes the round anew.',
  );
}

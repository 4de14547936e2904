/** Carries out what the run core decides: opens rounds, sends leases and snapshots, applies updates to the coordinator's replica. */
import {
  applyUpdate,
  type ReduceCounted,
  type ReduceHost,
  type ReduceRejected,
  type ReduceUpdate,
} from '@troupe/collective/star';
import type { Streams } from '@troupe/corpus';
import { learningRateAt, type Replica } from '@troupe/optim';
import { encodeLeaseBody, type TrainingConfig } from '@troupe/protocol';
import { step, type RunEffect, type RunInput, type RunState } from '@troupe/run';
import type { ControlDoor } from './control-door.js';
import type { StreamStates } from './stream-states.js';

export type ReduceEvent = ReduceCounted | ReduceRejected | ReduceUpdate;
type Lease = Extract<RunEffect, { type: 'lease' }>;
export type Ending = Extract<RunEffect, { type: 'finish' | 'fail' }>;

export interface ShellParts {
  readonly config: TrainingConfig;
  readonly state: RunState;
  readonly streams: Streams;
  readonly states: StreamStates;
  readonly stateFloats: number;
  readonly replica: Replica;
  readonly nowMs: () => number;
  readonly host: Pick<ReduceHost, 'openRound' | 'grant'>;
  door(): ControlDoor;
  onUpdate(update: ReduceUpdate): void;
  /** evaluate, sample, checkpoint: side jobs that no round waits for. */
  onDue(effect: Extract<RunEffect, { type: 'evaluate' | 'sample' | 'checkpoint' }>): void;
  onWaiting(reason: string): void;
  onEnd(ending: Ending): void;
}

export interface RunShell {
  /** Rounds completed. */
  readonly round: number;
  /** Workers that may be lent streams. */
  readonly workers: number;
  feed(input: RunInput): void;
  onReduce(event: ReduceEvent): void;
}

export function createRunShell(parts: ShellParts): RunShell {
  const { config, streams, states, replica } = parts;
  let { state } = parts;

  return {
    get round() {
      return state.round;
    },
    get workers() {
      return [...state.workers.values()].filter((worker) => worker.state === 'ready').length;
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
    const decision = step(state, input, parts.nowMs());
    state = decision.state;
    for (const effect of decision.effects) perform(effect);
  }

  /**
   * The workers apply the update at the same time as we do, so their next leases leave before our own replica steps. A contribution to
   * the new round cannot arrive before it is opened: it waits for its grant at the all-reduce.
   */
  function onUpdate(update: ReduceUpdate): void {
    // After the end nothing moves any more: the last checkpoint is of the round that the core stopped at.
    if (state.phase === 'over' || update.round !== state.round) return;
    states.commit();
    const decision = step(state, { type: 'updated', round: update.round }, parts.nowMs());
    state = decision.state;
    for (const effect of decision.effects) if (effect.type === 'lease') sendLease(effect);
    applyUpdate(replica, update);
    parts.onUpdate(update);
    for (const effect of decision.effects) {
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
      case 'finish':
      case 'fail':
        return parts.onEnd(effect);
      default:
        return effect satisfies never;
    }
  }

  function openRound(round: number): void {
    const learningRate = learningRateAt(config.schedule, config.learningRate, round, config.rounds);
    parts.host.openRound({ round, learningRate, clip: config.clip, parametersDigest: replica.digest() });
  }

  function grant({ workerId, leaseId, round, streams: ids }: Lease): void {
    parts.host.grant({ round, leaseId, workerId, streams: [...ids] });
  }

  function sendLease({ workerId, leaseId, round, streams: ids, states: sources, deadlineMs }: Lease): void {
    const given = ids.filter((_, i) => sources[i] === 'g').map((stream) => states.of(stream));
    const shape = { streams: ids.length, window: config.window, given: given.length, stateFloats: parts.stateFloats };
    const windows = ids.map((stream) => streams.streamWindow(stream, round));
    const body = encodeLeaseBody(shape, windows, given);
    parts.door().send(workerId, { type: 'lease', leaseId, round, streams: [...ids], states: sources, deadlineMs }, body);
  }

  function sendSnapshot(workerId: string): void {
    parts.door().send(workerId, { type: 'snapshot', round: state.round, parametersDigest: replica.digest() }, replica.snapshot());
  }
}

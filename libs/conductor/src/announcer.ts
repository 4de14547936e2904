/** Turns events into the news that people and the record of the run receive. */
import { isLocal, type TrainingConfig } from '@troupe/protocol';
import { decisionText, isWarnedOf, waitingText, type RunEvent } from '@troupe/run';
import type { ConductorEvent, Outcome, WorkerMessage } from './events.js';
import { createProgress } from './progress.js';
import type { Roster } from './roster.js';
import { roundRate, type Knobs } from './training.js';

export interface AnnouncerOptions {
  readonly config: TrainingConfig;
  /** As they are now. */
  readonly knobs: Pick<Knobs, 'learningRate'>;
  readonly roster: Pick<Roster, 'connected' | 'timing'>;
  readonly startMs: number;
}

/** The news in an event, or undefined when it contains none. `over`: whether the run is. */
export type Announcer = (event: ConductorEvent, nowMs: number, over: boolean) => RunEvent | undefined;

export function createAnnouncer({ config, knobs, roster, startMs }: AnnouncerOptions): Announcer {
  const progress = createProgress(startMs);
  let computed = 0;

  return (event, nowMs, over) => {
    switch (event.type) {
      case 'workerJoined':
        return ofWorker(event.worker, 'joined', `from ${event.worker.remote}`);
      case 'workerMessage':
        return ofMessage(event);
      case 'workerLeft':
        // When the run is over everyone leaves, which is no news.
        return over ? undefined : ofWorker(event.worker, 'left', event.reason);
      case 'peerRefused':
        return ofWorker({ id: '', name: event.name }, 'refused', event.reason);
      case 'reduceLost':
        return { event: 'waiting', reason: reduceIsLost(event.reason) };
      case 'reduceRefused':
        return { event: 'note', level: 'warn', text: event.reason, remedy: event.remedy };
      case 'updated':
        return ofRound(event, nowMs);
      case 'outcome':
        return ofOutcome(event.outcome, event.round);
      default:
        return undefined;
    }
  };

  function ofWorker(
    { id: workerId, name }: { readonly id: string; readonly name: string },
    change: Extract<RunEvent, { event: 'worker' }>['change'],
    reason: string,
  ): RunEvent {
    return { event: 'worker', workerId, name, change, reason, workers: roster.connected };
  }

  function ofMessage({ worker, message }: Extract<ConductorEvent, { type: 'workerMessage' }>): RunEvent | undefined {
    const [change, reason] = noteworthy(message) ?? [];
    return change && ofWorker(worker, change, reason!);
  }

  function ofRound({ update, readyWorkers }: Extract<ConductorEvent, { type: 'updated' }>, nowMs: number): RunEvent {
    const { round, tokens, lossSum, gradientNorm, clipScale } = update;
    const { roundMs, charsPerSecond } = progress.add(tokens, nowMs);
    computed++;
    const left = config.rounds - (round + 1);
    return {
      event: 'round',
      round: round + 1,
      rounds: config.rounds,
      trainLoss: lossSum / tokens,
      gradientNorm,
      clipScale,
      // In a local run people set that of the tracks.
      learningRate: isLocal(config) ? roundRate(config, knobs, round) : update.learningRate,
      roundMs,
      charsPerSecond,
      etaMs: (left * (nowMs - startMs)) / computed,
      workers: readyWorkers,
      timing: roster.timing,
    };
  }
}

function noteworthy(message: WorkerMessage): ['ready' | 'resynced', reason: string] | undefined {
  if (message.type === 'ready') return ['ready', `${message.engine}, ${Math.round(message.charsPerSecond)} chars/s`];
  // A decision says why a worker is fetched back.
  const expected = ['joining', 'it is wanted again'];
  if (message.type === 'resync' && !expected.includes(message.reason)) return ['resynced', message.reason];
  return undefined;
}

function ofOutcome(outcome: Outcome, round: number): RunEvent | undefined {
  if (outcome.type === 'waiting') return { event: 'waiting', reason: waitingText(outcome.reason) };
  if (outcome.type !== 'decision') return undefined;
  const { decision } = outcome;
  return { event: 'decision', round, text: decisionText(decision), decision };
}

/** What a decision in an event warns of. It is news besides the decision itself. */
export function warningOf(event: ConductorEvent): RunEvent | undefined {
  if (event.type !== 'outcome' || event.outcome.type !== 'decision') return undefined;
  const { decision } = event.outcome;
  if (!isWarnedOf(decision)) return undefined;
  const remedy = 'If the loss stays high, stop the run and start again with a lower --lr, or with --clip.';
  return { event: 'note', level: 'warn', text: decisionText(decision), remedy };
}

/** Why a run waits whose all-reduce service is lost. */
export function reduceIsLost(reason: string): string {
  return `the all-reduce service is lost (${reason}); reconnecting`;
}

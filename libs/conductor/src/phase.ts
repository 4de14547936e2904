/** The phase of a run and the reason for it, as text for people. */
import { waitingText, type RunPhase } from '@troupe/run';
import type { RunState } from '@troupe/scheduler';
import { reduceIsLost } from './announcer.js';
import type { ConductorEvent, Ending } from './events.js';
import { VALIDATION } from './follow-ups.js';

/** What the scheduler does not keep. A fold over the events of the run. */
export interface Standing {
  /** Why the all-reduce service is lost; undefined while it is connected. */
  readonly lost?: string | undefined;
  readonly ending?: Ending;
}

export function standingAfter(standing: Standing, event: ConductorEvent): Standing {
  switch (event.type) {
    case 'reduceLost':
      return { ...standing, lost: event.reason };
    case 'reduceRestored':
      return { ...standing, lost: undefined };
    case 'outcome': {
      const { outcome } = event;
      return outcome.type === 'finish' || outcome.type === 'fail' ? { ...standing, ending: outcome } : standing;
    }
    default:
      return standing;
  }
}

export function phaseOf(state: RunState, { lost, ending }: Standing): [RunPhase, reason: string] {
  if (state.phase === 'over') {
    if (ending?.type === 'fail') return ['over', `failed: ${ending.reason}`];
    return ['over', ending?.outcome === 'stopped' ? 'stopped' : 'all rounds are complete'];
  }
  if (state.phase === 'idle') return ['starting', 'the first round is about to start'];
  if (lost !== undefined) return ['waiting', reduceIsLost(lost)];
  const people = [...state.pausedBy].filter((by) => by !== VALIDATION);
  if (people.length > 0) return ['paused', `paused by ${people.join(', ')}`];
  if (state.pausedBy.has(VALIDATION)) return ['waiting', 'validation is behind, and a reproducible run waits for it'];
  if (state.waiting) return ['waiting', waitingText('noWorker')];
  return ['running', `round ${state.round + 1} of ${state.settings.rounds} is being computed`];
}

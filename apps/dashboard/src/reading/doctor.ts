/** What is wrong with a run, and what the page can do about it. */
import { findProblem, type ControlRequest, type Finding } from '@troupe/run';
import { isAdmin, type DashboardState } from '../state/state.js';

/** One click: an order that the page can give; or that the invitation link is copied. `back` names its round. */
export type Treatment =
  | Exclude<ControlRequest, { action: 'back' }>
  | Required<Extract<ControlRequest, { action: 'back' }>>
  | { readonly action: 'invite' };

export interface Diagnosis {
  readonly finding: Finding;
  /** The best one first. None: the page can only say what to type. */
  readonly treatments: readonly Treatment[];
}

export function diagnose(state: DashboardState): Diagnosis {
  const finding = findProblem(state);
  return { finding, treatments: treatmentsOf(finding, state) };
}

/** Settings of a reproducible run cannot be changed. */
const canSet = (state: DashboardState): boolean => isAdmin(state) && state.view!.config.leaseStreams === 0;

/** To the checkpoint, at half the rate. The page of a run that is over is live only while its coordinator serves. */
function back({ checkpoint: round, rate }: { readonly checkpoint: number | undefined; readonly rate: number }): Treatment[] {
  return round === undefined ? [] : [{ action: 'back', round, learningRate: rate }];
}

function treatmentsOf(finding: Finding, state: DashboardState): readonly Treatment[] {
  switch (finding.kind) {
    case 'noWorker':
      return state.view!.joinLink === undefined ? [] : [{ action: 'invite' }];
    case 'aboveChance':
      return canSet(state) ? [...back(finding), { action: 'set', learningRate: finding.rate }] : [];
    case 'overfitting':
      return isAdmin(state) && state.view!.phase !== 'over' ? [{ action: 'stop' }] : [];
    case 'diverged':
      return canSet(state) ? back(finding) : [];
    case 'none':
    case 'network':
      return [];
    default:
      return finding satisfies never;
  }
}

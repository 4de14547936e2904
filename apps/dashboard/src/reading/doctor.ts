/** What is wrong with a run, and what the page can do about it. */
import { findProblem, type ControlRequest, type Finding } from '@troupe/run';
import { isAdmin, type DashboardState } from '../state/state.js';

/** One click: an order that the page can give; or that the invitation link is copied. */
export type Treatment = ControlRequest | { readonly action: 'invite' };

export interface Diagnosis {
  readonly finding: Finding;
  /** Absent: the page can only say what to type. */
  readonly treatment?: Treatment;
}

export function diagnose(state: DashboardState): Diagnosis {
  const finding = findProblem(state);
  const treatment = treatmentOf(finding, state);
  return { finding, ...(treatment && { treatment }) };
}

/** Settings of a reproducible run cannot be changed. */
const canSet = (state: DashboardState): boolean => isAdmin(state) && state.view!.config.leaseStreams === 0;

function treatmentOf(finding: Finding, state: DashboardState): Treatment | undefined {
  switch (finding.kind) {
    case 'noWorker':
      return state.view!.joinLink === undefined ? undefined : { action: 'invite' };
    case 'aboveChance':
      return canSet(state) ? { action: 'set', learningRate: finding.rate } : undefined;
    case 'overfitting':
      return isAdmin(state) && state.view!.phase !== 'over' ? { action: 'stop' } : undefined;
    case 'none':
    case 'diverged':
    case 'network':
      return undefined;
    default:
      return finding satisfies never;
  }
}

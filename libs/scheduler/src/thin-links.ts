/** Says once in an exact run that its workers wait for their links, and which local rounds would keep them busy. */
import { adviseLocalRounds, IDLE } from './advice.js';
import type { RunEffect, RunState } from './state.js';

/** Rounds in a row that have to be slow: links are busy when workers join. */
const SLOW_ROUNDS = 10;

/** Call it when a round has ended, before the next is dealt. */
export function reviewLinks(state: RunState, effects: RunEffect[]): void {
  const { links, settings } = state;
  const { codec, leaseStreams } = settings;
  // Where leases have one size, rounds are local already, or reproducible.
  if (links.told || codec === undefined || leaseStreams > 0) return;
  links.slowRounds = isSlow(state) ? links.slowRounds + 1 : 0;
  if (links.slowRounds < SLOW_ROUNDS) return;
  links.slowRounds = 0;
  const measured = [...state.workers.values()].filter(({ pace, state: mode }) => pace.measured && mode !== 'syncing');
  const capacities = measured.map(({ id: workerId, pace }) => ({ workerId, ...pace, held: 0 }));
  const advice = adviseLocalRounds(capacities, { ...settings, serviceMs: state.parking.serviceMs, codec });
  if (!advice) return;
  links.told = true;
  effects.push({ type: 'decision', decision: { kind: 'thinLinks', workers: measured.length, ...advice } });
}

/** Whether the round that ended was mostly spent on links; false where it was not dealt as a whole. */
function isSlow({ active, workers, parking: { plan } }: RunState): boolean {
  const relied = [...active.paces.keys()].flatMap((id) => workers.get(id) ?? []);
  if (relied.length === 0 || plan.workers === 0) return false;
  const meanMs = relied.reduce((sum, { pace }) => sum + pace.transferMs, 0) / relied.length;
  return meanMs > (1 - IDLE) * plan.roundMs;
}

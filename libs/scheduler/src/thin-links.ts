/** Says once in an exact run that its workers wait for their links, and which local rounds would keep them busy. */
import { adviseLocalRounds, IDLE } from './advice.js';
import type { Capacity } from './dealing.js';
import type { RunEffect, RunState } from './state.js';

/** Rounds in a row that have to be slow: links are busy when workers join. */
const SLOW_ROUNDS = 20;

/** Call it when a round has ended, before the next is dealt. */
export function reviewLinks(state: RunState, effects: RunEffect[]): void {
  const { links, settings, parking } = state;
  const { codec, leaseStreams } = settings;
  // Where leases have one size, rounds are local already, or reproducible.
  if (links.told || codec === undefined || leaseStreams > 0) return;
  const meanMs = meanTransferMs(state);
  links.slowRounds = meanMs !== undefined && meanMs > (1 - IDLE) * parking.plan.roundMs ? links.slowRounds + 1 : 0;
  if (links.slowRounds < SLOW_ROUNDS) return;
  links.slowRounds = 0;
  const capacities = capacitiesOf(state, meanMs ?? 0);
  const advice = adviseLocalRounds(capacities, { ...settings, serviceMs: parking.serviceMs, codec });
  if (!advice) return;
  links.told = true;
  effects.push({ type: 'decision', decision: { kind: 'thinLinks', workers: capacities.length, ...advice } });
}

/** Of the workers that the round relied on; undefined if it was not dealt as a whole. */
function meanTransferMs({ active, workers, parking: { plan } }: RunState): number | undefined {
  const relied = [...active.paces.keys()].flatMap((id) => workers.get(id) ?? []);
  if (relied.length === 0 || plan.workers === 0) return undefined;
  return relied.reduce((sum, { pace }) => sum + pace.transferMs, 0) / relied.length;
}

/** What is known of workers on which no round relies may be from when they joined: their links do not count as slower than the mean. */
function capacitiesOf({ active, workers }: RunState, meanMs: number): Capacity[] {
  const measured = [...workers.values()].filter(({ pace, state }) => pace.measured && state !== 'syncing');
  return measured.map(({ id: workerId, pace: { charsPerSecond, transferMs }, reportedCharsPerSecond: reported }) => {
    if (active.paces.has(workerId)) return { workerId, charsPerSecond, transferMs, held: 0 };
    return { workerId, charsPerSecond: reported || charsPerSecond, transferMs: Math.min(transferMs, meanMs), held: 0 };
  });
}

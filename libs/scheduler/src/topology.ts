/**
 * Who sums the gradients: the all-reduce service, or workers that offer to, each a range of the parameters. Peers halve what a slow
 * service has to send, but send twice as much themselves as for a star; and a worker that cannot reach them goes through the service.
 */
import { LIMITS, type Topology } from '@troupe/protocol';
import type { Decision } from './decisions.js';
import type { Offer, RunEffect, RunState, TopologyState, WorkerRecord } from './state.js';

/** Two peers send more together than a star does, and each waits for the other. */
const MIN_PEERS: Readonly<Record<Topology, number>> = { auto: 3, star: Infinity, peers: 2 };
/** A worker begins to sum when this part of the others can reach it, and stops when fewer than the other part can. */
const REACH = 0.75;
const KEPT_REACH = 0.5;
/** A worker that is lost while it sums is not used for this many rounds. Each further loss doubles the number. */
const REST_ROUNDS = 50;
const MAX_REST_ROUNDS = 10_000;

/** A worker offers to sum, or no longer does, or links to it have opened or ended. */
export function noteOffer(state: RunState, workerId: string, offer: Offer | undefined): void {
  const { topology, round, workers } = state;
  if (offer) return void topology.offers.set(workerId, offer);
  topology.offers.delete(workerId);
  if (!topology.reducers.includes(workerId) || !workers.has(workerId)) return;
  const count = (topology.losses.get(workerId)?.count ?? 0) + 1;
  const untilRound = round + Math.min(REST_ROUNDS * 2 ** (count - 1), MAX_REST_ROUNDS);
  topology.losses.set(workerId, { count, untilRound });
}

/** The service is another one, or has forgotten everything. */
export function resetTopology({ topology }: RunState): void {
  topology.offers.clear();
  [topology.candidates, topology.reducers] = [[], []];
}

/**
 * Call it when an offer or a worker's state has changed, and once a round. Only then others are chosen to sum: several at once cost no
 * more than one, and those that are lost meanwhile are left out by the service.
 */
export function reviewTopology(state: RunState, isBetweenRounds: boolean, effects: RunEffect[]): void {
  const { topology, settings, workers } = state;
  const { candidates: before, reducers: summed } = topology;
  for (const id of topology.losses.keys()) if (!workers.has(id)) topology.losses.delete(id);
  const candidates = settings.topology === 'star' ? [] : candidatesOf(state);
  const able = candidates.filter((id) => isReached(topology, id));
  const enough = able.length >= MIN_PEERS[settings.topology ?? 'auto'] ? able : [];
  const reducers = isBetweenRounds ? enough : summed.filter((id) => candidates.includes(id));
  if (!isSame(candidates, before) || !isSame(reducers, summed)) {
    [topology.candidates, topology.reducers] = [candidates, reducers];
    effects.push({ type: 'usePeers', candidates, reducers });
  }
  if (!isBetweenRounds || isSame(reducers, topology.told)) return;
  topology.told = reducers;
  effects.push({ type: 'decision', decision: describe(state, reducers, able.length) });
}

/** The fastest that offer to; those that are candidates already come first, so that links are kept. */
function candidatesOf({ topology, workers, round }: RunState): readonly string[] {
  const isUsable = ({ id, state }: WorkerRecord): boolean =>
    state !== 'parked' && state !== 'paused' && topology.offers.has(id) && (topology.losses.get(id)?.untilRound ?? 0) <= round;
  const usable = [...workers.values()].filter(isUsable);
  const isKept = ({ id }: WorkerRecord): number => (topology.candidates.includes(id) ? 1 : 0);
  usable.sort((a, b) => isKept(b) - isKept(a) || b.pace.charsPerSecond - a.pace.charsPerSecond);
  const chosen = new Set(usable.slice(0, LIMITS.peers).map(({ id }) => id));
  return [...topology.candidates.filter((id) => chosen.delete(id)), ...chosen];
}

function isReached({ offers, reducers }: TopologyState, id: string): boolean {
  const { members, linked } = offers.get(id)!;
  return linked > 0 && linked >= members * (reducers.includes(id) ? KEPT_REACH : REACH);
}

function isSame(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((id) => other.includes(id));
}

function describe({ workers }: RunState, reducers: readonly string[], able: number): Decision {
  const names = reducers.map((id) => workers.get(id)!.name);
  return { kind: 'topology', reducers: names, able };
}

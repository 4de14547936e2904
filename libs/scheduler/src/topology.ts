/**
 * Who sums the gradients: the all-reduce service, or workers that offer to, each a range of the parameters. Peers relieve the service, but
 * send twice as much themselves as for a star; and a worker that cannot reach them goes through the service. So both are tried.
 */
import { LIMITS, type Topology } from '@troupe/protocol';
import { compare, interrupt, type Verdict } from './comparison.js';
import type { Decision } from './decisions.js';
import type { Offer, RunEffect, RunState, TopologyState, WorkerRecord } from './state.js';
import { maySum } from './trust.js';

/** One worker that sums is a star whose service is elsewhere. */
const MIN_PEERS: Readonly<Record<Topology, number>> = { auto: 2, star: Infinity, peers: 2 };
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
  interrupt(topology.comparison);
}

/** A round has ended. @param tookMs undefined: something has disturbed it */
export function noteRoundTime({ topology }: RunState, tookMs: number | undefined): void {
  topology.tookMs = tookMs;
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
  const able = candidates.filter((id) => isReached(topology, id) && maySum(state, workers.get(id)!));
  const choice = isBetweenRounds ? choose(state, able) : undefined;
  const reducers = choice?.reducers ?? summed.filter((id) => candidates.includes(id));
  if (!isSame(candidates, before) || !isSame(reducers, summed)) {
    [topology.candidates, topology.reducers] = [candidates, reducers];
    effects.push({ type: 'usePeers', candidates, reducers });
  }
  if (!choice?.isNews) return;
  topology.told = reducers;
  effects.push({ type: 'decision', decision: describe(state, choice, able.length) });
}

interface Choice {
  readonly reducers: readonly string[];
  /** Whether people are told. A trial is no news, but its first outcome is. */
  readonly isNews: boolean;
  readonly compared?: { readonly peersMs: number; readonly starMs: number };
}

/** For the next round, of the workers that could sum. */
function choose({ topology, settings }: RunState, able: readonly string[]): Choice {
  const mode = settings.topology ?? 'auto';
  const { comparison, tookMs } = topology;
  const isPossible = able.length >= MIN_PEERS[mode];
  if (mode !== 'auto') return tell(topology, isPossible ? able : []);
  // A way that has won is taken again as soon as it is possible.
  if (!isPossible && (comparison.trial || topology.way === 'peers')) interrupt(comparison);
  else return compareWays(topology, able, compare(comparison, tookMs, isPossible));
  return tell(topology, []);
}

function compareWays(topology: TopologyState, able: readonly string[], verdict: Verdict): Choice {
  const { comparison, way: before } = topology;
  if (verdict.kind === 'change') topology.way = otherThan(before);
  const { way } = topology;
  const reducers = (comparison.trial ? otherThan(way) : way) === 'peers' ? able : [];
  if (comparison.trial) return { reducers, isNews: false };
  if (!('triedMs' in verdict)) return tell(topology, reducers);
  const { triedMs, usualMs } = verdict;
  const [peersMs, starMs] = before === 'star' ? [triedMs, usualMs] : [usualMs, triedMs];
  return { reducers, isNews: way !== before || comparison.vain === 1, compared: { peersMs, starMs } };
}

const otherThan = (way: TopologyState['way']): TopologyState['way'] => (way === 'star' ? 'peers' : 'star');

function tell({ told }: TopologyState, reducers: readonly string[]): Choice {
  return { reducers, isNews: !isSame(reducers, told) };
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

function describe({ workers }: RunState, { reducers, compared }: Choice, able: number): Decision {
  const names = reducers.map((id) => workers.get(id)!.name);
  return { kind: 'topology', reducers: names, able, ...(compared && { compared }) };
}

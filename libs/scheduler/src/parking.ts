/**
 * Which workers take part at all. A worker that makes no round faster is parked: it receives no
 * updates, so it costs nothing. It is fetched back when rounds would be faster with it, when nobody
 * else can compute, and now and then on trial.
 */
import { nextSlowRest, roundsOfWindows } from '@troupe/protocol';
import type { Decision } from './decisions.js';
import { dealQuotas, leaseMs, roundMs, type Load } from './dealing.js';
import { capacityOf, isAnyoneAtWork, isAvailable, loadOf, needsProbe, releaseAll } from './lending.js';
import type { RunEffect, RunState, WorkerRecord } from './state.js';
import { beginTrial, endTrial, mayTry } from './trials.js';

/** A worker is parked after so many rounds in which it got nothing. */
const SPARE_ROUNDS = 3;
/**
 * It stays parked for so many rounds at least, unless nobody else can compute. In a local run, whose rounds may take minutes, this counts
 * windows.
 */
const PARKED_ROUNDS = 25;
const LEAST_PARKED_ROUNDS = 3;
/** A parked worker that reports this many times the speed of one in use is tried soon: something may have disturbed its first leases. */
const PROMISING = 2;
/** A trial that changes nothing doubles that rest before the next trial of the worker, up to this. */
const MAX_REST_ROUNDS = 2_000;
/** Parked workers are fetched back when they would make so many rounds in a row faster, */
const SLOW_ROUNDS = 3;
/** each by this factor: a snapshot is expensive, and predictions are rough. */
const WORTH_FETCHING = 1.05;
/** Those that should compute may need a moment: they fetch a snapshot, or their engine has just failed. */
const STALLED_MS = 1_000;

/** Call it when a round has been dealt. */
export function reviewParking(state: RunState, nowMs: number, effects: RunEffect[]): void {
  if (state.pausedBy.size > 0 || state.parking.plan.workers === 0) return;
  parkSpare(state, effects);
  fetchHelpful(state, nowMs, effects);
  startTrial(state, nowMs, effects);
}

function parkSpare(state: RunState, effects: RunEffect[]): void {
  const useless: WorkerRecord[] = [];
  for (const worker of state.workers.values()) {
    if (worker.state !== 'ready') continue;
    // One that has a backlog may be of use once it is done with that.
    const isSpare = state.spare.has(worker.id) && worker.unanswered.size === 0;
    if (state.active.paces.has(worker.id)) takeOn(state, worker, effects);
    // More workers are to be probed than a round has room for.
    const waits = needsProbe(worker) && state.idle.has(worker.id);
    worker.spareRounds = isSpare || waits ? worker.spareRounds + 1 : 0;
    if (worker.spareRounds >= SPARE_ROUNDS || (isSpare && worker.wanted === 'tried')) useless.push(worker);
  }
  park(state, useless, effects);
}

/** The worker is one of those that the round relies on. */
function takeOn(state: RunState, worker: WorkerRecord, effects: RunEffect[]): void {
  endTrial(state.parking.trials, worker.id);
  if (isOnTrial(worker)) decide(effects, { kind: 'unparked', workers: [worker.name], why: 'trial' });
  worker.wanted = undefined;
  worker.trials = 0;
}

function isOnTrial({ wanted }: WorkerRecord): boolean {
  return wanted === 'trial' || wanted === 'tried';
}

/**
 * Parks these workers, and says by how much a round is faster without them. A trial that changes
 * nothing is no news.
 */
export function park(state: RunState, workers: readonly WorkerRecord[], effects: RunEffect[]): void {
  const news = workers.filter((worker) => !isOnTrial(worker));
  for (const worker of workers) {
    const faster = fasterWithout(state, [worker]);
    effects.push({ type: 'park', workerId: worker.id, faster });
    setParked(state, worker, faster);
  }
  if (news.length > 0) decide(effects, { kind: 'parked', workers: namesOf(news), faster: fasterWithout(state, news) });
}

function setParked(state: RunState, worker: WorkerRecord, faster: number): void {
  endTrial(state.parking.trials, worker.id);
  releaseAll(state, worker);
  Object.assign(worker, { state: 'parked', wanted: undefined, spareRounds: 0, parkedRound: state.round, faster });
  state.spare.delete(worker.id);
  state.idle.delete(worker.id);
}

/** The all-reduce service has left the worker out, whatever it is worth to a round. */
export function parkLagging(state: RunState, workerId: string, nowMs: number, effects: RunEffect[]): void {
  const worker = state.workers.get(workerId);
  // It joins, or has left. Nobody would ever fetch back a worker that has not been ready yet.
  if (!worker) return void effects.push({ type: 'leaveOut', workerId });
  if (worker.state === 'parked' && worker.wanted === undefined) return;
  worker.lag = nextSlowRest(worker.lag, nowMs);
  const restMs = worker.lag.untilMs - nowMs;
  effects.push({ type: 'park', workerId, faster: 0, restMs });
  setParked(state, worker, 0);
  decide(effects, { kind: 'lagging', worker: worker.name, restMs });
}

/** By how much a round is faster than with one unit for each of these workers, as a part of the round. */
function fasterWithout(state: RunState, workers: readonly WorkerRecord[]): number {
  const { plan } = state.parking;
  const load = loadOf(state, state.units.length);
  const slowest = Math.max(...workers.map(({ id, pace }) => leaseMs({ workerId: id, ...pace }, 1, load)));
  const ownMs = plan.roundMs - plan.workers * load.serviceMs;
  const othersMs = ownMs * Math.max(0, 1 - workers.length / load.units);
  const withThem = Math.max(slowest, othersMs) + (plan.workers + workers.length) * load.serviceMs;
  return withThem / Math.max(plan.roundMs, Number.MIN_VALUE) - 1;
}

function parked(state: RunState): WorkerRecord[] {
  const found: WorkerRecord[] = [];
  for (const worker of state.workers.values()) if (worker.state === 'parked' && worker.wanted === undefined) found.push(worker);
  return found;
}

/** Fetches back what would make the round faster: others have left, or have become slower. */
function fetchHelpful(state: RunState, nowMs: number, effects: RunEffect[]): void {
  const { parking, round } = state;
  const load = loadOf(state, state.units.length);
  const rested = parked(state).filter(
    ({ parkedRound, lag }) => nowMs >= lag.untilMs && round - parkedRound >= parkedRounds(state),
  );
  const inTime = rested.filter((worker) => leaseMs(capacityOf(worker, 0), 1, load) <= parking.plan.roundMs);
  const helpful = inTime.length === 0 ? [] : helpersOf(state, inTime, load);
  parking.slowRounds = helpful.length > 0 ? parking.slowRounds + 1 : 0;
  if (parking.slowRounds < SLOW_ROUNDS) return;
  parking.slowRounds = 0;
  fetch(helpful, effects, 'faster');
}

/** Those of `candidates` that would get units, if the round is fast enough with them. */
function helpersOf(state: RunState, candidates: readonly WorkerRecord[], load: Load): WorkerRecord[] {
  const relied = [...state.active.paces.keys()].map((id) => state.workers.get(id)!);
  const capacities = [...relied, ...candidates].map((worker) => capacityOf(worker, 0));
  // Units are whole: with more workers than units some would get nothing, and be parked again.
  const quotas = dealQuotas(capacities, load);
  if (roundMs(capacities, quotas, load) * WORTH_FETCHING > state.parking.plan.roundMs) return [];
  return candidates.filter((_, i) => quotas[relied.length + i] > 0);
}

function fetch(workers: readonly WorkerRecord[], effects: RunEffect[], why: 'faster' | 'alone'): void {
  if (workers.length === 0) return;
  for (const worker of workers) unpark(worker, 'work', effects);
  decide(effects, { kind: 'unparked', workers: namesOf(workers), why });
}

function unpark(worker: WorkerRecord, wanted: 'work' | 'trial', effects: RunEffect[]): void {
  worker.wanted = wanted;
  effects.push({ type: 'unpark', workerId: worker.id });
}

/**
 * Those that were tried least, and among them the one that could help most: it reports the highest
 * speed, so its leases may have been disturbed when it was measured.
 */
function startTrial(state: RunState, nowMs: number, effects: RunEffect[]): void {
  const { trials } = state.parking;
  if (trials.current || trials.usualMs === 0) return;
  const affordable = mayTry(trials);
  const reported = [...state.active.paces.keys()].map((id) => state.workers.get(id)?.reportedCharsPerSecond ?? Infinity);
  const slowest = Math.min(...reported);
  let next: WorkerRecord | undefined;
  for (const worker of parked(state)) {
    const isPromising = worker.trials === 0 && worker.reportedCharsPerSecond >= PROMISING * slowest;
    const rest = isPromising ? SPARE_ROUNDS : restRounds(state, worker);
    if (nowMs < worker.lag.untilMs || !(affordable || isPromising) || state.round - worker.parkedRound < rest) continue;
    if (!next || worker.trials < next.trials || (worker.trials === next.trials && isFaster(worker, next))) next = worker;
  }
  if (!next) return;
  next.trials++;
  beginTrial(trials, next.id, nowMs);
  unpark(next, 'trial', effects);
}

function parkedRounds({ settings }: RunState): number {
  return roundsOfWindows(settings, PARKED_ROUNDS, LEAST_PARKED_ROUNDS);
}

function restRounds(state: RunState, { trials }: WorkerRecord): number {
  const first = parkedRounds(state);
  return Math.min(first * 2 ** trials, roundsOfWindows(state.settings, MAX_REST_ROUNDS, first));
}

function isFaster(one: WorkerRecord, other: WorkerRecord): boolean {
  return one.reportedCharsPerSecond > other.reportedCharsPerSecond;
}

/** A worker on trial is late with its probe, so it is not fast enough yet. */
export function endLateTrial(state: RunState, effects: RunEffect[]): void {
  const worker = state.workers.get(state.parking.trials.current?.workerId ?? '');
  if (worker?.wanted !== 'trial' || worker.state !== 'ready') return;
  if (isSilent(state, worker)) park(state, [worker], effects);
}

/** Fetches parked workers back if nobody else can compute what is left of the round. */
export function fetchWhenStalled(state: RunState, nowMs: number, effects: RunEffect[]): void {
  const { parking } = state;
  if (!isStalled(state, nowMs)) {
    parking.stalledSinceMs = undefined;
    return;
  }
  parking.stalledSinceMs ??= nowMs;
  const candidates = parked(state);
  if (candidates.length === 0 || (isSomeoneExpected(state) && nowMs - parking.stalledSinceMs < STALLED_MS)) return;
  const capacities = candidates.map((worker) => capacityOf(worker, 0));
  const quotas = dealQuotas(capacities, loadOf(state, state.uncovered.size));
  fetch(
    candidates.filter((_, i) => quotas[i] > 0),
    effects,
    'alone',
  );
}

function isStalled(state: RunState, nowMs: number): boolean {
  if (state.phase !== 'running' || state.pausedBy.size > 0 || state.uncovered.size === 0 || isAnyoneAtWork(state)) return false;
  const isFree = (id: string): boolean => isAvailable(state, state.workers.get(id)!, nowMs);
  return ![...state.idle].some(isFree) && ![...state.spare].some(isFree);
}

/** Whether a worker that is not parked will probably compute soon. */
function isSomeoneExpected(state: RunState): boolean {
  for (const worker of state.workers.values()) {
    if (worker.state === 'syncing' || worker.wanted === 'work') return true;
    if (worker.state === 'ready' && !isSilent(state, worker)) return true;
  }
  return false;
}

/** Whether it is late with a lease. */
function isSilent({ leases }: RunState, worker: WorkerRecord): boolean {
  const own = [...worker.unanswered.values(), ...[...worker.leases].map((id) => leases.get(id)!)];
  return own.some(({ late }) => late);
}

function decide(effects: RunEffect[], decision: Decision): void {
  effects.push({ type: 'decision', decision });
}

function namesOf(workers: readonly WorkerRecord[]): string[] {
  return workers.map(({ name }) => name);
}

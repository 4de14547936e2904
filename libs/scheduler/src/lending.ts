/** Keeps track of leases: grants them, takes them back, marks them late. step.ts decides when. */
import { firstWindow, isLocal } from '@troupe/protocol';
import {
  ascending,
  dealUnits,
  dealQuotas,
  limitQuotas,
  oneForEach,
  probeQuotas,
  roundMs,
  type Capacity,
  type Load,
} from './dealing.js';
import { allowanceMs, expectedMs, firstPace, latePace } from './pace.js';
import { relieve } from './queues.js';
import { isResting } from './rests.js';
import type { Lease, RunEffect, RunState, WorkerRecord } from './state.js';
import { awaitsAuditor, chooseAudit, closeAuditOf, mostNormOf, shareLimits } from './trust.js';

/**
 * A worker counts as stuck after this many times its deadline, and not before the minimum:
 * snapshots are expensive.
 */
export const STUCK_FACTOR = 2;
export const STUCK_MIN_MS = 10_000;
/** When this part of the active workers' speed is lost, spare workers are asked again. */
const NOTABLE_LOSS = 0.1;

/** Call it after every change that decides whether the worker may get leases. */
export function refreshIdle(state: RunState, worker: WorkerRecord): void {
  const present = state.workers.get(worker.id) === worker;
  // A silent worker gets no new leases: every round would wait for it again.
  // A new worker gets none before it answers its first probe: probes would pile up there.
  let awaited = false;
  for (const { late, probe } of worker.unanswered.values()) awaited ||= late || probe;
  const idle = present && worker.state === 'ready' && worker.leases.size === 0 && !awaited;
  if (!idle) {
    state.idle.delete(worker.id);
    state.spare.delete(worker.id);
  } else if (!state.spare.has(worker.id)) state.idle.add(worker.id);
}

function askSpare(state: RunState): void {
  for (const id of state.spare) state.idle.add(id);
  state.spare.clear();
}

function setSpare(state: RunState, workerId: string): void {
  state.idle.delete(workerId);
  state.spare.add(workerId);
}

/**
 * This round no longer relies on the worker. Workers that were too slow beside it may be fast
 * enough without it.
 */
export function removeActive(state: RunState, workerId: string): void {
  const { active } = state;
  const pace = active.paces.get(workerId);
  if (pace === undefined) return;
  active.paces.delete(workerId);
  active.charsPerSecond = active.paces.size === 0 ? 0 : active.charsPerSecond - pace;
  active.lost += pace;
  // In a large run one worker changes little, and asking all of them each time costs more than
  // everything else.
  if (active.lost < NOTABLE_LOSS * active.charsPerSecond) return;
  active.lost = 0;
  askSpare(state);
}

function refreshUncovered(state: RunState, index: number): void {
  const { counted, reliableLeases } = state.units[index];
  if (counted || reliableLeases > 0) state.uncovered.delete(index);
  else state.uncovered.add(index);
}

/** At the start of a round every unit is to be computed, and none is lent. */
export function resetUnits(state: RunState): void {
  askSpare(state);
  state.units.forEach((unit, index) => {
    unit.counted = false;
    unit.lent = false;
    unit.failures = 0;
    // clear() allocates a new table even for an empty set.
    if (unit.failedBy.size > 0) unit.failedBy.clear();
    unit.reliableLeases = 0;
    unit.unreliableLease = undefined;
    refreshUncovered(state, index);
  });
}

/** The scheduler forgets the lease; its worker may still compute it. */
export function closeLease(state: RunState, lease: Lease, isCounted = false): void {
  if (!state.leases.delete(lease.id)) return;
  closeAuditOf(state, lease.id, isCounted);
  for (const index of lease.units) {
    if (lease.reliable) state.units[index].reliableLeases--;
    refreshUncovered(state, index);
  }
  const worker = state.workers.get(lease.workerId);
  worker?.leases.delete(lease.id);
  if (worker) refreshIdle(state, worker);
}

/**
 * Takes back the leases that can no longer count, because these units are counted without them. A
 * probe measures its worker all the same.
 */
export function cancelOvertaken(state: RunState, units: readonly number[], effects: RunEffect[]): void {
  let isRace = false;
  for (const index of units) isRace ||= isContested(state, index);
  if (!isRace) return;
  const contested = new Set(units.filter((index) => isContested(state, index)));
  for (const lease of [...state.leases.values()]) {
    if (lease.probe || !lease.units.some((index) => contested.has(index))) continue;
    const worker = state.workers.get(lease.workerId);
    worker?.unanswered.set(lease.id, lease);
    if (worker) worker.measurement.void = true;
    closeLease(state, lease);
    effects.push({ type: 'cancel', workerId: lease.workerId, leaseId: lease.id });
  }
}

/** Whether an open lease covers the unit. In a local run it may have waited at several workers, and each of them takes minutes for it. */
function isContested({ units, leases, settings }: RunState, index: number): boolean {
  if (isLocal(settings)) return [...leases.values()].some((lease) => lease.units.includes(index));
  const { reliableLeases, unreliableLease } = units[index];
  return reliableLeases > 0 || (unreliableLease !== undefined && leases.has(unreliableLease));
}

export function markCounted(state: RunState, index: number, holder: WorkerRecord | undefined): void {
  state.units[index].counted = true;
  state.units[index].nextHolder = holder?.id;
  holder?.nextHeld.push(index);
  refreshUncovered(state, index);
}

/** Takes back the worker's leases and forgets which hidden states it holds. */
export function releaseAll(state: RunState, worker: WorkerRecord): void {
  for (const leaseId of [...worker.leases]) closeLease(state, state.leases.get(leaseId)!);
  worker.unanswered.clear();
  worker.measurement.void = true;
  removeActive(state, worker.id);
  for (const index of worker.held) if (state.units[index].holder === worker.id) state.units[index].holder = undefined;
  for (const index of worker.nextHeld) if (state.units[index].nextHolder === worker.id) state.units[index].nextHolder = undefined;
  worker.held = [];
  worker.nextHeld = [];
  refreshIdle(state, worker);
}

/**
 * The worker has answered a lease. Workers take leases in the order in which they are granted, so
 * all older ones are settled as well.
 * @param computeMs time in its engine, if it computed the lease: that measures a probe
 */
export function settle(state: RunState, worker: WorkerRecord, leaseId: string, nowMs: number, computeMs?: number): void {
  const lease = worker.unanswered.get(leaseId);
  if (worker.unanswered.size === 0 || (!lease && !worker.leases.has(leaseId))) return;
  for (const id of worker.unanswered.keys()) {
    worker.unanswered.delete(id);
    if (id === leaseId) break;
  }
  if (lease && computeMs !== undefined) measureProbe(worker, lease, nowMs, computeMs);
  // It starts on its newer leases only now.
  if (worker.unanswered.size === 0 && worker.measurement.characters === 0) worker.measurement.sinceMs = nowMs;
  refreshIdle(state, worker);
}

/** A probe measures its worker whether its result counts or another worker was faster. */
export function measureProbe(worker: WorkerRecord, lease: Lease, nowMs: number, computeMs: number): void {
  if (!lease.probe) return;
  const tookMs = nowMs - lease.grantedAtMs;
  worker.pace = firstPace({ characters: lease.charactersSoFar, tookMs, computeMs }, lease.allowedMs);
  if (worker.wanted === 'trial') worker.wanted = 'tried';
}

/**
 * Marks leases that are past their deadlines, and all other leases of the same workers.
 * @returns those marked now
 */
export function markLate(state: RunState, nowMs: number): Lease[] {
  const overdue = [...state.leases.values()].filter((lease) => !lease.late && nowMs >= lease.deadlineAtMs);
  const marked: Lease[] = [];
  for (const { workerId } of overdue) {
    for (const leaseId of state.workers.get(workerId)?.leases ?? []) {
      const lease = state.leases.get(leaseId)!;
      if (lease.late) continue;
      setLate(state, lease, nowMs);
      marked.push(lease);
    }
  }
  for (const worker of state.workers.values()) markUnanswered(state, worker, nowMs);
  return marked;
}

function setLate(state: RunState, lease: Lease, nowMs: number): void {
  lease.late = true;
  removeActive(state, lease.workerId);
  if (lease.reliable) markUnreliable(state, lease);
  const worker = state.workers.get(lease.workerId);
  if (worker && nowMs >= lease.deadlineAtMs) {
    worker.pace = latePace(worker.pace, lease.charactersSoFar, nowMs - lease.grantedAtMs);
  }
}

function markUnreliable(state: RunState, lease: Lease): void {
  lease.reliable = false;
  for (const index of lease.units) {
    state.units[index].reliableLeases--;
    state.units[index].unreliableLease = lease.id;
    refreshUncovered(state, index);
  }
}

function markUnanswered(state: RunState, worker: WorkerRecord, nowMs: number): void {
  let changed = false;
  for (const lease of worker.unanswered.values()) {
    if (lease.late || nowMs < lease.deadlineAtMs) continue;
    lease.late = true;
    worker.pace = latePace(worker.pace, lease.charactersSoFar, nowMs - lease.grantedAtMs);
    changed = true;
  }
  if (changed) refreshIdle(state, worker);
}

/** Workers that stay silent long after their deadlines. */
export function stuckWorkers(state: RunState, nowMs: number): WorkerRecord[] {
  const isStuck = (lease: Lease | undefined): boolean => lease !== undefined && nowMs >= lease.stuckAtMs;
  return [...state.workers.values()].filter(
    ({ state: mode, leases, unanswered }) =>
      mode === 'ready' && ([...leases].some((id) => isStuck(state.leases.get(id))) || [...unanswered.values()].some(isStuck)),
  );
}

/** Lends all uncovered units to idle workers, or what waits at others, unless the run is paused. */
export function lendUncovered(state: RunState, nowMs: number, effects: RunEffect[]): void {
  if (state.phase !== 'running' || state.pausedBy.size > 0) return;
  if (state.uncovered.size === 0) return lendWaiting(state, nowMs, effects);
  const idle = freeWorkers(state, nowMs);
  if (idle.length === 0) return;
  // After a failure the units are dealt anew, so that others try them.
  const whole = state.uncovered.size === state.units.length && !state.units.some(({ failures }) => failures > 0);
  const dealt = whole ? dealRound(state, idle, nowMs) : dealRest(state, idle, nowMs);
  for (const { worker, units, probe } of dealt) grantLeases(state, worker, units, probe, nowMs, effects);
}

/** Lends what waits at workers of a local round to idle ones too. A worker that is done with one lease is idle again. */
function lendWaiting(state: RunState, nowMs: number, effects: RunEffect[]): void {
  if (!isLocal(state.settings) || state.idle.size === 0) return;
  for (const { worker, lease } of relieve(state, freeWorkers(state, nowMs))) {
    markUnreliable(state, lease);
    grantLeases(state, worker, lease.units, false, nowMs, effects);
  }
}

/** Whether the worker may get a lease of this round now, if it has nothing else to do. */
export function isAvailable(state: RunState, worker: WorkerRecord, nowMs: number): boolean {
  return isAble(state, worker, nowMs) && !isResting(worker, nowMs);
}

/** Whether it could compute a lease of this round. It may be resting because it has refused others. */
function isAble({ round }: RunState, { cooldownUntilMs, declines }: WorkerRecord, nowMs: number): boolean {
  return nowMs >= cooldownUntilMs && (declines.round !== round || nowMs >= declines.untilMs);
}

/** Spare workers are asked only when nobody else is at work, and those that rest only when no spare worker is free either. */
function freeWorkers(state: RunState, nowMs: number): WorkerRecord[] {
  const idle = (test: typeof isAvailable): WorkerRecord[] => {
    const found: WorkerRecord[] = [];
    for (const id of state.idle) {
      const worker = state.workers.get(id)!;
      if (test(state, worker, nowMs) && !awaitsAuditor(state, worker)) found.push(worker);
    }
    return found;
  };
  const free = idle(isAvailable);
  if (free.length > 0 || isAnyoneAtWork(state)) return free;
  askSpare(state);
  const spare = idle(isAvailable);
  return spare.length > 0 ? spare : idle(isAble);
}

function streamsOf({ units }: RunState, indices: Iterable<number>): number {
  let streams = 0;
  for (const index of indices) streams += units[index].streams.length;
  return streams;
}

export function isAnyoneAtWork({ leases }: RunState): boolean {
  for (const { reliable } of leases.values()) if (reliable) return true;
  return false;
}

/** The units that a worker gets. */
interface Assignment {
  readonly worker: WorkerRecord;
  readonly units: readonly number[];
  readonly probe: boolean;
}

/** Deals a whole round: each worker keeps what it holds up to its quota. */
function dealRound(state: RunState, idle: readonly WorkerRecord[], nowMs: number): Assignment[] {
  const uncovered = [...state.units.keys()];
  const shares = quotasOfRound(state, idle, uncovered);
  const dealt = dealUnits(
    uncovered,
    shares.map(({ worker }) => worker.id),
    shares.map(({ quota }) => quota),
    (index) => state.units[index].holder,
  );
  const { active, settings } = state;
  active.paces.clear();
  Object.assign(active, { charsPerSecond: 0, lost: 0, endMs: nowMs });
  const assignments = shares
    .map(({ worker, probe }) => ({ worker, probe, units: dealt.get(worker.id)! }))
    .filter(({ units }) => units.length > 0);
  for (const { worker, probe, units } of assignments) {
    if (probe) continue;
    active.paces.set(worker.id, worker.pace.charsPerSecond);
    active.charsPerSecond += worker.pace.charsPerSecond;
    const characters = streamsOf(state, units) * settings.window;
    active.endMs = Math.max(active.endMs, nowMs + expectedMs(worker.pace, backlogOf(worker) + characters));
  }
  return assignments;
}

/**
 * Deals what is left of a round. Each idle worker gets at least one unit, and its share by speed
 * among all active workers, which will be done soon: the units of a lost worker do not all go to
 * the worker that is done first. Workers that need longer for one unit than the others need for all
 * of them are spare.
 */
function dealRest(state: RunState, idle: readonly WorkerRecord[], nowMs: number): Assignment[] {
  const { active, uncovered } = state;
  const relied = active.paces.size > 0;
  const isQuick = (worker: WorkerRecord): boolean => !relied || isQuickEnough(state, worker, nowMs);
  const quick = idle.filter(isQuick);
  const free = quick.length === 0 && !isAnyoneAtWork(state) ? idle : quick;
  if (free !== idle) for (const worker of idle) if (!isQuick(worker)) setSpare(state, worker.id);
  const freeCharsPerSecond = free.reduce((sum, { pace }) => sum + pace.charsPerSecond, 0);
  const charsPerSecond = Math.max(active.charsPerSecond, freeCharsPerSecond);
  const inOrder = free.toSorted((a, b) => b.pace.charsPerSecond - a.pace.charsPerSecond);
  const counts = inOrder.map(({ pace }) => Math.ceil((uncovered.size * pace.charsPerSecond) / charsPerSecond));
  const limits = shareLimits(state, inOrder, counts, state.units.length);
  const requests = inOrder.map(({ id }, i) => ({ workerId: id, count: Math.min(counts[i], limits[i]) }));
  const taken = takeUnits(state, requests);
  return inOrder
    .map((worker, i) => ({ worker, units: ascending(taken[i]), probe: relied && needsProbe(worker) }))
    .filter(({ units }) => units.length > 0);
}

function isQuickEnough({ active, settings, uncovered }: RunState, worker: WorkerRecord, nowMs: number): boolean {
  const unit = Math.max(settings.leaseStreams, 1) * settings.window;
  // On average each active worker has one more unit of its own to finish.
  const restMs = ((uncovered.size + active.paces.size) * unit * 1000) / active.charsPerSecond;
  return nowMs + expectedMs(worker.pace, backlogOf(worker) + unit) <= Math.max(active.endMs, nowMs + restMs);
}

/**
 * Uncovered units for each request, in this order. A unit that has failed at a worker goes to
 * another one if possible: whether it fails there too says whether the run has diverged.
 */
function takeUnits(
  { uncovered, units }: RunState,
  requests: readonly { readonly workerId: string; readonly count: number }[],
): number[][] {
  const next = uncovered.values();
  const failed: number[] = [];
  const taken = requests.map(({ workerId, count }) => {
    const fits = (index: number): boolean => !units[index].failedBy.has(workerId);
    const mine: number[] = [];
    for (const index of failed.splice(0)) (mine.length < count && fits(index) ? mine : failed).push(index);
    while (mine.length < count) {
      const item = next.next();
      if (item.done === true) break;
      (fits(item.value) ? mine : failed).push(item.value);
    }
    return mine;
  });
  requests.forEach(({ count }, i) => taken[i].push(...failed.splice(0, count - taken[i].length)));
  return taken;
}

/** How many units a worker gets. */
interface Quota {
  readonly worker: WorkerRecord;
  readonly quota: number;
  readonly probe: boolean;
}

/** Whether its pace is unknown: it has none yet, or it is on trial. */
export function needsProbe({ pace, wanted }: WorkerRecord): boolean {
  return !pace.measured || wanted === 'trial';
}

/**
 * Quotas of a whole round. If any worker is measured, the unmeasured ones get probes, as does a
 * parked one that is on trial.
 */
function quotasOfRound(state: RunState, idle: readonly WorkerRecord[], uncovered: readonly number[]): Quota[] {
  const load = loadOf(state, uncovered.length);
  const measured = idle.filter((worker) => !needsProbe(worker));
  state.parking.plan = { roundMs: 0, workers: 0 };
  if (measured.length === 0) {
    const quotas = oneForEach(dealQuotas(capacitiesOf(state, idle, uncovered), load));
    return idle.map((worker, i) => ({ worker, quota: quotas[i], probe: false }));
  }
  const capacities = capacitiesOf(state, measured, uncovered);
  const before = limitedQuotas(state, measured, capacities, load);
  measured.forEach(({ id }, i) => {
    if (before[i] === 0) setSpare(state, id);
  });
  state.parking.plan = { roundMs: roundMs(capacities, before, load), workers: before.filter((quota) => quota > 0).length };
  const probes = probesBeside(idle.filter(needsProbe), measured, load.units);
  const probeUnits = probes.reduce((sum, { quota }) => sum + quota, 0);
  const quotas =
    probeUnits === 0 ? before : limitedQuotas(state, measured, capacities, { ...load, units: load.units - probeUnits });
  const relied = measured.map((worker, i) => ({ worker, quota: quotas[i], probe: false })).filter(({ quota }) => quota > 0);
  return [...relied, ...probes];
}

/** As `dealQuotas`, but no volunteer gets more than its limit as long as others can take the rest. */
function limitedQuotas(state: RunState, workers: readonly WorkerRecord[], capacities: readonly Capacity[], load: Load): number[] {
  const quotas = dealQuotas(capacities, load);
  const limits = shareLimits(state, workers, quotas, load.units);
  return limitQuotas(capacities, quotas, limits, load);
}

/** Where leases have one size, the service adds as many contributions, whichever workers send them. */
export function loadOf({ settings, parking }: RunState, units: number): Load {
  const { leaseStreams, window } = settings;
  return { units, unitCharacters: Math.max(leaseStreams, 1) * window, serviceMs: leaseStreams > 0 ? 0 : parking.serviceMs };
}

/** Those that report the highest speed come first: there may not be room for all. */
function probesBeside(probed: readonly WorkerRecord[], measured: readonly WorkerRecord[], total: number): Quota[] {
  if (probed.length === 0) return [];
  const charsPerSecond = measured.reduce((sum, { pace }) => sum + pace.charsPerSecond, 0);
  const speedOf = ({ pace, reportedCharsPerSecond }: WorkerRecord): number =>
    pace.measured ? reportedCharsPerSecond : pace.charsPerSecond;
  const inOrder = probed.toSorted((a, b) => speedOf(b) - speedOf(a));
  const candidates = inOrder.map((worker) => ({ reportedCharsPerSecond: speedOf(worker) }));
  const quotas = probeQuotas(candidates, charsPerSecond, total);
  return inOrder.map((worker, i) => ({ worker, quota: quotas[i], probe: true })).filter(({ quota }) => quota > 0);
}

function capacitiesOf(state: RunState, workers: readonly WorkerRecord[], uncovered: readonly number[]): Capacity[] {
  const held = new Map<string, number>();
  for (const index of uncovered) {
    const { holder } = state.units[index];
    if (holder !== undefined) held.set(holder, (held.get(holder) ?? 0) + 1);
  }
  return workers.map((worker) => capacityOf(worker, held.get(worker.id) ?? 0));
}

/** A worker with a backlog starts later, as if its link were slower. */
export function capacityOf(worker: WorkerRecord, held: number): Capacity {
  const { id: workerId, pace } = worker;
  const { charsPerSecond } = pace;
  return { workerId, charsPerSecond, transferMs: expectedMs(pace, backlogOf(worker)), held };
}

/**
 * Characters of leases that no longer count and that the worker may still compute before it starts
 * on new ones.
 */
function backlogOf({ unanswered }: WorkerRecord): number {
  let characters = 0;
  for (const lease of unanswered.values()) characters += lease.characters;
  return characters;
}

/**
 * Grants one lease of all these units. In a reproducible run each unit gets a lease of its own,
 * because rounding depends on what one contribution adds up, and so does each track. Units of an unreliable lease are kept
 * together and apart from others: a contribution counts as a whole or not at all, so whichever of
 * the two arrives first must cover the same units.
 */
function grantLeases(
  state: RunState,
  worker: WorkerRecord,
  units: readonly number[],
  probe: boolean,
  nowMs: number,
  effects: RunEffect[],
): void {
  worker.measurement = { sinceMs: nowMs, characters: 0, computeMs: 0, void: false };
  worker.dealtRound = state.round;
  const groups = new Map<string | number, number[]>();
  for (const index of units) {
    const key = state.settings.leaseStreams > 0 ? index : (state.units[index].unreliableLease ?? '');
    const group = groups.get(key);
    if (group) group.push(index);
    else groups.set(key, [index]);
  }
  let charactersBefore = 0;
  for (const group of groups.values())
    charactersBefore = grantLease(state, worker, group, { charactersBefore, probe }, nowMs, effects);
}

/** @returns the characters of this lease and of those granted before it in one go */
function grantLease(
  state: RunState,
  worker: WorkerRecord,
  units: readonly number[],
  { charactersBefore, probe }: { readonly charactersBefore: number; readonly probe: boolean },
  nowMs: number,
  effects: RunEffect[],
): number {
  const streams = state.settings.leaseStreams > 0 ? units.flatMap((index) => state.units[index].streams) : units;
  const characters = streams.length * state.settings.window;
  const charactersSoFar = charactersBefore + characters;
  const deadlineMs = allowanceMs(worker.pace, charactersSoFar + backlogOf(worker));
  const id = `${state.round}-${state.leaseCount++}`;
  let states = '';
  for (const index of units) states += stateSource(state, worker.id, index);
  const lease: Lease = {
    id,
    round: state.round,
    workerId: worker.id,
    units,
    characters,
    charactersSoFar,
    grantedAtMs: nowMs,
    allowedMs: deadlineMs,
    deadlineAtMs: nowMs + deadlineMs,
    stuckAtMs: nowMs + Math.max(STUCK_FACTOR * deadlineMs, STUCK_MIN_MS),
    steps: 0,
    reliable: !probe,
    late: false,
    probe,
  };
  state.leases.set(id, lease);
  worker.leases.add(id);
  refreshIdle(state, worker);
  for (const index of units) {
    if (probe) state.units[index].unreliableLease = id;
    else state.units[index].reliableLeases++;
    state.units[index].lent = true;
    refreshUncovered(state, index);
  }
  const audit = chooseAudit(state, worker, id, lease.deadlineAtMs);
  const given = { workerId: worker.id, leaseId: id, round: state.round, streams, states, deadlineMs };
  effects.push({ type: 'lease', ...given, audit, ...mostNormOf(state, worker) });
  return charactersSoFar;
}

/** Where the hidden states of the unit come from: see `states` of the effect `lease`. */
function stateSource({ round, settings, units }: RunState, workerId: string, index: number): string {
  const { holder, lent, streams } = units[index];
  const wraps = firstWindow(settings, round) % settings.windowsPerPass === 0;
  const source = wraps ? 'z' : holder === workerId && !lent ? 'h' : 'g';
  return streams.length === 1 ? source : source.repeat(streams.length);
}

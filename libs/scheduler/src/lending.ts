/** Which units are with whom: granting, taking back, lateness. What is to be done about it, step.ts decides. */
import { ascending, dealUnits, dealQuotas, oneForEach, probeQuotas, type Capacity } from './dealing.js';
import { allowanceMs, expectedMs, firstPace, latePace } from './pace.js';
import type { Lease, RunEffect, RunState, WorkerRecord } from './state.js';

/** A worker is thought stuck after this many times what its lease allowed, but not before the minimum: a snapshot is not cheap. */
const STUCK_FACTOR = 2;
const STUCK_MIN_MS = 10_000;
/** The part of the active workers' speed that must be lost before parked workers are asked again. */
const NOTABLE_LOSS = 0.1;
/** A worker that was too slow for a single unit is tried again after so many rounds: it may have been a passing load. */
const RETRY_ROUNDS = 25;

/** To be called when anything of the worker has changed that decides whether it may be dealt something. */
export function refreshIdle(state: RunState, worker: WorkerRecord): void {
  const present = state.workers.get(worker.id) === worker;
  // Of whom nothing is heard of a late lease gets nothing new: every round would wait for it again.
  // Nor does a newcomer before its first trial is answered: trials would pile up with it.
  let awaited = false;
  for (const { late, probe } of worker.unanswered.values()) awaited ||= late || probe;
  const idle = present && worker.state === 'ready' && worker.leases.size === 0 && !awaited;
  if (!idle) {
    state.idle.delete(worker.id);
    state.parked.delete(worker.id);
  } else if (!state.parked.has(worker.id)) state.idle.add(worker.id);
}

function unparkAll(state: RunState): void {
  for (const id of state.parked) state.idle.add(id);
  state.parked.clear();
}

function park(state: RunState, workerId: string): void {
  state.idle.delete(workerId);
  state.parked.add(workerId);
}

/** The worker is lost to this round. Who was too slow beside it may be just right without it. */
export function removeActive(state: RunState, workerId: string): void {
  const { active } = state;
  const pace = active.paces.get(workerId);
  if (pace === undefined) return;
  active.paces.delete(workerId);
  active.charsPerSecond = active.paces.size === 0 ? 0 : active.charsPerSecond - pace;
  active.lost += pace;
  // In a crowd one more or less changes nothing, and asking everyone each time costs more than all the rest.
  if (active.lost < NOTABLE_LOSS * active.charsPerSecond) return;
  active.lost = 0;
  unparkAll(state);
}

function refreshUncovered(state: RunState, index: number): void {
  const { counted, reliableLeases } = state.units[index];
  if (counted || reliableLeases > 0) state.uncovered.delete(index);
  else state.uncovered.add(index);
}

/** Everything is to be computed, nothing is lent. */
export function resetUnits(state: RunState): void {
  unparkAll(state);
  state.units.forEach((unit, index) => {
    unit.counted = false;
    unit.lent = false;
    unit.failures = 0;
    // To clear a set makes a new table, even of an empty one.
    if (unit.failedBy.size > 0) unit.failedBy.clear();
    unit.reliableLeases = 0;
    unit.unreliableLease = undefined;
    refreshUncovered(state, index);
  });
}

/** The lease is out of the books; its worker may be computing it still. */
export function closeLease(state: RunState, lease: Lease): void {
  if (!state.leases.delete(lease.id)) return;
  for (const index of lease.units) {
    if (lease.reliable) state.units[index].reliableLeases--;
    refreshUncovered(state, index);
  }
  const worker = state.workers.get(lease.workerId);
  worker?.leases.delete(lease.id);
  if (worker) refreshIdle(state, worker);
}

export function markCounted(state: RunState, index: number, holder: WorkerRecord | undefined): void {
  state.units[index].counted = true;
  state.units[index].nextHolder = holder?.id;
  holder?.nextHeld.push(index);
  refreshUncovered(state, index);
}

/** What it was lent and what it holds no longer counts on it. */
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
 * The worker is done with a lease. It acts on leases in the order in which they were dealt, so all that is older and unanswered is settled as
 * well. `computed`: whether the time that it took says anything.
 */
export function settle(state: RunState, worker: WorkerRecord, leaseId: string, nowMs: number, computed: boolean): void {
  const lease = worker.unanswered.get(leaseId);
  if (worker.unanswered.size === 0 || (!lease && !worker.leases.has(leaseId))) return;
  for (const id of worker.unanswered.keys()) {
    worker.unanswered.delete(id);
    if (id === leaseId) break;
  }
  if (lease && computed) measureProbe(worker, lease, nowMs);
  // Only now does it turn to what it was dealt since.
  if (worker.unanswered.size === 0 && worker.measurement.characters === 0) worker.measurement.sinceMs = nowMs;
  refreshIdle(state, worker);
}

/** What a trial is for: it tells the speed of its worker, whether it counts or someone else was quicker. */
export function measureProbe(worker: WorkerRecord, lease: Lease, nowMs: number): void {
  if (lease.probe) worker.pace = firstPace(lease.charactersSoFar, nowMs - lease.grantedAtMs);
}

/** Marks leases that are past their deadline, with all that their workers were lent besides: they are not going to be quicker there. */
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

/** Workers that say nothing although they should have been done long ago. */
export function stuckWorkers(state: RunState, nowMs: number): WorkerRecord[] {
  const isStuck = (lease: Lease | undefined): boolean => lease !== undefined && nowMs >= lease.stuckAtMs;
  return [...state.workers.values()].filter(
    ({ state: mode, leases, unanswered }) =>
      mode === 'ready' && ([...leases].some((id) => isStuck(state.leases.get(id))) || [...unanswered.values()].some(isStuck)),
  );
}

/** Deals what is neither counted nor covered by a reliable lease to workers that have nothing to do. */
export function lendUncovered(state: RunState, nowMs: number, effects: RunEffect[]): void {
  if (state.phase !== 'running' || state.pausedBy.size > 0 || state.uncovered.size === 0) return;
  const idle = freeWorkers(state, nowMs);
  if (idle.length === 0) return;
  const whole = state.uncovered.size === state.units.length;
  const dealt = whole ? dealRound(state, idle, nowMs) : dealRest(state, idle, nowMs);
  for (const { worker, units, probe } of dealt) grantLeases(state, worker, units, probe, nowMs, effects);
}

/** Parked workers are asked when nobody else is at work. */
function freeWorkers(state: RunState, nowMs: number): WorkerRecord[] {
  const rested = (): WorkerRecord[] => {
    const found: WorkerRecord[] = [];
    for (const id of state.idle) {
      const worker = state.workers.get(id)!;
      if (nowMs >= worker.restUntilMs) found.push(worker);
    }
    return found;
  };
  const free = rested();
  if (free.length > 0 || state.parked.size === 0 || isAnyoneAtWork(state)) return free;
  unparkAll(state);
  return rested();
}

function streamsOf({ units }: RunState, indices: Iterable<number>): number {
  let streams = 0;
  for (const index of indices) streams += units[index].streams.length;
  return streams;
}

function isAnyoneAtWork({ leases }: RunState): boolean {
  for (const { reliable } of leases.values()) if (reliable) return true;
  return false;
}

/** What a worker gets; `trial`: it is not relied on. */
interface Assignment {
  readonly worker: WorkerRecord;
  readonly units: readonly number[];
  readonly probe: boolean;
}

/** The whole round: every worker keeps what it holds as far as its share goes. */
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
    active.endMs = Math.max(active.endMs, nowMs + expectedMs(worker.pace, characters));
  }
  return assignments;
}

/**
 * What is left of a round: each gets its part beside the others at work, who will be done soon, and at least one unit, so that what a lost
 * worker had is not heaped on whoever happens to be done first. Who would be at one unit for longer than the others at all of them is
 * parked.
 */
function dealRest(state: RunState, idle: readonly WorkerRecord[], nowMs: number): Assignment[] {
  const { active, uncovered } = state;
  const relied = active.paces.size > 0;
  const isQuick = (worker: WorkerRecord): boolean => !relied || isQuickEnough(state, worker, nowMs);
  const quick = idle.filter(isQuick);
  const free = quick.length === 0 && !isAnyoneAtWork(state) ? idle : quick;
  if (free !== idle) for (const worker of idle) if (!isQuick(worker)) park(state, worker.id);
  const together = free.reduce((sum, { pace }) => sum + pace.charsPerSecond, 0);
  const others = Math.max(active.charsPerSecond, together);
  const next = uncovered.values();
  const count = uncovered.size;
  const assignments = free
    .toSorted((a, b) => b.pace.charsPerSecond - a.pace.charsPerSecond)
    .map((worker) => {
      const part = Math.ceil((count * worker.pace.charsPerSecond) / others);
      return { worker, units: ascending(take(next, part)), probe: relied && !worker.pace.measured };
    });
  return assignments.filter(({ units }) => units.length > 0);
}

function isQuickEnough({ active, settings, uncovered }: RunState, { pace }: WorkerRecord, nowMs: number): boolean {
  const unit = Math.max(settings.leaseStreams, 1) * settings.window;
  // Each of them has one unit of its own under way, on average.
  const restMs = ((uncovered.size + active.paces.size) * unit * 1000) / active.charsPerSecond;
  return nowMs + expectedMs(pace, unit) <= Math.max(active.endMs, nowMs + restMs);
}

function take(from: Iterator<number>, count: number): number[] {
  const taken: number[] = [];
  while (taken.length < count) {
    const item = from.next();
    if (item.done === true) break;
    taken.push(item.value);
  }
  return taken;
}

/** How many units a worker gets. */
interface Quota {
  readonly worker: WorkerRecord;
  readonly quota: number;
  readonly probe: boolean;
}

/** Of a whole round. Whom nobody has measured, or not for long, gets a little on trial, as long as there is anyone to rely on. */
function quotasOfRound(state: RunState, idle: readonly WorkerRecord[], uncovered: readonly number[]): Quota[] {
  const total = uncovered.length;
  const tried = idle.filter(({ pace }) => pace.measured);
  if (tried.length === 0) {
    const quotas = oneForEach(dealQuotas(capacitiesOf(state, idle, uncovered), total));
    return idle.map((worker, i) => ({ worker, quota: quotas[i], probe: false }));
  }
  const capacities = capacitiesOf(state, tried, uncovered);
  const before = dealQuotas(capacities, total);
  const slow = tried.filter((_, i) => before[i] === 0);
  for (const { id } of slow) park(state, id);
  const probes = probesBeside(state, idle, tried, slow, total);
  const probeUnits = probes.reduce((sum, { quota }) => sum + quota, 0);
  const quotas = probeUnits === 0 ? before : dealQuotas(capacities, total - probeUnits);
  const relied = tried.map((worker, i) => ({ worker, quota: quotas[i], probe: false })).filter(({ quota }) => quota > 0);
  return [...relied, ...probes];
}

function probesBeside(
  state: RunState,
  idle: readonly WorkerRecord[],
  tried: readonly WorkerRecord[],
  slow: readonly WorkerRecord[],
  total: number,
): Quota[] {
  const fresh = idle.filter(({ pace }) => !pace.measured);
  const again = slow.filter(({ dealtRound }) => state.round - dealtRound >= RETRY_ROUNDS);
  if (fresh.length + again.length === 0) return [];
  const charsPerSecond = tried.reduce((sum, { pace }) => sum + pace.charsPerSecond, 0);
  const candidates = [
    ...fresh.map((worker) => ({ worker, reportedCharsPerSecond: worker.pace.charsPerSecond })),
    ...again.map((worker) => ({ worker, reportedCharsPerSecond: 0 })),
  ];
  const quotas = probeQuotas(candidates, charsPerSecond, total);
  return candidates.map(({ worker }, i) => ({ worker, quota: quotas[i], probe: true })).filter(({ quota }) => quota > 0);
}

function capacitiesOf(state: RunState, workers: readonly WorkerRecord[], uncovered: readonly number[]): Capacity[] {
  const held = new Map<string, number>();
  for (const index of uncovered) {
    const { holder } = state.units[index];
    if (holder !== undefined) held.set(holder, (held.get(holder) ?? 0) + 1);
  }
  return workers.map(({ id, pace: { charsPerSecond } }) => ({ workerId: id, charsPerSecond, held: held.get(id) ?? 0 }));
}

/**
 * One lease of all the units; but in a reproducible run one of each, since what a contribution adds up decides how it is rounded. Work units that
 * someone else may still come with are leased apart from others, as that one has them: a contribution counts as a whole or not at all.
 */
function grantLeases(
  state: RunState,
  worker: WorkerRecord,
  units: readonly number[],
  probe: boolean,
  nowMs: number,
  effects: RunEffect[],
): void {
  worker.measurement = { sinceMs: nowMs, characters: 0, void: false };
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

/** @returns the characters of this lease and those before it */
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
  let leftover = 0;
  for (const { characters: open } of worker.unanswered.values()) leftover += open;
  const deadlineMs = allowanceMs(worker.pace, charactersSoFar + leftover);
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
    deadlineAtMs: nowMs + deadlineMs,
    stuckAtMs: nowMs + Math.max(STUCK_FACTOR * deadlineMs, STUCK_MIN_MS),
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
  effects.push({ type: 'lease', workerId: worker.id, leaseId: id, round: state.round, streams, states, deadlineMs });
  return charactersSoFar;
}

/** For each stream of the unit: `z` zeros, `h` held by the worker, `g` given. */
function stateSource({ round, settings, units }: RunState, workerId: string, index: number): string {
  const { holder, lent, streams } = units[index];
  const wraps = round % settings.windowsPerPass === 0;
  const source = wraps ? 'z' : holder === workerId && !lent ? 'h' : 'g';
  return streams.length === 1 ? source : source.repeat(streams.length);
}

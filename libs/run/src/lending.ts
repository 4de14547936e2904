/** Which grains are with whom: granting, taking back, lateness. What is to be done about it, step.ts decides. */
import { dealGrains, dealQuotas, type Hand } from './dealing.js';
import { allowanceMs, forgivenPace, latePace } from './pace.js';
import type { Lease, RunEffect, RunState, WorkerRecord } from './state.js';

/** A worker is thought stuck after this many times what its lease allowed, but not before the minimum: a snapshot is not cheap. */
const STUCK_FACTOR = 2;
const STUCK_MIN_MS = 10_000;

/** To be called when anything of the worker has changed that decides whether it may be dealt something. */
export function noteWorker(state: RunState, worker: WorkerRecord): void {
  const present = state.workers.get(worker.id) === worker;
  // Of whom nothing is heard of a late lease gets nothing new: every round would wait for it again.
  const awaited = [...worker.unanswered.values()].some((lease) => lease.late);
  const idle = present && worker.state === 'ready' && worker.leases.size === 0 && !awaited;
  if (idle) state.idle.add(worker.id);
  else state.idle.delete(worker.id);
}

function noteGrain(state: RunState, index: number): void {
  const { counted, timelyLeases } = state.grains[index];
  if (counted || timelyLeases > 0) state.uncovered.delete(index);
  else state.uncovered.add(index);
}

/** Everything is to be computed, nothing is lent. */
export function freshRound(state: RunState): void {
  state.grains.forEach((grain, index) => {
    grain.counted = false;
    grain.lent = false;
    grain.failures = 0;
    grain.failedBy.clear();
    grain.timelyLeases = 0;
    noteGrain(state, index);
  });
}

/** The lease is out of the books; its worker may be computing it still. */
export function closeLease(state: RunState, lease: Lease): void {
  if (!state.leases.delete(lease.id)) return;
  for (const index of lease.grains) {
    if (!lease.late) state.grains[index].timelyLeases--;
    noteGrain(state, index);
  }
  const worker = state.workers.get(lease.workerId);
  worker?.leases.delete(lease.id);
  if (worker) noteWorker(state, worker);
}

export function markCounted(state: RunState, index: number, holder: string | undefined): void {
  state.grains[index].counted = true;
  state.grains[index].nextHolder = holder;
  noteGrain(state, index);
}

/** What it was lent and what it holds no longer counts on it. */
export function forsake(state: RunState, worker: WorkerRecord): void {
  for (const leaseId of [...worker.leases]) closeLease(state, state.leases.get(leaseId)!);
  worker.unanswered.clear();
  worker.batch.void = true;
  for (const grain of state.grains) {
    if (grain.holder === worker.id) grain.holder = undefined;
    if (grain.nextHolder === worker.id) grain.nextHolder = undefined;
  }
  noteWorker(state, worker);
}

/** The worker is done with a lease of a round that is over. */
export function answered(state: RunState, worker: WorkerRecord, leaseId: string, nowMs: number): void {
  if (!worker.unanswered.delete(leaseId)) return;
  // Only now does it turn to what it was dealt since.
  if (worker.unanswered.size === 0 && worker.batch.characters === 0) worker.batch.sinceMs = nowMs;
  noteWorker(state, worker);
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
  for (const index of lease.grains) {
    state.grains[index].timelyLeases--;
    noteGrain(state, index);
  }
  const worker = state.workers.get(lease.workerId);
  if (worker && nowMs >= lease.deadlineAtMs) {
    worker.pace = latePace(worker.pace, lease.charactersSoFar, nowMs - lease.grantedAtMs);
  }
}

function markUnanswered(state: RunState, worker: WorkerRecord, nowMs: number): void {
  let changed = false;
  for (const lease of worker.unanswered.values()) {
    if (lease.late || nowMs < lease.deadlineAtMs) continue;
    lease.late = true;
    changed = true;
  }
  if (changed) noteWorker(state, worker);
}

/** Workers that say nothing although they should have been done long ago. */
export function stuckWorkers(state: RunState, nowMs: number): WorkerRecord[] {
  const isStuck = (lease: Lease | undefined): boolean => lease !== undefined && nowMs >= lease.stuckAtMs;
  return [...state.workers.values()].filter(
    ({ state: mode, leases, unanswered }) =>
      mode === 'ready' && ([...leases].some((id) => isStuck(state.leases.get(id))) || [...unanswered.values()].some(isStuck)),
  );
}

/** Deals every grain that is neither counted nor in timely hands to the workers that have nothing to do. @returns why, or why not */
export function lendUncovered(state: RunState, nowMs: number, effects: RunEffect[]): string {
  if (state.phase !== 'running') return `the run is ${state.phase}`;
  if (state.pausedBy.size > 0) return `the run is paused by ${[...state.pausedBy].join(', ')}`;
  if (state.uncovered.size === 0) return 'every stream is counted or lent';
  const idle = [...state.idle].map((id) => state.workers.get(id)!).filter((worker) => nowMs >= worker.restUntilMs);
  const uncovered = [...state.uncovered].sort((a, b) => a - b);
  const streams = uncovered.reduce((sum, index) => sum + state.grains[index].streams.length, 0);
  if (idle.length === 0) return `${streams} streams wait for a free worker`;
  const ids = idle.map((worker) => worker.id);
  const quotas = dealQuotas(handsOf(state, idle, uncovered), uncovered.length);
  const dealt = dealGrains(uncovered, ids, quotas, (index) => state.grains[index].holder);
  if (uncovered.length === state.grains.length) forgive(idle.filter(({ id }) => dealt.get(id)!.length === 0));
  let hands = 0;
  for (const [workerId, grains] of dealt) {
    if (grains.length === 0) continue;
    hands++;
    grantAll(state, state.workers.get(workerId)!, grains, nowMs, effects);
  }
  return `${streams} streams lent to ${hands} workers`;
}

function handsOf(state: RunState, idle: readonly WorkerRecord[], uncovered: readonly number[]): Hand[] {
  const held = new Map<string, number>();
  for (const index of uncovered) {
    const { holder } = state.grains[index];
    if (holder !== undefined) held.set(holder, (held.get(holder) ?? 0) + 1);
  }
  return idle.map(({ id, pace: { charsPerSecond, measured } }) => ({
    workerId: id,
    charsPerSecond,
    held: held.get(id) ?? 0,
    untried: !measured,
  }));
}

function forgive(passedOver: readonly WorkerRecord[]): void {
  for (const worker of passedOver) worker.pace = forgivenPace(worker.pace);
}

/** One lease of all the grains; in a reproducible run one of each, since what a contribution adds up decides how it is rounded. */
function grantAll(state: RunState, worker: WorkerRecord, grains: readonly number[], nowMs: number, effects: RunEffect[]): void {
  worker.batch = { sinceMs: nowMs, characters: 0, void: false };
  if (state.settings.leaseStreams === 0) {
    grant(state, worker, grains, 0, nowMs, effects);
    return;
  }
  let charactersBefore = 0;
  for (const index of grains) charactersBefore = grant(state, worker, [index], charactersBefore, nowMs, effects);
}

/** @returns the characters of this lease and those before it */
function grant(
  state: RunState,
  worker: WorkerRecord,
  grains: readonly number[],
  charactersBefore: number,
  nowMs: number,
  effects: RunEffect[],
): number {
  const streams = grains.flatMap((index) => state.grains[index].streams);
  const characters = streams.length * state.settings.window;
  const charactersSoFar = charactersBefore + characters;
  const leftover = [...worker.unanswered.values()].reduce((sum, lease) => sum + lease.characters, 0);
  const deadlineMs = allowanceMs(worker.pace, charactersSoFar + leftover);
  const id = `${state.round}-${state.leaseCount++}`;
  const states = grains.map((index) => stateSource(state, worker.id, index)).join('');
  const lease: Lease = {
    id,
    round: state.round,
    workerId: worker.id,
    grains,
    characters,
    charactersSoFar,
    grantedAtMs: nowMs,
    deadlineAtMs: nowMs + deadlineMs,
    stuckAtMs: nowMs + Math.max(STUCK_FACTOR * deadlineMs, STUCK_MIN_MS),
    late: false,
  };
  state.leases.set(id, lease);
  worker.leases.add(id);
  noteWorker(state, worker);
  for (const index of grains) {
    state.grains[index].timelyLeases++;
    state.grains[index].lent = true;
    noteGrain(state, index);
  }
  effects.push({ type: 'lease', workerId: worker.id, leaseId: id, round: state.round, streams, states, deadlineMs });
  return charactersSoFar;
}

/** For each stream of the grain: `z` zeros, `h` held by the worker, `g` given. */
function stateSource({ round, settings, grains }: RunState, workerId: string, index: number): string {
  const { holder, lent, streams } = grains[index];
  const wraps = round % settings.windowsPerPass === 0;
  return (wraps ? 'z' : holder === workerId && !lent ? 'h' : 'g').repeat(streams.length);
}

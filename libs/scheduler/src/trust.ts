/**
 * Which leases of volunteers are computed a second time, by the coordinator. A lease is a pure function of (parameters, lease), so what
 * comes out must agree. A worker with a token of the lab is trusted. Of everyone else, nothing counts at first before it is audited;
 * then audits become rarer with each that is passed (adaptive replication, as in BOINC: Anderson 2004), and never stop.
 */
import { philox4x32 } from '@troupe/optim/philox';
import { roundsOfWindows, type AuditMode } from '@troupe/protocol';
import type { AuditPolicy } from './audits.js';
import { largestExpected, noteNorm } from './norms.js';
import type { RunEffect, RunInput, RunState, WorkerRecord } from './state.js';

/** Audits that a worker must pass before anything of it counts without one. */
export const PROBATION_AUDITS = 3;
/** The least part of a worker's leases that is audited. */
export const AUDIT_FLOOR = 0.03;
/**
 * Rounds with a contribution without an audit after which the next is audited, and rounds since the first of them, for a worker that
 * contributes seldom. In a local run they count windows, down to the least number of rounds: an audit takes as long as the lease.
 */
const MOST_UNAUDITED = 64;
const LEAST_UNAUDITED = 16;
/**
 * The most rounds between checkpoints while something counts that is not audited: the run may have to go back to one. In a local run it
 * counts windows, down to the least number of rounds.
 */
const GUARD_ROUNDS = 50;
const GUARD_LEAST_ROUNDS = 4;
/** Audits that are granted and not decided. An auditor that is slower than the workers would otherwise fall behind without end. */
const OPEN_AUDITS = 8;
/**
 * How long after its lease is due an undecided audit is forgotten: its lease never came, or the auditor does not answer. In a local run, for
 * each of the steps.
 */
const FORGOTTEN_MS = 120_000;
/** Workers that have left and whose audits are not decided. */
const MOST_DEPARTED = 64;
/** A verdict has come by then, or never comes: the auditor gets FORGOTTEN_MS, and the contribution may have been its worker's last word. */
const DEPARTED_FACTOR = 1.5;
/** On probation a worker gets at most this part of a round, if others have none to pass. */
const PROBATION_SHARE = 0.1;
/** No worker that is not trusted gets more than this part of a round, nor more than this many times the median of all. */
const MOST_OF_ROUND = 0.5;
const MOST_OF_MEDIAN = 4;
/** False claims that a gradient is not finite after which a volunteer is banned. */
const FALSE_CLAIMS = 3;
const PHILOX_ROUNDS = 10;

/** Whether nothing of the worker counts before it is audited. */
export function isOnProbation({ audits }: Pick<RunState, 'audits'>, { trust }: Pick<WorkerRecord, 'trust'>): boolean {
  return isAuditable(audits, trust) && (trust.suspect || trust.passed < PROBATION_AUDITS);
}

/** Whether others may rely on what it sums, which nobody computes again. */
export function maySum({ audits }: RunState, { trust }: WorkerRecord): boolean {
  return !isAuditable(audits, trust);
}

function isAuditable({ policy }: RunState['audits'], { trusted }: WorkerRecord['trust']): boolean {
  return policy !== undefined && !trusted;
}

/** Whether a lease of this worker would have to be audited, and too many audits are open. */
export function awaitsAuditor(state: RunState, worker: WorkerRecord): boolean {
  if (state.audits.open.size < OPEN_AUDITS) return false;
  return isOnProbation(state, worker) || isOverdue(state, worker);
}

function isOverdue({ audits, round, settings }: RunState, { trust }: WorkerRecord): boolean {
  if (!isAuditable(audits, trust)) return false;
  const { unverified } = trust;
  const most = roundsOfWindows(settings, MOST_UNAUDITED, LEAST_UNAUDITED);
  return trust.doubted || unverified.length >= most || round - (unverified[0] ?? round) >= most;
}

/** Decides whether the lease that is about to be granted is audited, and notes it. */
export function chooseAudit(state: RunState, worker: WorkerRecord, leaseId: string, deadlineAtMs: number): AuditMode {
  const { audits, round } = state;
  const mode = modeOf(state, worker);
  if (mode !== 'none') audits.open.set(leaseId, { workerId: worker.id, round, mode, dueAtMs: deadlineAtMs });
  return mode;
}

function modeOf(state: RunState, worker: WorkerRecord): AuditMode {
  const { audits } = state;
  const { trust } = worker;
  if (!audits.policy || trust.trusted) return 'none';
  if (isOnProbation(state, worker)) return 'hold';
  if (isOverdue(state, worker)) {
    trust.doubted = false;
    return 'copy';
  }
  const isDrawn = draw(audits.policy, audits.draws++) < auditProbability(trust.passed);
  return isDrawn && audits.open.size < OPEN_AUDITS ? 'copy' : 'none';
}

/** After `passed` audits: 1, 1/2, 1/3, ... from the end of the probation on, and never less than AUDIT_FLOOR. */
export function auditProbability(passed: number): number {
  return passed < PROBATION_AUDITS ? 1 : Math.max(AUDIT_FLOOR, 1 / (passed - PROBATION_AUDITS + 1));
}

/** [0, 1) */
function draw({ seed }: AuditPolicy, index: number): number {
  const words = new Uint32Array(4);
  philox4x32(PHILOX_ROUNDS, index, 0, 0, 0, seed[0], seed[1], words);
  return words[0] / 2 ** 32;
}

/** Above which norm a contribution of this worker is audited before it counts; nothing for one that is trusted. */
export function mostNormOf(
  { audits }: RunState,
  { trust }: WorkerRecord,
): Pick<Extract<RunEffect, { type: 'lease' }>, 'mostNorm'> {
  return isAuditable(audits, trust) ? { mostNorm: largestExpected(audits.norms) } : {};
}

/** The contribution is held although its lease was granted without: its norm is the reason. */
export function noteConspicuous(
  { audits, leases }: RunState,
  input: Extract<RunInput, { type: 'conspicuous' }>,
  nowMs: number,
): void {
  const { leaseId, workerId, round } = input;
  const dueAtMs = leases.get(leaseId)?.deadlineAtMs ?? nowMs;
  audits.open.set(leaseId, { workerId, round, mode: 'hold', dueAtMs });
}

/** The lease is not audited after all, or its audit is decided. */
export function closeAudit({ audits }: RunState, leaseId: string): void {
  audits.open.delete(leaseId);
}

/** The scheduler forgets the lease. Only a copy of what counts is still on its way to the auditor. */
export function closeAuditOf({ audits }: RunState, leaseId: string, isCounted: boolean): void {
  if (!isCounted || audits.open.get(leaseId)?.mode === 'hold') audits.open.delete(leaseId);
}

/** A lie that is found after its worker has left is a lie all the same. */
export function noteDeparture({ audits }: RunState, { id, name, trust }: WorkerRecord, nowMs: number): void {
  const pending = new Set([...audits.open].flatMap(([leaseId, { workerId }]) => (workerId === id ? [leaseId] : [])));
  if (pending.size === 0) return;
  if (audits.departed.size >= MOST_DEPARTED) audits.departed.delete(audits.departed.keys().next().value!);
  audits.departed.set(id, { id, name, trust, pending, sinceMs: nowMs });
}

/**
 * The audit of a worker that may have left is decided. Its open audits do not tell whether it was the last one: those that are taken back
 * may have been computed, and their verdicts are on the way.
 */
export function closeDeparted({ audits }: RunState, workerId: string, leaseId: string): void {
  const departed = audits.departed.get(workerId);
  departed?.pending.delete(leaseId);
  if (departed?.pending.size === 0) audits.departed.delete(workerId);
}

/** The worker whose lease is audited, if it is known. */
export function auditedWorker(
  { audits, workers }: RunState,
  workerId: string,
): Pick<WorkerRecord, 'id' | 'name' | 'trust'> | undefined {
  return workers.get(workerId) ?? audits.departed.get(workerId);
}

/** An audit that is never decided keeps no place for long, and no old checkpoint. */
export function forgetOldAudits({ audits, settings: { localSteps = 1 } }: RunState, nowMs: number): void {
  const ms = FORGOTTEN_MS * localSteps;
  for (const [leaseId, { dueAtMs }] of audits.open) if (nowMs - dueAtMs >= ms) audits.open.delete(leaseId);
  for (const [id, { sinceMs }] of audits.departed) if (nowMs - sinceMs >= ms * DEPARTED_FACTOR) audits.departed.delete(id);
}

type Counted = Extract<RunInput, { type: 'counted' }>;

export function noteCounted(
  state: RunState,
  worker: WorkerRecord,
  { leaseId, round, streams, lossSum, norm }: Counted,
  effects: RunEffect[],
): void {
  const { audits, settings } = state;
  const { trust } = worker;
  const mode = audits.open.get(leaseId)?.mode ?? (isOnProbation(state, worker) ? 'hold' : 'none');
  const auditable = isAuditable(audits, trust);
  if (norm !== undefined) noteNorm(audits.norms, norm);
  const isBelieved = !auditable || mode !== 'none';
  if (isBelieved && round === state.round) {
    audits.judged.lossSum += lossSum;
    audits.judged.characters += streams.length * settings.window;
  }
  if (!auditable || mode === 'hold') return;
  if (trust.unverified.at(-1) !== round) trust.unverified.push(round);
  guard(state, effects);
  // It may be true, and is the reason for an audit: a run does not end because of what one volunteer says.
  const limit = settings.maxLoss > 0 ? settings.maxLoss * settings.chanceLoss : Infinity;
  if (!isBelieved && !(lossSum / (streams.length * settings.window) <= limit)) trust.doubted = true;
}

/** The round is open, and nothing of it is in the parameters yet. */
function guard(state: RunState, effects: RunEffect[]): void {
  const rounds = roundsOfWindows(state.settings, GUARD_ROUNDS, GUARD_LEAST_ROUNDS);
  if (state.round - state.audits.guardedRound >= rounds) pushCheckpoint(state, effects);
}

/** While the loss is above the limit, the checkpoint of before stays the last one, so that the run can continue from there. */
export function pushCheckpoint({ audits, round, loss }: RunState, effects: RunEffect[]): void {
  if (loss.aboveLimit > 0) return;
  audits.guardedRound = round;
  effects.push({ type: 'checkpoint', round });
}

/**
 * The loss by which a run is judged, nats/char: that of all, unless it is above the limit. Then only those are believed who are trusted or
 * audited; if there are none, the round is not judged, and the next leases of those who said so are audited.
 */
export function judgedLoss({ audits, settings }: RunState, trainLoss: number): number | undefined {
  const { lossSum, characters } = audits.judged;
  audits.judged = { lossSum: 0, characters: 0 };
  const isUsual = settings.maxLoss === 0 || trainLoss <= settings.maxLoss * settings.chanceLoss;
  if (!audits.policy || isUsual) return trainLoss;
  return characters > 0 ? lossSum / characters : undefined;
}

/** Whether nobody need compute again what the worker says. */
export function isTrusted({ audits, workers }: RunState, workerId: string): boolean {
  return audits.policy === undefined || workers.get(workerId)?.trust.trusted === true;
}

/** A machine may fail once or twice. @returns whether it has done so too often */
export function noteFalseClaim(state: RunState, { id, trust }: WorkerRecord): boolean {
  return !isTrusted(state, id) && ++trust.falseClaims >= FALSE_CLAIMS;
}

/** It vouches for what counted up to the round of the audited lease, and not for what came after. */
export function notePassed({ trust }: Pick<WorkerRecord, 'trust'>, round: number): void {
  trust.passed++;
  trust.unverified = trust.unverified.filter((counted) => counted > round);
}

/** The first round in which something counted that no audit has vouched for, of any worker: the run may have to go back to it. */
export function oldestUnverified({ audits, workers }: RunState): number | undefined {
  let oldest: number | undefined;
  for (const { trust } of [...workers.values(), ...audits.departed.values()]) {
    const [first] = trust.unverified;
    if (first !== undefined && first < (oldest ?? Infinity)) oldest = first;
  }
  return oldest;
}

/**
 * The most units of a round that each of these workers may get. What they have computed is not all audited, so none may have much of a
 * round; and one that answers fast may compute nothing at all.
 * @param quotas that speed alone would give them
 */
export function shareLimits(
  state: RunState,
  workers: readonly WorkerRecord[],
  quotas: readonly number[],
  units: number,
): number[] {
  const { policy } = state.audits;
  if (!policy || workers.length < 2 || workers.every(({ trust }) => trust.trusted)) return workers.map(() => Infinity);
  const used = quotas.filter((quota) => quota > 0).sort((a, b) => a - b);
  const median = used[used.length >> 1] ?? 1;
  const hasOthers = workers.some((worker) => !isOnProbation(state, worker));
  return workers.map((worker) => {
    if (worker.trust.trusted) return Infinity;
    if (isOnProbation(state, worker)) return hasOthers ? atLeastOne(units * PROBATION_SHARE) : Infinity;
    return atLeastOne(Math.min(units * MOST_OF_ROUND, median * MOST_OF_MEDIAN));
  });
}

/**
 * Whether a worker that has nothing to do may compute a unit that waits at `holder`: it had its share of the round. What one computes on
 * probation the coordinator computes as well, so it relieves nobody who is beyond that.
 */
export function mayRelieve(state: RunState, worker: WorkerRecord, holder: WorkerRecord): boolean {
  if (!isAuditable(state.audits, worker.trust)) return true;
  if (isOnProbation(state, worker) && !isOnProbation(state, holder)) return false;
  return unitsOfRound(state, worker) < atLeastOne(state.units.length * MOST_OF_ROUND);
}

/** Units of this round that the worker has computed or is to compute. */
function unitsOfRound({ leases }: RunState, { leases: open, nextHeld }: WorkerRecord): number {
  return [...open].reduce((sum, id) => sum + leases.get(id)!.units.length, nextHeld.length);
}

function atLeastOne(units: number): number {
  return Math.max(1, Math.floor(units));
}

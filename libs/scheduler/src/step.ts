/**
 * The scheduler: every decision of a run as one function (state, input, now) -> effects. It has no
 * clock, socket or random source.
 */
import { isOvertaken, NO_REST } from '@troupe/protocol';
import { createTrust } from './audits.js';
import type { Decision, Lent } from './decisions.js';
import {
  cancelOvertaken,
  settle,
  closeLease,
  releaseAll,
  resetUnits,
  removeActive,
  lendUncovered,
  markCounted,
  markLate,
  measureProbe,
  refreshIdle,
  stuckWorkers,
} from './lending.js';
import { roundsAboveLimit, watchLoss } from './loss-watch.js';
import { endLateTrial, fetchWhenStalled, parkLagging, reviewParking } from './parking.js';
import { measuredPace, startingPace } from './pace.js';
import { forgetNorms } from './norms.js';
import { unitsOf, type Lease, type RunEffect, type RunInput, type RunState, type WorkerRecord, type WorkUnit } from './state.js';
import { noteProgress } from './progress.js';
import { createRefusals, noteRefusal, noteWork } from './rests.js';
import { noteOffer, noteRoundTime, resetTopology, reviewTopology } from './topology.js';
import { reviewLinks } from './thin-links.js';
import { disturbRound, endTrial, noteRound } from './trials.js';
import {
  closeAudit,
  auditedWorker,
  closeDeparted,
  forgetOldAudits,
  isTrusted,
  judgedLoss,
  noteFalseClaim,
  noteDeparture,
  pushCheckpoint,
  noteConspicuous,
  noteCounted,
  notePassed,
} from './trust.js';

/** Refusals that mean that the worker computes wrongly, not that it is late. */
const FAULTS: ReadonlySet<string> = new Set(['replica_diverged', 'not_finite', 'wrong_tokens', 'incomplete', 'implausible']);
/** A worker whose engine failed gets no leases for this long. */
const COOLDOWN_MS = 5_000;
/**
 * After a decline of a useless lease a worker gets no other of that round for this long: the update
 * that it knows is under way.
 */
const DECLINED_MS = 250;
/** It may hold no state the first time; the next lease brings the states with it. */
const NO_STATE_TRIES = 2;
/** Weight of the newest measurement of the all-reduce service. */
const SERVICE_WEIGHT = 0.1;
/**
 * The run has diverged when a unit's gradient is not finite this often in one round, at as many
 * workers if so many take part.
 */
const NOT_FINITE_TRIES = 3;

/**
 * Takes one input. Mutates `state`, which holds everything that the scheduler knows; the same state
 * and inputs give the same effects.
 *
 * @param nowMs a clock that never goes back, ms
 * @returns what the caller is to do, in this order; nothing once the run is over
 */
export function step(state: RunState, input: RunInput, nowMs: number): readonly RunEffect[] {
  const effects: RunEffect[] = [];
  // A lie in the last rounds is found when they are over.
  if (state.phase === 'over' && input.type !== 'audited') return effects;
  decide(state, input, nowMs, effects);
  if (!hasEnded(state)) fetchWhenStalled(state, nowMs, effects);
  if (!hasEnded(state) && MAY_CHANGE_TOPOLOGY.has(input.type)) reviewTopology(state, input.type === 'updated', effects);
  announceWaiting(state, effects);
  return effects;
}

const MAY_CHANGE_TOPOLOGY: ReadonlySet<RunInput['type']> = new Set(['workerReady', 'workerLeft', 'peer', 'updated']);

type Input<T extends RunInput['type']> = Extract<RunInput, { type: T }>;

function decide(state: RunState, input: RunInput, nowMs: number, effects: RunEffect[]): void {
  switch (input.type) {
    case 'start':
      return start(state, nowMs, effects);
    case 'workerReady':
      return workerReady(state, input, nowMs, effects);
    case 'workerSyncing':
      return workerSyncing(state, input, nowMs, effects);
    case 'workerLeft':
      return workerLeft(state, input, nowMs, effects);
    case 'declined':
      return declined(state, input, nowMs, effects);
    case 'progress':
      return noteProgress(state, input, nowMs);
    case 'counted':
      return counted(state, input, nowMs, effects);
    case 'rejected':
      return rejected(state, input, nowMs, effects);
    case 'updated':
      return updated(state, input, nowMs, effects);
    case 'audited':
      return audited(state, input, nowMs, effects);
    case 'conspicuous':
      return noteConspicuous(state, input, nowMs);
    case 'tuned':
      return forgetNorms(state.audits.norms);
    case 'verified':
      return verified(state, input, nowMs, effects);
    case 'peer':
      return noteOffer(state, input.workerId, input.offered ? input : undefined);
    case 'lagging':
      parkLagging(state, input.workerId, nowMs, effects);
      return lendUncovered(state, nowMs, effects);
    case 'reopen':
      return reopen(state, nowMs, effects);
    case 'pause':
      disturbRound(state.parking.trials);
      state.pausedBy.add(input.by);
      return decided(effects, { kind: 'paused', by: input.by });
    case 'resume':
      return resume(state, input.by, nowMs, effects);
    case 'stop':
      return finish(state, 'stopped', effects);
    case 'tick':
      return tick(state, nowMs, effects);
    default:
      return input satisfies never;
  }
}

function decided(effects: RunEffect[], decision: Decision): void {
  effects.push({ type: 'decision', decision });
}

/** @param effects all effects of this step so far */
function lentBy(state: RunState, effects: readonly RunEffect[]): Lent {
  let streams = 0;
  const workers = new Set<string>();
  for (const effect of effects) {
    if (effect.type !== 'lease') continue;
    streams += effect.streams.length;
    workers.add(effect.workerId);
  }
  return { streams, workers: workers.size, uncovered: uncoveredStreams(state), pausedBy: [...state.pausedBy] };
}

function uncoveredStreams({ units, uncovered }: RunState): number {
  let streams = 0;
  for (const index of uncovered) streams += units[index].streams.length;
  return streams;
}

function start(state: RunState, nowMs: number, effects: RunEffect[]): void {
  if (state.round >= state.settings.rounds) return finish(state, 'completed', effects);
  state.phase = 'running';
  openRound(state, nowMs, effects);
}

function workerReady(state: RunState, input: Input<'workerReady'>, nowMs: number, effects: RunEffect[]): void {
  const { workerId: id, charsPerSecond: reported } = input;
  const known = state.workers.get(id);
  // It must fetch a snapshot first: it does not receive the updates.
  if (known?.state === 'parked') return;
  if (!known) state.workers.set(id, createWorker(input, state.round, nowMs));
  else {
    known.state = 'ready';
    if (known.wanted === 'work') known.wanted = undefined;
    known.unanswered.clear();
    // It has another engine: the speed of the last one no longer applies.
    if (known.reportedCharsPerSecond !== reported) {
      Object.assign(known, { reportedCharsPerSecond: reported, pace: startingPace(reported), cooldownUntilMs: 0 });
    }
  }
  refreshIdle(state, state.workers.get(id)!);
  lendUncovered(state, nowMs, effects);
}

function createWorker(
  { workerId: id, name, charsPerSecond: reported, trusted, suspect = false }: Input<'workerReady'>,
  round: number,
  nowMs: number,
): WorkerRecord {
  return {
    id,
    name,
    trust: createTrust(trusted, suspect),
    state: 'ready',
    wanted: undefined,
    spareRounds: 0,
    parkedRound: round,
    faster: 0,
    trials: 0,
    lag: NO_REST,
    pace: startingPace(reported),
    reportedCharsPerSecond: reported,
    leases: new Set(),
    held: [],
    nextHeld: [],
    unanswered: new Map(),
    measurement: { sinceMs: nowMs, characters: 0, computeMs: 0, void: true },
    dealtRound: round,
    cooldownUntilMs: 0,
    declines: { round, count: 0, untilMs: 0 },
    refusals: createRefusals(),
    counted: 0,
    characters: 0,
  };
}

function workerSyncing(state: RunState, input: Input<'workerSyncing'>, nowMs: number, effects: RunEffect[]): void {
  const worker = state.workers.get(input.workerId);
  if (!worker) {
    const { workerId, reason, round } = input;
    effects.push({ type: 'resync', workerId, reason, round });
    return;
  }
  // It asked before it was parked, and asks again when it is wanted.
  if (worker.state === 'parked' && worker.wanted === undefined) return;
  const hadLeases = worker.leases.size > 0;
  if (hadLeases) noteRefusal(worker, nowMs);
  sendSnapshot(state, worker, input.reason, effects, input.round);
  lendUncovered(state, nowMs, effects);
  if (hadLeases)
    decided(effects, { kind: 'workerResynced', worker: worker.name, reason: input.reason, lent: lentBy(state, effects) });
}

/** Also takes back its leases, and forgets which hidden states it holds. */
function sendSnapshot(state: RunState, worker: WorkerRecord, reason: string, effects: RunEffect[], round = state.round): void {
  worker.state = 'syncing';
  releaseAll(state, worker);
  effects.push({ type: 'resync', workerId: worker.id, reason, round });
}

function workerLeft(state: RunState, input: Input<'workerLeft'>, nowMs: number, effects: RunEffect[]): void {
  const worker = state.workers.get(input.workerId);
  if (!worker) return;
  const hadLeases = worker.leases.size > 0;
  if (state.active.paces.has(worker.id)) disturbRound(state.parking.trials);
  state.workers.delete(worker.id);
  noteDeparture(state, worker, nowMs);
  endTrial(state.parking.trials, worker.id);
  releaseAll(state, worker);
  lendUncovered(state, nowMs, effects);
  if (hadLeases)
    decided(effects, { kind: 'workerLeft', worker: worker.name, reason: input.reason, lent: lentBy(state, effects) });
}

function declined(state: RunState, input: Input<'declined'>, nowMs: number, effects: RunEffect[]): void {
  const worker = state.workers.get(input.workerId);
  closeAudit(state, input.leaseId);
  if (isOvertaken(input.code)) return overtaken(state, input, nowMs, effects);
  if (worker) settle(state, worker, input.leaseId, nowMs);
  if (worker?.state === 'parked') return;
  if (worker && input.code === 'paused') return pausedWorker(state, worker, input.reason, nowMs, effects);
  const lease = state.leases.get(input.leaseId);
  if (!lease || lease.workerId !== input.workerId) {
    lendUncovered(state, nowMs, effects);
    return;
  }
  closeLease(state, lease);
  if (worker) {
    worker.measurement.void = true;
    if (input.code === 'no_state') noteDecline(state, worker, NO_STATE_TRIES, nowMs);
    noteRefusal(worker, nowMs, input.code === 'no_state');
    if (input.code === 'engine') worker.cooldownUntilMs = nowMs + COOLDOWN_MS;
    if (input.code === 'not_finite') quarantine(state, worker, input.reason, nowMs, effects);
  }
  if (input.code === 'not_finite' && hasFailed(state, lease, effects)) return fail(state, input.reason, effects);
  lendUncovered(state, nowMs, effects);
  const { code, reason } = input;
  const name = worker?.name ?? input.workerId;
  decided(effects, { kind: 'declined', worker: name, code, reason, lent: lentBy(state, effects) });
}

/** Others counted the streams of the lease before its worker was done. */
function overtaken(state: RunState, input: Input<'declined'>, nowMs: number, effects: RunEffect[]): void {
  const { workerId, leaseId, code } = input;
  const worker = state.workers.get(workerId);
  const lease = state.leases.get(leaseId);
  // Nobody has measured how long it was in its engine; it was there for most of the time.
  const computeMs = code === 'dropped' ? Infinity : undefined;
  if (worker) settle(state, worker, leaseId, nowMs, computeMs);
  if (lease?.workerId === workerId) {
    // The update that told the worker has not arrived here yet.
    closeLease(state, lease);
    if (worker) {
      worker.measurement.void = true;
      noteDecline(state, worker, 1, nowMs);
      noteRefusal(worker, nowMs, true);
      if (computeMs !== undefined) measureProbe(worker, lease, nowMs, computeMs);
    }
  }
  lendUncovered(state, nowMs, effects);
}

/**
 * A worker that knows more than the scheduler would decline the same lease again and again, as fast
 * as messages travel.
 */
function noteDecline({ round }: RunState, { declines }: WorkerRecord, tries: number, nowMs: number): void {
  if (declines.round !== round) Object.assign(declines, { round, count: 0, untilMs: 0 });
  if (++declines.count >= tries) declines.untilMs = nowMs + DECLINED_MS;
}

/** Others get its leases until it reports ready. It keeps the hidden states that it holds. */
function pausedWorker(state: RunState, worker: WorkerRecord, reason: string, nowMs: number, effects: RunEffect[]): void {
  if (worker.leases.size > 0) noteRefusal(worker, nowMs);
  worker.state = 'paused';
  removeActive(state, worker.id);
  worker.measurement.void = true;
  for (const leaseId of [...worker.leases]) closeLease(state, state.leases.get(leaseId)!);
  refreshIdle(state, worker);
  lendUncovered(state, nowMs, effects);
  decided(effects, { kind: 'workerPaused', worker: worker.name, reason, lent: lentBy(state, effects) });
}

/**
 * A worker computed something wrong, perhaps because of bad memory: it gets a snapshot, and for a
 * while no leases.
 */
function quarantine(state: RunState, worker: WorkerRecord, reason: string, nowMs: number, effects: RunEffect[]): void {
  noteRefusal(worker, nowMs);
  if (state.workers.size > 1) worker.cooldownUntilMs = nowMs + COOLDOWN_MS;
  sendSnapshot(state, worker, reason, effects);
}

/**
 * Counts a gradient that was not finite. A gradient is a pure function of parameters and lease: if
 * it overflows at several workers, or at all that take part, it overflows everywhere. One faulty
 * machine among good ones does not mean divergence.
 * @returns whether the run has diverged
 */
function countFailure(state: RunState, lease: Lease): boolean {
  let diverged = false;
  for (const index of lease.units) {
    const unit = state.units[index];
    unit.failures++;
    unit.failedBy.add(lease.workerId);
    diverged ||= unit.failures >= NOT_FINITE_TRIES && (unit.failedBy.size >= NOT_FINITE_TRIES || failsEverywhere(state, unit));
  }
  return diverged;
}

/**
 * As `countFailure`, but volunteers alone end no run: the coordinator computes the lease itself.
 * @returns whether the run has diverged
 */
function hasFailed(state: RunState, lease: Lease, effects: RunEffect[]): boolean {
  if (!countFailure(state, lease)) return false;
  const claimants = [...new Set(lease.units.flatMap((index) => [...state.units[index].failedBy]))];
  if (claimants.every((id) => isTrusted(state, id))) return true;
  const { audits, round } = state;
  if (audits.verifying) return false;
  audits.verifying = true;
  effects.push({ type: 'verify', round, streams: lease.units.flatMap((index) => state.units[index].streams), claimants });
  return false;
}

/** The coordinator has computed a lease of which volunteers said that its gradient is not finite. */
function verified(state: RunState, input: Input<'verified'>, nowMs: number, effects: RunEffect[]): void {
  state.audits.verifying = false;
  if (input.round !== state.round) return;
  if (input.finite === false) return fail(state, input.reason, effects);
  for (const { failedBy } of state.units) failedBy.clear();
  for (const workerId of input.finite ? input.claimants : []) {
    const worker = state.workers.get(workerId);
    if (worker && noteFalseClaim(state, worker)) banWorker(worker, 'its gradient is finite, and not as you said', effects);
  }
  lendUncovered(state, nowMs, effects);
}

function banWorker({ id, name, trust }: Pick<WorkerRecord, 'id' | 'name' | 'trust'>, reason: string, effects: RunEffect[]): void {
  if (trust.exposed) return;
  trust.exposed = true;
  const [since] = trust.unverified;
  effects.push({ type: 'ban', workerId: id, reason, since });
  decided(effects, { kind: 'auditFailed', worker: name, reason, since });
}

/** Parked workers do not count: they compute nothing until they are fetched back. */
function failsEverywhere({ workers }: RunState, { failedBy }: WorkUnit): boolean {
  for (const { id, state } of workers.values()) if (state !== 'parked' && !failedBy.has(id)) return false;
  return true;
}

function fail(state: RunState, why: string, effects: RunEffect[]): void {
  state.phase = 'over';
  effects.push({ type: 'fail', round: state.round, reason: why });
}

/**
 * The streams are in the sum even if the lease was taken back: its worker may have left right after
 * it sent the result.
 */
function counted(state: RunState, input: Input<'counted'>, nowMs: number, effects: RunEffect[]): void {
  const worker = state.workers.get(input.workerId);
  if (worker) settle(state, worker, input.leaseId, nowMs, input.computeMs);
  const { parking } = state;
  parking.serviceMs += (input.serviceMs - parking.serviceMs) * SERVICE_WEIGHT;
  if (worker) noteCounted(state, worker, input, effects);
  if (worker) noteWork(state, worker);
  if (input.round !== state.round) {
    lendUncovered(state, nowMs, effects);
    return;
  }
  const holder = worker?.state === 'syncing' || worker?.state === 'parked' ? undefined : worker;
  const units = unitsOf(state.settings, input.streams);
  for (const index of units) markCounted(state, index, holder);
  const lease = state.leases.get(input.leaseId);
  if (lease) {
    closeLease(state, lease, true);
    if (worker) credit(worker, lease, nowMs, input.computeMs);
  }
  cancelOvertaken(state, units, effects);
  lendUncovered(state, nowMs, effects);
}

/** Measures a worker's speed once all leases that were granted together are counted. */
function credit(worker: WorkerRecord, lease: Lease, nowMs: number, computeMs: number): void {
  const { characters } = lease;
  worker.counted++;
  worker.characters += characters;
  worker.measurement.characters += characters;
  worker.measurement.computeMs += computeMs;
  if (lease.probe) return measureProbe(worker, lease, nowMs, computeMs);
  if (worker.leases.size > 0 || worker.measurement.void) return;
  const { sinceMs, characters: counted, computeMs: inEngineMs } = worker.measurement;
  worker.pace = measuredPace(worker.pace, { characters: counted, tookMs: nowMs - sinceMs, computeMs: inEngineMs });
}

/** The lease is still open if its contribution is held. */
function audited(state: RunState, input: Input<'audited'>, nowMs: number, effects: RunEffect[]): void {
  const { round, workerId, leaseId, verdict, reason } = input;
  const worker = auditedWorker(state, workerId);
  closeAudit(state, leaseId);
  if (worker && verdict === 'sound') notePassed(worker, round);
  if (worker && verdict === 'wrong') banWorker(worker, reason, effects);
  if (worker && verdict === 'unknown') worker.trust.doubted = true;
  closeDeparted(state, workerId, leaseId);
  // It may have waited for the auditor.
  if (!hasEnded(state)) lendUncovered(state, nowMs, effects);
}

function rejected(state: RunState, input: Input<'rejected'>, nowMs: number, effects: RunEffect[]): void {
  const worker = state.workers.get(input.workerId);
  if (worker) settle(state, worker, input.leaseId, nowMs, input.computeMs);
  const lease = input.round === state.round ? state.leases.get(input.leaseId) : undefined;
  const own = lease?.workerId === input.workerId ? lease : undefined;
  if (own) closeLease(state, own);
  if (own && worker) {
    worker.measurement.void = true;
    measureProbe(worker, own, nowMs, input.computeMs);
  }
  const faulty = worker !== undefined && worker.state !== 'parked' && FAULTS.has(input.result);
  if (faulty) quarantine(state, worker, input.reason, nowMs, effects);
  if (faulty && input.result === 'implausible' && !isTrusted(state, worker.id)) banWorker(worker, input.reason, effects);
  if (own && input.result === 'not_finite' && hasFailed(state, own, effects)) return fail(state, input.reason, effects);
  lendUncovered(state, nowMs, effects);
  const { result, reason } = input;
  if (faulty) decided(effects, { kind: 'rejected', worker: worker.name, result, reason, lent: lentBy(state, effects) });
}

function updated(state: RunState, input: Input<'updated'>, nowMs: number, effects: RunEffect[]): void {
  if (input.round !== state.round) return;
  for (const lease of [...state.leases.values()]) {
    state.workers.get(lease.workerId)?.unanswered.set(lease.id, lease);
    closeLease(state, lease);
  }
  for (const unit of state.units) {
    unit.holder = unit.nextHolder;
    unit.nextHolder = undefined;
  }
  for (const worker of state.workers.values()) {
    worker.held = worker.nextHeld;
    worker.nextHeld = [];
  }
  state.round++;
  noteRoundTime(state, noteRound(state.parking.trials, nowMs));
  judgeLoss(state, judgedLoss(state, input.trainLoss), effects);
  if (hasEnded(state)) return;
  reviewLinks(state, effects);
  pushCadences(state, effects);
  if (state.round >= state.settings.rounds) return finish(state, 'completed', effects);
  openRound(state, nowMs, effects);
}

function judgeLoss(state: RunState, trainLoss: number | undefined, effects: RunEffect[]): void {
  if (trainLoss === undefined) return;
  const { chanceLoss, maxLoss } = state.settings;
  const rounds = roundsAboveLimit(state.settings);
  const stopsAbove = maxLoss * chanceLoss;
  const verdict = watchLoss(state.loss, trainLoss, state.settings);
  if (verdict === 'high') decided(effects, { kind: 'lossHigh', trainLoss, chanceLoss, stopsAbove, rounds });
  if (verdict !== 'diverged') return;
  const limit = `${stopsAbove.toFixed(2)} nats/char, ${maxLoss} times that of guessing`;
  fail(state, `the training loss was above ${limit}, for ${rounds} rounds; it is now ${trainLoss.toPrecision(6)}`, effects);
}

/** A function, because the compiler does not see that a call has changed the phase. */
function hasEnded({ phase }: RunState): boolean {
  return phase === 'over';
}

function pushCadences(state: RunState, effects: RunEffect[]): void {
  const { round, settings } = state;
  if (round >= settings.rounds) return; // the caller does all of this at the end of a run
  const due = (every: number): boolean => every > 0 && round % every === 0;
  if (due(settings.evaluateEvery)) effects.push({ type: 'evaluate', round });
  if (due(settings.sampleEvery)) effects.push({ type: 'sample', round });
  if (due(settings.checkpointEvery)) pushCheckpoint(state, effects);
}

function finish(state: RunState, outcome: 'completed' | 'stopped', effects: RunEffect[]): void {
  state.phase = 'over';
  effects.push({ type: 'finish', round: state.round, outcome });
}

function openRound(state: RunState, nowMs: number, effects: RunEffect[]): void {
  resetUnits(state);
  effects.push({ type: 'openRound', round: state.round });
  state.parking.plan = { roundMs: 0, workers: 0 };
  lendUncovered(state, nowMs, effects);
  reviewParking(state, nowMs, effects);
}

/** The sum of this round is lost, so everything is computed again. */
function reopen(state: RunState, nowMs: number, effects: RunEffect[]): void {
  resetTopology(state);
  if (state.phase === 'idle') return;
  disturbRound(state.parking.trials);
  state.audits.open.clear();
  for (const worker of state.workers.values()) releaseAll(state, worker);
  for (const unit of state.units) {
    unit.holder = undefined;
    unit.nextHolder = undefined;
  }
  openRound(state, nowMs, effects);
  decided(effects, { kind: 'reopened', lent: lentBy(state, effects) });
}

function resume(state: RunState, by: string, nowMs: number, effects: RunEffect[]): void {
  if (!state.pausedBy.delete(by)) return;
  lendUncovered(state, nowMs, effects);
  decided(effects, { kind: 'resumed', by, lent: lentBy(state, effects) });
}

function tick(state: RunState, nowMs: number, effects: RunEffect[]): void {
  forgetOldAudits(state, nowMs);
  const late = markLate(state, nowMs);
  endLateTrial(state, effects);
  const stuck = stuckWorkers(state, nowMs);
  for (const worker of stuck) sendSnapshot(state, worker, 'no result long after the deadline of its lease', effects);
  lendUncovered(state, nowMs, effects);
  if (late.length === 0 && stuck.length === 0) return;
  const lent = lentBy(state, effects);
  if (late.length > 0) decided(effects, { kind: 'late', workers: namesOf(state, late), lent });
  if (stuck.length > 0) decided(effects, { kind: 'stuck', workers: stuck.map(({ name }) => name), lent });
}

/** Names of the workers that hold these leases, each once. */
function namesOf({ workers }: RunState, leases: readonly Lease[]): string[] {
  const ids = new Set(leases.map(({ workerId }) => workerId));
  return [...ids].map((id) => workers.get(id)?.name ?? id);
}

function announceWaiting(state: RunState, effects: RunEffect[]): void {
  const running = state.phase === 'running' && state.pausedBy.size === 0;
  const waiting = running && !hasReadyWorker(state);
  if (waiting && !state.waiting) effects.push({ type: 'waiting', reason: 'noWorker' });
  state.waiting = waiting;
}

/** Runs after every input; in a large run the first worker usually decides it. */
function hasReadyWorker({ workers }: RunState): boolean {
  for (const { state, wanted } of workers.values()) if (state === 'ready' || wanted !== undefined) return true;
  return false;
}

/**
 * The run core: every decision of a run as one function (state, input, now) -> {state, effects, reason}. No clock, socket or random
 * source inside; the same inputs give the same effects. The state passed in is consumed: go on with the one returned.
 */
import { dealQuotas, dealStreams, type Hand } from './dealing.js';
import type { Decision, Lease, RunEffect, RunInput, RunState, WorkerRecord } from './state.js';

/** A lease is late after this many times its expected duration, but never before the minimum. */
const DEADLINE_FACTOR = 4;
const DEADLINE_MIN_MS = 10_000;
/** Weight of the newest measurement in a worker's speed. */
const SPEED_WEIGHT = 0.3;
const DEADLINE_MAX_MS = 3_600_000;
/** Speeds outside are nobody's: they come from a broken clock or a liar. */
const LEAST_CHARS_PER_SECOND = 1;
const MOST_CHARS_PER_SECOND = 1e12;
/** Refusals that say that the worker computes wrongly, not that it came too late. */
const FAULTS: ReadonlySet<string> = new Set(['replica_diverged', 'not_finite', 'wrong_tokens', 'wrong_length']);
/** A worker whose engine failed is left alone for this long. */
const REST_MS = 5_000;
/** The run is given up when the same stream's gradient is not finite this often in one round. */
const NOT_FINITE_TRIES = 3;
/** Ten times too slow is forgotten after some 50 rounds. */
const PATIENCE = 1.05;
/** Assumed for a worker that measured nothing, until its first lease counts. */
const UNKNOWN_CHARS_PER_SECOND = 1_000;

export function step(state: RunState, input: RunInput, nowMs: number): Decision {
  if (state.phase === 'over') return { state, effects: [], reason: 'the run is over' };
  const effects: RunEffect[] = [];
  const reason = decide(state, input, nowMs, effects);
  announceWaiting(state, effects);
  return { state, effects, reason };
}

function decide(state: RunState, input: RunInput, nowMs: number, effects: RunEffect[]): string {
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
    case 'counted':
      return counted(state, input, nowMs, effects);
    case 'rejected':
      return rejected(state, input, nowMs, effects);
    case 'updated':
      return updated(state, input.round, nowMs, effects);
    case 'reopen':
      return reopen(state, nowMs, effects);
    case 'pause':
      state.phase = 'paused';
      return 'paused: leases in flight still count, no new ones are dealt';
    case 'continue':
      state.phase = 'running';
      return `continued; ${lendUncovered(state, nowMs, effects)}`;
    case 'stop':
      return finish(state, 'stopped', input.reason, effects);
    case 'tick':
      return tick(state, nowMs, effects);
    default:
      return input satisfies never;
  }
}

function start(state: RunState, nowMs: number, effects: RunEffect[]): string {
  if (state.round >= state.settings.rounds) return finish(state, 'completed', 'nothing is left to compute', effects);
  state.phase = 'running';
  return openRound(state, nowMs, effects);
}

function workerReady(state: RunState, input: RunInput & { type: 'workerReady' }, nowMs: number, effects: RunEffect[]): string {
  const known = state.workers.get(input.workerId);
  const toldCharsPerSecond = input.charsPerSecond;
  const told = toldCharsPerSecond > 0 ? toldCharsPerSecond : UNKNOWN_CHARS_PER_SECOND;
  const charsPerSecond = Math.min(Math.max(told, LEAST_CHARS_PER_SECOND), MOST_CHARS_PER_SECOND);
  if (known) {
    known.state = 'ready';
    // It computes with another engine: what the last one was like says nothing of it.
    if (known.toldCharsPerSecond !== toldCharsPerSecond) {
      Object.assign(known, { toldCharsPerSecond, charsPerSecond, measured: false, restUntilMs: 0 });
    }
  } else {
    const { workerId: id, name } = input;
    state.workers.set(id, {
      id,
      name,
      state: 'ready',
      charsPerSecond,
      toldCharsPerSecond,
      measured: false,
      leases: new Set(),
      restUntilMs: 0,
      counted: 0,
      characters: 0,
    });
  }
  return `${input.name} is ready; ${lendUncovered(state, nowMs, effects)}`;
}

function workerSyncing(
  state: RunState,
  input: RunInput & { type: 'workerSyncing' },
  nowMs: number,
  effects: RunEffect[],
): string {
  const worker = state.workers.get(input.workerId);
  if (!worker) {
    effects.push({ type: 'resync', workerId: input.workerId, reason: input.reason });
    return `${input.workerId} fetches its first snapshot`;
  }
  sendSnapshot(state, worker, input.reason, effects);
  return `${worker.name} fetches a snapshot (${input.reason}); ${lendUncovered(state, nowMs, effects)}`;
}

/** Its leases and the hidden states it holds no longer count on it. */
function sendSnapshot(state: RunState, worker: WorkerRecord, reason: string, effects: RunEffect[]): void {
  worker.state = 'syncing';
  forsake(state, worker);
  effects.push({ type: 'resync', workerId: worker.id, reason });
}

function workerLeft(state: RunState, input: RunInput & { type: 'workerLeft' }, nowMs: number, effects: RunEffect[]): string {
  const worker = state.workers.get(input.workerId);
  if (!worker) return `${input.workerId} left before it was ready`;
  state.workers.delete(worker.id);
  forsake(state, worker);
  return `${worker.name} left (${input.reason}); ${lendUncovered(state, nowMs, effects)}`;
}

function forsake(state: RunState, worker: WorkerRecord): void {
  for (const leaseId of [...worker.leases]) closeLease(state, state.leases.get(leaseId)!);
  for (const stream of state.streams) {
    if (stream.holder === worker.id) stream.holder = undefined;
    if (stream.nextHolder === worker.id) stream.nextHolder = undefined;
  }
}

function declined(state: RunState, input: RunInput & { type: 'declined' }, nowMs: number, effects: RunEffect[]): string {
  const lease = state.leases.get(input.leaseId);
  if (!lease || lease.workerId !== input.workerId) return `lease ${input.leaseId} is not open any more`;
  closeLease(state, lease);
  const worker = state.workers.get(input.workerId);
  if (worker && (input.code === 'engine' || input.code === 'paused')) worker.restUntilMs = nowMs + REST_MS;
  if (worker && input.code === 'not_finite') {
    suspect(state, worker, input.reason, nowMs, effects);
    if (hasDiverged(state, lease)) return fail(state, input.reason, effects);
  }
  return `lease ${lease.id} given back (${input.reason}); ${lendUncovered(state, nowMs, effects)}`;
}

/** What a worker computed is off. Its memory may be at fault: it starts from a snapshot, and others go first for a while. */
function suspect(state: RunState, worker: WorkerRecord, reason: string, nowMs: number, effects: RunEffect[]): void {
  if (state.workers.size > 1) worker.restUntilMs = nowMs + REST_MS;
  sendSnapshot(state, worker, reason, effects);
}

/**
 * A gradient is a pure function of parameters and lease: what overflowed several times, and with everyone who is there, overflows
 * everywhere. One faulty machine among sound ones is no divergence.
 */
function hasDiverged(state: RunState, lease: Lease): boolean {
  let diverged = false;
  for (const i of lease.streams) {
    const stream = state.streams[i];
    stream.failures++;
    stream.failedBy.add(lease.workerId);
    diverged ||= stream.failures >= NOT_FINITE_TRIES && [...state.workers.keys()].every((id) => stream.failedBy.has(id));
  }
  return diverged;
}

function fail(state: RunState, why: string, effects: RunEffect[]): string {
  state.phase = 'over';
  effects.push({ type: 'fail', round: state.round, reason: why });
  return `diverged: ${why}`;
}

/** The streams are in the sum, even when the lease was taken back meanwhile: the worker may have left right after sending. */
function counted(state: RunState, input: RunInput & { type: 'counted' }, nowMs: number, effects: RunEffect[]): string {
  if (input.round !== state.round) return `lease ${input.leaseId} counted for a round that is over`;
  const worker = state.workers.get(input.workerId);
  for (const i of input.streams) {
    state.streams[i].counted = true;
    state.streams[i].nextHolder = worker?.state === 'ready' ? input.workerId : undefined;
  }
  const lease = state.leases.get(input.leaseId);
  if (lease) {
    closeLease(state, lease);
    if (worker) credit(state, worker, lease, nowMs);
  }
  return `lease ${input.leaseId} counts; ${lendUncovered(state, nowMs, effects)}`;
}

function credit(state: RunState, worker: WorkerRecord, lease: Lease, nowMs: number): void {
  const characters = lease.streams.length * state.settings.window;
  worker.counted++;
  worker.characters += characters;
  const rate = (characters * 1000) / Math.max(nowMs - lease.grantedAtMs, 1);
  worker.charsPerSecond = worker.measured ? worker.charsPerSecond * (1 - SPEED_WEIGHT) + rate * SPEED_WEIGHT : rate;
  worker.measured = true;
}

function rejected(state: RunState, input: RunInput & { type: 'rejected' }, nowMs: number, effects: RunEffect[]): string {
  const lease = input.round === state.round ? state.leases.get(input.leaseId) : undefined;
  if (lease && lease.workerId === input.workerId) closeLease(state, lease);
  const worker = state.workers.get(input.workerId);
  if (worker && FAULTS.has(input.result)) suspect(state, worker, input.reason, nowMs, effects);
  if (lease && input.result === 'not_finite' && hasDiverged(state, lease)) return fail(state, input.reason, effects);
  return `contribution for lease ${input.leaseId} refused: ${input.reason}; ${lendUncovered(state, nowMs, effects)}`;
}

function updated(state: RunState, round: number, nowMs: number, effects: RunEffect[]): string {
  if (round !== state.round) return `update of round ${round} is not the one awaited (${state.round})`;
  for (const lease of [...state.leases.values()]) closeLease(state, lease);
  for (const stream of state.streams) {
    stream.holder = stream.nextHolder;
    stream.nextHolder = undefined;
  }
  state.round++;
  pushCadences(state, effects);
  if (state.round >= state.settings.rounds) return finish(state, 'completed', 'all rounds are computed', effects);
  return `round ${round} committed; ${openRound(state, nowMs, effects)}`;
}

function pushCadences({ round, settings }: RunState, effects: RunEffect[]): void {
  if (round >= settings.rounds) return; // the end brings its own
  const due = (every: number): boolean => every > 0 && round % every === 0;
  if (due(settings.evaluateEvery)) effects.push({ type: 'evaluate', round });
  if (due(settings.sampleEvery)) effects.push({ type: 'sample', round });
  if (due(settings.checkpointEvery)) effects.push({ type: 'checkpoint', round });
}

function finish(state: RunState, outcome: 'completed' | 'stopped', why: string, effects: RunEffect[]): string {
  state.phase = 'over';
  effects.push({ type: 'finish', round: state.round, outcome });
  return `${outcome}: ${why}`;
}

function openRound(state: RunState, nowMs: number, effects: RunEffect[]): string {
  for (const stream of state.streams) {
    stream.counted = false;
    stream.lent = false;
    stream.failures = 0;
    stream.failedBy.clear();
    stream.timelyLeases = 0;
  }
  effects.push({ type: 'openRound', round: state.round });
  return `round ${state.round} opens; ${lendUncovered(state, nowMs, effects)}`;
}

/** Nothing counted so far in this round is in the sum any more. */
function reopen(state: RunState, nowMs: number, effects: RunEffect[]): string {
  if (state.phase === 'idle') return 'no round is open yet';
  for (const lease of [...state.leases.values()]) closeLease(state, lease);
  for (const stream of state.streams) {
    stream.holder = undefined;
    stream.nextHolder = undefined;
  }
  return `the all-reduce service is back; ${openRound(state, nowMs, effects)}`;
}

function tick(state: RunState, nowMs: number, effects: RunEffect[]): string {
  const late = [...state.leases.values()].filter((lease) => !lease.late && nowMs >= lease.deadlineAtMs);
  for (const lease of late) markLate(state, lease, nowMs);
  // A worker that is later than late may wait for something that will never come: it starts anew, and its streams are free.
  const stuck = [...state.leases.values()].filter((lease) => nowMs >= 2 * lease.deadlineAtMs - lease.grantedAtMs);
  for (const { workerId } of stuck) {
    const worker = state.workers.get(workerId);
    if (worker?.state === 'ready') sendSnapshot(state, worker, 'no result in twice the time of the lease', effects);
  }
  const lent = lendUncovered(state, nowMs, effects);
  return late.length === 0 ? 'no lease is late' : `${late.length} leases are late; ${lent}`;
}

function markLate(state: RunState, lease: Lease, nowMs: number): void {
  lease.late = true;
  for (const stream of lease.streams) state.streams[stream].timelyLeases--;
  const worker = state.workers.get(lease.workerId);
  // It cannot be faster than this, whatever was measured before.
  const most = (lease.streams.length * state.settings.window * 1000) / Math.max(nowMs - lease.grantedAtMs, 1);
  if (worker) worker.charsPerSecond = Math.min(worker.charsPerSecond, most);
}

function closeLease(state: RunState, lease: Lease): void {
  if (!state.leases.delete(lease.id)) return;
  if (!lease.late) for (const stream of lease.streams) state.streams[stream].timelyLeases--;
  state.workers.get(lease.workerId)?.leases.delete(lease.id);
}

/** Deals every stream that is neither counted nor in timely hands to the workers that have nothing to do. */
function lendUncovered(state: RunState, nowMs: number, effects: RunEffect[]): string {
  if (state.phase !== 'running') return `the run is ${state.phase}`;
  const uncovered = state.streams.flatMap((stream, i) => (stream.counted || stream.timelyLeases > 0 ? [] : [i]));
  if (uncovered.length === 0) return 'every stream is counted or lent';
  const idle = [...state.workers.values()].filter((worker) => isFree(worker, nowMs));
  if (idle.length === 0) return `${uncovered.length} streams wait for a free worker`;
  const held = new Map<string, number>();
  for (const i of uncovered) {
    const holder = state.streams[i].holder;
    if (holder !== undefined) held.set(holder, (held.get(holder) ?? 0) + 1);
  }
  const hands: Hand[] = idle.map(({ id, charsPerSecond, measured }) => ({
    workerId: id,
    charsPerSecond,
    held: held.get(id) ?? 0,
    untried: !measured,
  }));
  const ids = idle.map((worker) => worker.id);
  const dealt = dealStreams(uncovered, ids, dealQuotas(hands, uncovered.length), (i) => state.streams[i].holder);
  for (const [workerId, streams] of dealt) if (streams.length > 0) grant(state, workerId, streams, nowMs, effects);
  if (uncovered.length === state.streams.length) forgive(idle.filter(({ id }) => dealt.get(id)!.length === 0));
  return `${uncovered.length} streams lent to ${[...dealt.values()].filter((streams) => streams.length > 0).length} workers`;
}

/** A worker too slow to get streams is thought a little faster each round, until it is tried again: it may have been a passing load. */
function forgive(passedOver: readonly WorkerRecord[]): void {
  for (const worker of passedOver) {
    worker.charsPerSecond = Math.min(worker.charsPerSecond * PATIENCE, MOST_CHARS_PER_SECOND);
  }
}

function isFree(worker: WorkerRecord, nowMs: number): boolean {
  return worker.state === 'ready' && worker.leases.size === 0 && nowMs >= worker.restUntilMs;
}

function grant(state: RunState, workerId: string, streams: readonly number[], nowMs: number, effects: RunEffect[]): void {
  const worker = state.workers.get(workerId)!;
  const { window, windowsPerPass } = state.settings;
  const wraps = state.round % windowsPerPass === 0;
  const states = streams.map((i) => {
    const { holder, lent } = state.streams[i];
    return wraps ? 'z' : holder === workerId && !lent ? 'h' : 'g';
  });
  const expectedMs = (streams.length * window * 1000) / worker.charsPerSecond;
  const deadlineMs = Math.ceil(Math.min(Math.max(DEADLINE_MIN_MS, expectedMs * DEADLINE_FACTOR), DEADLINE_MAX_MS));
  const lease: Lease = {
    id: `${state.round}-${state.leaseCount++}`,
    workerId,
    streams,
    grantedAtMs: nowMs,
    deadlineAtMs: nowMs + deadlineMs,
    late: false,
  };
  state.leases.set(lease.id, lease);
  worker.leases.add(lease.id);
  for (const i of streams) {
    state.streams[i].timelyLeases++;
    state.streams[i].lent = true;
  }
  effects.push({ type: 'lease', workerId, leaseId: lease.id, round: state.round, streams, states: states.join(''), deadlineMs });
}

function announceWaiting(state: RunState, effects: RunEffect[]): void {
  const waiting = state.phase === 'running' && ![...state.workers.values()].some((worker) => worker.state === 'ready');
  if (waiting && !state.waiting)
    effects.push({ type: 'waiting', reason: 'no worker is connected; the run goes on as soon as one joins' });
  state.waiting = waiting;
}

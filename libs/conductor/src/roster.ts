/**
 * The workers of a run, one entry each, and where the time of a round goes. The roster is a fold
 * over the events of the run. It decides nothing: the scheduler keeps its own record of each
 * worker's leases and pace.
 */
import type { ReduceCounted } from '@troupe/collective';
import { isLostRace, isOvertaken } from '@troupe/protocol';
import type { RoundTiming } from '@troupe/run';
import type { ConductorEvent, ControlSession, CountedEvent, WorkerIdentity, WorkerMessage } from './events.js';

/** How long the roster remembers workers that left, and how many of them. */
const LEFT_MS = 180_000;
const MAX_LEFT = 50;
/** Weight of the newest latency. */
const LATENCY_WEIGHT = 0.2;

export interface WorkerEntry extends WorkerIdentity {
  /** Undefined once it has left. */
  session: ControlSession | undefined;
  leftAtMs: number | undefined;
  /** When it was last heard from. */
  seenAtMs: number;
  /** What it reported about its engine; empty, and 0, until it is ready. */
  engine: string;
  device: string;
  reportedCharsPerSecond: number;
  /** In its engine, measured by its leases; undefined until its first contribution counts. */
  charsPerSecond: number | undefined;
  /** From lease to counted, minus the time in its engine. */
  latencyMs: number | undefined;
  /** It is waiting for a snapshot. */
  syncing: boolean;
  /** The last thing of note that happened to it; empty if nothing did. */
  reason: string;
  /** Rounds to which it contributed, and the characters it contributed. */
  rounds: number;
  characters: number;
  /** How many streams it contributed to its last round. */
  streams: number;
}

export interface Roster {
  /** By id, in the order in which they joined. Includes those that left recently. */
  readonly workers: Map<string, WorkerEntry>;
  /** How many are connected. */
  connected: number;
  /** Those that left, in the order in which they left. */
  readonly left: WorkerEntry[];
  /** By worker id: its contributions to the current round. */
  readonly work: Map<string, RoundWork>;
  lastUpdateMs: number;
  /** Of the last completed round. */
  timing: RoundTiming;
}

/** One worker's contributions to the current round. */
interface RoundWork {
  readonly grantedAtMs: number;
  countedAtMs: number;
  computeMs: number;
  streams: number;
  characters: number;
}

export function createRoster(nowMs: number): Roster {
  return {
    workers: new Map(),
    connected: 0,
    left: [],
    work: new Map(),
    lastUpdateMs: nowMs,
    timing: { computeMs: 0, transferMs: 0, reduceMs: 0, waitingMs: 0 },
  };
}

/** Changes `roster` to what it is after `event`. */
export function updateRoster(roster: Roster, event: ConductorEvent, nowMs: number): void {
  switch (event.type) {
    case 'workerJoined':
      return joined(roster, event.worker, event.session, nowMs);
    case 'workerMessage':
      return noteMessage(roster.workers.get(event.worker.id), event.message, nowMs);
    case 'workerLeft':
      return left(roster, event.worker.id, event.reason, nowMs);
    case 'counted':
      return counted(roster, event, nowMs);
    case 'rejected': {
      const { workerId, reason, result } = event.rejection;
      return noteRejection(roster.workers.get(workerId), isLostRace(result) ? undefined : reason, nowMs);
    }
    case 'update':
      return roundEnds(roster, nowMs);
    case 'reduceRestored':
      // The round starts over: nothing counted so far is in its sum.
      return roster.work.clear();
    case 'order':
      return forgetLongGone(roster, nowMs);
    default:
  }
}

/** The session of a connected worker. */
export function sessionOf(roster: Roster, workerId: string): ControlSession | undefined {
  return roster.workers.get(workerId)?.session;
}

export function openSessions(roster: Roster): ControlSession[] {
  return [...roster.workers.values()].flatMap(({ session }) => session ?? []);
}

function joined(roster: Roster, worker: WorkerIdentity, session: ControlSession, nowMs: number): void {
  const unknown = { engine: '', device: '', reason: '', syncing: false, leftAtMs: undefined, latencyMs: undefined };
  const none = { reportedCharsPerSecond: 0, charsPerSecond: undefined, rounds: 0, characters: 0, streams: 0 };
  roster.workers.set(worker.id, { ...worker, session, seenAtMs: nowMs, ...unknown, ...none });
  roster.connected++;
}

function noteMessage(entry: WorkerEntry | undefined, message: WorkerMessage, nowMs: number): void {
  if (!entry) return;
  entry.seenAtMs = nowMs;
  switch (message.type) {
    case 'ready': {
      const { engine, device, charsPerSecond } = message;
      Object.assign(entry, { engine, device, reportedCharsPerSecond: charsPerSecond, syncing: false, reason: '' });
      return;
    }
    case 'resync':
      Object.assign(entry, { syncing: true, reason: message.reason });
      return;
    case 'decline':
      if (!isOvertaken(message.code)) entry.reason = message.reason;
      return;
    case 'seeded':
    case 'progress':
      return;
    default:
      message satisfies never;
  }
}

/** `reason`: what the worker did wrong, if anything. */
function noteRejection(entry: WorkerEntry | undefined, reason: string | undefined, nowMs: number): void {
  if (entry) Object.assign(entry, { seenAtMs: nowMs, reason: reason ?? entry.reason });
}

function left(roster: Roster, workerId: string, reason: string, nowMs: number): void {
  const entry = roster.workers.get(workerId);
  if (!entry?.session) return;
  Object.assign(entry, { session: undefined, leftAtMs: nowMs, reason });
  roster.connected--;
  roster.left.push(entry);
  forgetLongGone(roster, nowMs);
}

function forgetLongGone({ workers, left }: Roster, nowMs: number): void {
  while (left.length > 0 && (left.length > MAX_LEFT || nowMs - left[0].leftAtMs! > LEFT_MS)) {
    workers.delete(left.shift()!.id);
  }
}

function counted(roster: Roster, { contribution, grantedAtMs, charsPerSecond }: CountedEvent, nowMs: number): void {
  const { workerId } = contribution;
  addWork(roster.work, contribution, grantedAtMs ?? nowMs - contribution.computeMs, nowMs);
  const entry = roster.workers.get(workerId);
  if (!entry) return;
  entry.seenAtMs = nowMs;
  entry.charsPerSecond = charsPerSecond ?? entry.charsPerSecond;
}

function addWork(work: Roster['work'], contribution: ReduceCounted, grantedAtMs: number, nowMs: number): void {
  const { workerId, computeMs, streams, tokens } = contribution;
  const nothing = { grantedAtMs, countedAtMs: nowMs, computeMs: 0, streams: 0, characters: 0 };
  const own = work.get(workerId) ?? nothing;
  own.countedAtMs = nowMs;
  own.computeMs += computeMs;
  own.streams += streams.length;
  own.characters += tokens;
  work.set(workerId, own);
}

function roundEnds(roster: Roster, nowMs: number): void {
  for (const [workerId, work] of roster.work) {
    const entry = roster.workers.get(workerId);
    if (entry) credit(entry, work);
  }
  roster.timing = timingOf([...roster.work.values()], roster.lastUpdateMs, nowMs);
  roster.lastUpdateMs = nowMs;
  roster.work.clear();
}

function credit(entry: WorkerEntry, { grantedAtMs, countedAtMs, computeMs, streams, characters }: RoundWork): void {
  entry.rounds++;
  // A contribution that counts ends whatever was wrong before.
  entry.reason = '';
  entry.characters += characters;
  entry.streams = streams;
  const latencyMs = Math.max(0, countedAtMs - grantedAtMs - computeMs);
  entry.latencyMs = entry.latencyMs === undefined ? latencyMs : entry.latencyMs + (latencyMs - entry.latencyMs) * LATENCY_WEIGHT;
}

/**
 * See RoundTiming. A worker's reported compute time counts only as far as it fits into the time
 * between lease and count.
 */
function timingOf(roundWork: readonly RoundWork[], sinceMs: number, untilMs: number): RoundTiming {
  let last: RoundWork | undefined;
  for (const work of roundWork) if (!last || work.countedAtMs > last.countedAtMs) last = work;
  if (!last) return { computeMs: 0, transferMs: 0, reduceMs: 0, waitingMs: untilMs - sinceMs };
  const grantedAtMs = Math.max(last.grantedAtMs, sinceMs);
  const spanMs = last.countedAtMs - grantedAtMs;
  const computeMs = Math.min(last.computeMs, spanMs);
  return {
    computeMs,
    transferMs: spanMs - computeMs,
    reduceMs: untilMs - last.countedAtMs,
    waitingMs: grantedAtMs - sinceMs,
  };
}

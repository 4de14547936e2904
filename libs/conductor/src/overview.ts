/** Who takes part and where the time of a round goes, for whoever looks on; decides nothing. */
import { LIMITS, printable, type Message } from '@troupe/protocol';
import { MAX_WORKERS_SHOWN, type RoundTiming, type WorkerView } from '@troupe/run';
import type { RunState, WorkerRecord } from '@troupe/scheduler';
import type { ReduceEvent } from './run-shell.js';

/** How long a worker that has left is still shown, and how many of them. */
const LEFT_MS = 180_000;
const MAX_LEFT = 50;
/** Weight of the newest latency. */
const LATENCY_WEIGHT = 0.2;

export interface Overview {
  /** It has said hello and was welcomed. */
  joined(workerId: string, name: string, kind: 'node' | 'browser'): void;
  /** A message of its control link. */
  heard(workerId: string, message: Message): void;
  left(workerId: string, reason: string): void;
  /** What the all-reduce says, before the run core hears of it: `state` still has the leases. */
  onReduce(event: ReduceEvent, state: RunState): void;
  /** Nothing counted so far in this round counts any more. */
  reopened(): void;
  /** Of the round whose update came last. */
  readonly timing: RoundTiming;
  workers(state: RunState): WorkerView[];
}

interface WorkerEntry {
  readonly id: string;
  readonly name: string;
  readonly kind: 'node' | 'browser';
  engine: string;
  device: string;
  reported: number;
  reason: string;
  syncing: boolean;
  seenAtMs: number;
  leftAtMs: number | undefined;
  latencyMs: number | undefined;
  rounds: number;
  characters: number;
  charsPerSecond: number;
  /** Of the last round in which something of it counted. */
  streams: number;
}

/** What of one worker counts in the round being computed. */
interface RoundWork {
  readonly grantedAtMs: number;
  countedAtMs: number;
  computeMs: number;
  streams: number;
  characters: number;
}

export function createOverview(nowMs: () => number): Overview {
  const entries = new Map<string, WorkerEntry>();
  const roundWork = new Map<string, RoundWork>();
  let lastUpdateMs = nowMs();
  let timing: RoundTiming = { computeMs: 0, transferMs: 0, reduceMs: 0, waitingMs: 0 };

  return {
    get timing() {
      return timing;
    },
    joined(workerId, name, kind) {
      forgetLongGone();
      entries.set(workerId, newEntry(workerId, name, kind, nowMs()));
    },
    heard(workerId, message) {
      const entry = entries.get(workerId);
      if (entry) note(entry, message, nowMs());
    },
    left(workerId, reason) {
      const entry = entries.get(workerId);
      if (entry) Object.assign(entry, { leftAtMs: nowMs(), reason });
      forgetLongGone();
    },
    onReduce(event, state) {
      if (event.kind === 'rejected') return rejected(event.workerId, event.reason);
      if (event.round !== state.round) return;
      if (event.kind === 'counted') counted(event, state);
      else updated();
    },
    reopened: () => roundWork.clear(),
    workers,
  };

  function rejected(workerId: string, reason: string): void {
    const entry = entries.get(workerId);
    if (entry) Object.assign(entry, { seenAtMs: nowMs(), reason: printable(reason) });
  }

  function counted(event: Extract<ReduceEvent, { kind: 'counted' }>, state: RunState): void {
    const { workerId, leaseId, computeMs, streams, tokens } = event;
    const now = nowMs();
    // Taken back meanwhile: since when it was computed is not known any more.
    const grantedAtMs = state.leases.get(leaseId)?.grantedAtMs ?? now - computeMs;
    const work = roundWork.get(workerId) ?? { grantedAtMs, countedAtMs: now, computeMs: 0, streams: 0, characters: 0 };
    work.countedAtMs = now;
    work.computeMs += computeMs;
    work.streams += streams.length;
    work.characters += tokens;
    roundWork.set(workerId, work);
    const entry = entries.get(workerId);
    if (entry) entry.seenAtMs = now;
  }

  function updated(): void {
    const now = nowMs();
    for (const [workerId, work] of roundWork) {
      const entry = entries.get(workerId);
      if (entry) credit(entry, work);
    }
    timing = timingOf([...roundWork.values()], lastUpdateMs, now);
    lastUpdateMs = now;
    roundWork.clear();
  }

  function workers(state: RunState): WorkerView[] {
    forgetLongGone();
    const now = nowMs();
    const shown: WorkerView[] = [];
    for (const entry of entries.values()) {
      if (shown.length === MAX_WORKERS_SHOWN) break;
      shown.push(viewOf(entry, state, now));
    }
    return shown;
  }

  function forgetLongGone(): void {
    const gone = [...entries.values()].filter(({ leftAtMs }) => leftAtMs !== undefined);
    gone.sort((a, b) => b.leftAtMs! - a.leftAtMs!);
    gone.forEach(({ id, leftAtMs }, i) => {
      if (i >= MAX_LEFT || nowMs() - leftAtMs! > LEFT_MS) entries.delete(id);
    });
  }
}

function newEntry(id: string, name: string, kind: 'node' | 'browser', seenAtMs: number): WorkerEntry {
  const nothingYet = {
    engine: '',
    device: '',
    reported: 0,
    reason: '',
    syncing: false,
    leftAtMs: undefined,
    latencyMs: undefined,
  };
  return { id, name, kind, seenAtMs, rounds: 0, characters: 0, charsPerSecond: 0, streams: 0, ...nothingYet };
}

function note(entry: WorkerEntry, message: Message, nowMs: number): void {
  entry.seenAtMs = nowMs;
  switch (message.type) {
    case 'ready':
      Object.assign(entry, { engine: printable(message.engine), device: printable(message.device) });
      Object.assign(entry, { reported: message.charsPerSecond, syncing: false, reason: '' });
      return;
    case 'resync':
      Object.assign(entry, { syncing: true, reason: printable(message.reason) });
      return;
    case 'decline':
      entry.reason = printable(message.reason);
      return;
    default:
  }
}

function credit(entry: WorkerEntry, { grantedAtMs, countedAtMs, computeMs, streams, characters }: RoundWork): void {
  entry.rounds++;
  // What was wrong before is over.
  entry.reason = '';
  entry.characters += characters;
  entry.streams = streams;
  const latencyMs = Math.max(0, countedAtMs - grantedAtMs - computeMs);
  entry.latencyMs = entry.latencyMs === undefined ? latencyMs : entry.latencyMs + (latencyMs - entry.latencyMs) * LATENCY_WEIGHT;
}

/** See RoundTiming. What a worker says of its engine is believed as far as it fits in. */
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

function viewOf(entry: WorkerEntry, runState: RunState, nowMs: number): WorkerView {
  const { id, name, kind, engine, device, latencyMs, rounds, characters } = entry;
  const record = entry.leftAtMs === undefined ? runState.workers.get(id) : undefined;
  if (record) entry.charsPerSecond = record.pace.charsPerSecond;
  const [state, why] = stateOf(entry, record, runState, nowMs);
  return {
    id,
    name: name.slice(0, LIMITS.nameLength),
    kind,
    engine,
    ...(device === '' ? {} : { device }),
    charsPerSecond: Math.round(entry.charsPerSecond || entry.reported),
    streams: (record && streamsLent(record, runState)) || entry.streams,
    ...(latencyMs === undefined ? {} : { latencyMs: Math.round(latencyMs * 10) / 10 }),
    rounds,
    characters,
    lastSeenMs: Math.round(nowMs - entry.seenAtMs),
    state,
    reason: why,
  };
}

function streamsLent({ leases }: WorkerRecord, state: RunState): number {
  let streams = 0;
  for (const leaseId of leases) {
    for (const index of state.leases.get(leaseId)?.units ?? []) streams += state.units[index].streams.length;
  }
  return streams;
}

function stateOf(
  entry: WorkerEntry,
  record: WorkerRecord | undefined,
  state: RunState,
  nowMs: number,
): [WorkerView['state'], reason: string] {
  if (entry.leftAtMs !== undefined) return ['left', entry.reason];
  if (!record) return [entry.syncing ? 'syncing' : 'joining', entry.syncing ? entry.reason : 'measures its engines'];
  if (record.state !== 'ready') return [record.state, entry.reason];
  const own = [...record.leases].flatMap((leaseId) => state.leases.get(leaseId) ?? []);
  const late = [...own, ...record.unanswered.values()].some((lease) => lease.late);
  if (late) return ['late', 'past the deadline of its lease, whose streams are lent to others too'];
  if (own.length > 0) return ['computing', entry.reason];
  if (nowMs < record.restUntilMs) return ['ready', `rests: ${entry.reason}`];
  return ['ready', entry.reason];
}

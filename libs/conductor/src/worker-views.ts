/** The rows of a dashboard's table of workers, from the roster and the scheduler's records. */
import { LIMITS } from '@troupe/protocol';
import { laggingText, MAX_WORKERS_SHOWN, parkedText, type WorkerState, type WorkerView } from '@troupe/run';
import { isOnProbation, type RunState, type WorkerRecord } from '@troupe/scheduler';
import type { Roster, WorkerEntry } from './roster.js';

/** At most MAX_WORKERS_SHOWN rows, in the order of the roster. */
export function workerViews(roster: Roster, state: RunState, nowMs: number): WorkerView[] {
  const shown: WorkerView[] = [];
  for (const entry of roster.workers.values()) {
    if (shown.length === MAX_WORKERS_SHOWN) break;
    shown.push(viewOf(entry, state, nowMs));
  }
  return shown;
}

/** Counts the workers of the roster by state, all of them. */
export function workerStates(roster: Roster, state: RunState, nowMs: number): ReadonlyMap<WorkerState, number> {
  const counts = new Map<WorkerState, number>();
  for (const entry of roster.workers.values()) {
    const [of] = stateOf(entry, entry.session && state.workers.get(entry.id), state, nowMs);
    counts.set(of, (counts.get(of) ?? 0) + 1);
  }
  return counts;
}

function viewOf(entry: WorkerEntry, runState: RunState, nowMs: number): WorkerView {
  const { id, name, kind, engine, device, latencyMs, rounds, characters } = entry;
  const record = entry.session && runState.workers.get(id);
  const [state, why] = stateOf(entry, record, runState, nowMs);
  return {
    id,
    name: name.slice(0, LIMITS.nameLength),
    kind,
    engine,
    ...(device === '' ? {} : { device }),
    charsPerSecond: Math.round(record?.pace.charsPerSecond ?? entry.charsPerSecond ?? entry.reportedCharsPerSecond),
    streams: (record && streamsLent(record, runState)) || entry.streams,
    ...(latencyMs === undefined ? {} : { latencyMs: Math.round(latencyMs * 10) / 10 }),
    rounds,
    characters,
    lastSeenMs: Math.round(nowMs - entry.seenAtMs),
    state,
    reason: why,
    ...(entry.session && peerOf(id, runState)),
    ...(record && auditsOf(record, runState)),
  };
}

function peerOf(id: string, { topology }: RunState): Pick<WorkerView, 'peer'> {
  const offer = topology.offers.get(id);
  if (!offer) return {};
  return { peer: { sums: topology.reducers.includes(id), reachedBy: offer.linked, workers: offer.members } };
}

function auditsOf(record: WorkerRecord, state: RunState): Pick<WorkerView, 'audits'> {
  const { trust } = record;
  if (!state.audits.policy || trust.trusted) return {};
  // Not those that are pending: a volunteer that reads them would know which of its leases are audited.
  return { audits: { passed: trust.passed, onProbation: isOnProbation(state, record) } };
}

function streamsLent({ leases }: WorkerRecord, state: RunState): number {
  let streams = 0;
  for (const leaseId of leases) {
    for (const index of state.leases.get(leaseId)?.units ?? []) streams += state.units[index].streams.length;
  }
  return streams;
}

function whyParked({ faster, lag }: WorkerRecord, nowMs: number): string {
  return nowMs < lag.untilMs ? laggingText(lag.untilMs - nowMs) : parkedText(faster);
}

function stateOf(
  entry: WorkerEntry,
  record: WorkerRecord | undefined,
  state: RunState,
  nowMs: number,
): [WorkerState, reason: string] {
  if (!entry.session) return ['left', entry.reason];
  if (!record) return [entry.syncing ? 'syncing' : 'joining', entry.syncing ? entry.reason : 'measuring its engines'];
  if (record.state === 'parked') return record.wanted ? ['syncing', 'it is wanted again'] : ['parked', whyParked(record, nowMs)];
  if (record.state !== 'ready') return [record.state, entry.reason];
  const own = [...record.leases].flatMap((leaseId) => state.leases.get(leaseId) ?? []);
  const late = [...own, ...record.unanswered.values()].some((lease) => lease.late);
  if (late) return ['late', 'past the deadline of its lease; its streams are also lent to others'];
  if (own.length > 0) return ['computing', entry.reason];
  if (nowMs < Math.max(record.cooldownUntilMs, record.refusals.untilMs)) return ['ready', `resting: ${entry.reason}`];
  return ['ready', entry.reason];
}

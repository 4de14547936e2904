/**
 * Decides what a worker does next. Leases and snapshots arrive over one link, updates over another, and each may overtake the other; this
 * reducer puts them in order. It handles numbers only: the executor holds the vectors.
 */
import type { ReduceResult } from '@troupe/collective';
import { brief, isLostRace, isOvertaken, type DeclineCode, type MessageOf } from '@troupe/protocol';
import type { WorkerLog } from './ports.js';

/** Why the coordinator stops this worker. */
export type StopNotice = Pick<MessageOf<'stop'>, 'code' | 'reason'>;

export interface PendingLease {
  readonly leaseId: string;
  readonly round: number;
}

export type SyncState =
  /** A snapshot was requested; until it arrives, the replica belongs to no round. */
  | {
      readonly phase: 'syncing';
      /** The latest round whose update this worker received, applied or not, or will never receive; -1: none. */
      readonly heard: number;
      /** Rounds of the updates retained meanwhile, in order of arrival. */
      readonly missed: readonly number[];
      /** Of the snapshot that is being taken from other workers; absent: none is. */
      readonly sourcesRound?: number;
    }
  | {
      readonly phase: 'training';
      readonly heard: number;
      /** The round that the replica computes next. */
      readonly round: number;
      /** Leases of later rounds, and of this round behind the one being computed, in order of arrival. */
      readonly waiting: readonly PendingLease[];
      /** The round before which others want a copy of this replica; absent: they want none. */
      readonly seedRound?: number | undefined;
    }
  /** It receives no updates and no leases, so its replica is outdated. */
  | { readonly phase: 'parked'; readonly heard: number }
  | { readonly phase: 'stopped'; readonly notice: StopNotice };

type Live = Exclude<SyncState, { readonly phase: 'stopped' }>;

export type SyncInput =
  | { readonly type: 'snapshot'; readonly round: number }
  /** Other workers have the snapshot. */
  | { readonly type: 'sources'; readonly round: number }
  /** It could not be taken from them. */
  | { readonly type: 'sourcesFailed'; readonly reason: string }
  /** Others want a copy of this replica as it is before `round`; or, if not wanted, none. */
  | { readonly type: 'seed'; readonly round: number; readonly wanted: boolean }
  | { readonly type: 'update'; readonly round: number }
  | { readonly type: 'lease'; readonly leaseId: string; readonly round: number }
  /** The lease of the last `computeLease` is computed and its contribution is sent. */
  | {
      readonly type: 'computed';
      readonly round: number;
      readonly streams: number;
      readonly computeMs: number;
      readonly characters: number;
    }
  /** The lease of the last `computeLease` cannot be computed. `engineLost` says why the engine is lost, if it is. */
  | {
      readonly type: 'failed';
      readonly leaseId: string;
      readonly round: number;
      readonly code: DeclineCode;
      readonly reason: string;
      readonly engineLost?: string | undefined;
    }
  /** It receives the updates of `round` and of later rounds, or none. */
  | { readonly type: 'subscription'; readonly wanted: boolean; readonly round: number }
  | { readonly type: 'cancel'; readonly leaseId: string }
  /** Says why; `subscription` makes it so. */
  | { readonly type: 'parked'; readonly reason: string }
  | ({ readonly type: 'result' } & Pick<ReduceResult, 'round' | 'result' | 'reason'>)
  | ({ readonly type: 'stop' } & StopNotice);

export type SyncAction =
  /** Also drops held states, retained leases and retained updates: none of them fits the next parameters. */
  | {
      readonly type: 'requestSnapshot';
      readonly reason: string;
      /** It must not be older. */
      readonly round: number;
      /** Whether it may come from other workers. */
      readonly fromPeers: boolean;
    }
  /** From the workers just named, in the background; `snapshot` or `sourcesFailed` follows. */
  | { readonly type: 'fetchSnapshot' }
  /** Keeps a copy of the replica for others, as it is now, or none. */
  | { readonly type: 'keepSnapshot'; readonly round: number }
  | { readonly type: 'dropSnapshot' }
  /** The copy that was asked for cannot be made. */
  | { readonly type: 'declineSeed'; readonly round: number }
  /** Drops the same, and waits for no snapshot. */
  | { readonly type: 'park' }
  /** The snapshot just received, then the retained updates of these rounds, in this order; drops the same as `requestSnapshot`. */
  | { readonly type: 'restoreSnapshot'; readonly updates: readonly number[] }
  /** Waits for the rest of the update just received, and keeps it. Drops the retained update of round `drop`, if given. */
  | { readonly type: 'retainUpdate'; readonly round: number; readonly drop?: number }
  /** The update just received. */
  | { readonly type: 'applyUpdate' }
  /** Hands the replica's parameters to the engine. */
  | { readonly type: 'loadEngine' }
  | { readonly type: 'announceReady'; readonly round: number }
  /** The lease just received. */
  | { readonly type: 'retainLease'; readonly leaseId: string }
  /** The lease just received, or a retained one. Always the last action; `computed` or `failed` is the next input. */
  | { readonly type: 'computeLease'; readonly leaseId: string }
  | {
      readonly type: 'declineLease';
      readonly leaseId: string;
      readonly round: number;
      readonly code: DeclineCode;
      readonly reason: string;
    }
  | { readonly type: 'replaceEngine' }
  /** Adds to what this worker has computed since it started, and logs it. */
  | ({ readonly type: 'credit' } & Omit<Extract<SyncInput, { type: 'computed' }>, 'type'>)
  | { readonly type: 'log'; readonly entry: WorkerLog };

export interface SyncStep {
  readonly state: SyncState;
  /** Performed in this order, before the next input. */
  readonly actions: readonly SyncAction[];
}

export interface SyncLimits {
  /** Updates retained while a snapshot is on its way. */
  readonly missedUpdates: number;
}

/** A worker that has just joined and receives the updates from `firstRound` on. */
export function startSync(firstRound: number): SyncStep {
  return {
    state: { phase: 'syncing', heard: firstRound - 1, missed: [] },
    actions: [{ type: 'requestSnapshot', reason: 'joining', round: firstRound, fromPeers: true }],
  };
}

export function step(state: SyncState, input: SyncInput, limits: SyncLimits): SyncStep {
  if (state.phase === 'stopped') return { state, actions: [] };
  switch (input.type) {
    case 'snapshot':
      return onSnapshot(state, input.round);
    case 'sources':
      // Otherwise it was requested before the worker was parked, or came by itself meanwhile.
      if (state.phase !== 'syncing') return { state, actions: [] };
      return { state: { ...state, sourcesRound: input.round }, actions: [{ type: 'fetchSnapshot' }] };
    case 'sourcesFailed':
      return state.phase === 'syncing' ? resync(state, input.reason, { fromPeers: false }) : { state, actions: [] };
    case 'seed':
      return onSeed(state, input);
    case 'update':
      return onUpdate(state, input.round, limits);
    case 'lease':
      return onLease(state, input);
    case 'computed': {
      const { type: _type, ...work } = input;
      return computeNext(state, [{ type: 'credit', ...work }]);
    }
    case 'failed':
      return onFailed(state, input);
    case 'subscription':
      return onSubscription(state, input);
    case 'cancel':
      return onCancel(state, input.leaseId);
    case 'parked':
      return { state, actions: [{ type: 'log', entry: { kind: 'parked', reason: input.reason } }] };
    case 'result': {
      const { round, result, reason } = input;
      const expected = result === 'counted' || isLostRace(result);
      return { state, actions: expected ? [] : [{ type: 'log', entry: { kind: 'refused', round, result, reason } }] };
    }
    case 'stop':
      return { state: { phase: 'stopped', notice: { code: input.code, reason: input.reason } }, actions: [] };
    default:
      return input satisfies never;
  }
}

interface ResyncOptions {
  readonly before?: readonly SyncAction[];
  readonly fromPeers?: boolean;
}

function resync({ heard }: Live, reason: string, { before = [], fromPeers = true }: ResyncOptions = {}): SyncStep {
  return {
    state: { phase: 'syncing', heard, missed: [] },
    actions: [
      ...before,
      { type: 'log', entry: { kind: 'resync', reason } },
      { type: 'requestSnapshot', reason, round: heard + 1, fromPeers },
    ],
  };
}

/** The coordinator also sends a snapshot without a request when it finds that this replica differs from its own. */
function onSnapshot(state: Live, round: number): SyncStep {
  // It was requested before the worker was parked.
  if (state.phase === 'parked') return { state, actions: [] };
  const updates: number[] = [];
  const missed = state.phase === 'syncing' ? state.missed : [];
  for (const one of missed) if (one === round + updates.length) updates.push(one);
  const next = round + updates.length;
  const restore: SyncAction = { type: 'restoreSnapshot', updates };
  // An update is neither in the snapshot nor retained: this replica would wait for it for ever.
  if (state.heard >= next)
    return resync(state, `the snapshot of round ${round} came too late`, { before: [restore], fromPeers: false });
  return {
    state: { phase: 'training', heard: state.heard, round: next, waiting: [] },
    actions: [restore, { type: 'loadEngine' }, { type: 'announceReady', round: next }],
  };
}

function onUpdate(state: Live, round: number, { missedUpdates }: SyncLimits): SyncStep {
  const heard = Math.max(state.heard, round);
  if (state.phase === 'syncing') {
    const { missed } = state;
    if (missed.includes(round)) return { state: { ...state, heard }, actions: [] };
    if (missed.length < missedUpdates)
      return { state: { ...state, heard, missed: [...missed, round] }, actions: [{ type: 'retainUpdate', round }] };
    // The snapshot is of the round in which it begins to arrive, so it lacks the newest updates.
    const [drop, ...newer] = missed;
    if (drop >= (state.sourcesRound ?? Infinity))
      return resync({ ...state, heard }, 'other workers send the snapshot too slowly', { fromPeers: false });
    return { state: { ...state, heard, missed: [...newer, round] }, actions: [{ type: 'retainUpdate', round, drop }] };
  }
  // The snapshot already contained it.
  if (state.phase === 'parked' || round < state.round) return { state: { ...state, heard }, actions: [] };
  if (round > state.round) return resync({ ...state, heard }, `the update of round ${state.round} was missed`);
  const { state: updated, actions } = seed({ ...state, heard, round: round + 1 });
  return computeNext(updated, [{ type: 'applyUpdate' }, { type: 'loadEngine' }, ...actions]);
}

function onSeed(state: Live, { round, wanted }: Extract<SyncInput, { type: 'seed' }>): SyncStep {
  if (state.phase !== 'training') return { state, actions: wanted ? [{ type: 'declineSeed', round }] : [] };
  if (wanted) return seed({ ...state, seedRound: round });
  return { state: { ...state, seedRound: undefined }, actions: [{ type: 'dropSnapshot' }] };
}

/** The replica is in the round that others want, or before or after it. */
function seed(state: Extract<Live, { phase: 'training' }>): SyncStep & { readonly state: Live } {
  const { seedRound: round, ...rest } = state;
  if (round === undefined || round > state.round) return { state, actions: [] };
  return { state: rest, actions: [{ type: round === state.round ? 'keepSnapshot' : 'declineSeed', round }] };
}

/** One lease at a time: its outcome decides about the leases behind it. */
function computeNext(state: Live, actions: readonly SyncAction[]): SyncStep {
  if (state.phase !== 'training') return { state, actions };
  const next = state.waiting.find(({ round }) => round === state.round);
  if (!next) return { state, actions };
  return {
    state: { ...state, waiting: state.waiting.filter((lease) => lease !== next) },
    actions: [...actions, { type: 'computeLease', leaseId: next.leaseId }],
  };
}

function onLease(state: Live, { leaseId, round }: PendingLease): SyncStep {
  // The coordinator took it back when it received the request for a snapshot, or parked the worker.
  if (state.phase !== 'training') return { state, actions: [] };
  if (round < state.round) {
    // The update of its round came first, on the other link. The coordinator waits for an answer to every lease.
    const reason = 'its round was over when it came';
    return { state, actions: [{ type: 'declineLease', leaseId, round: state.round, code: 'no_state', reason }] };
  }
  if (round === state.round) return { state, actions: [{ type: 'computeLease', leaseId }] };
  if (state.waiting.some((lease) => lease.leaseId === leaseId)) return { state, actions: [] };
  return { state: { ...state, waiting: [...state.waiting, { leaseId, round }] }, actions: [{ type: 'retainLease', leaseId }] };
}

/** Both changes come over the link of the updates, so they cannot overtake each other or an update. */
function onSubscription(state: Live, { wanted, round }: Extract<SyncInput, { type: 'subscription' }>): SyncStep {
  if (!wanted) return { state: { phase: 'parked', heard: state.heard }, actions: [{ type: 'park' }] };
  if (state.phase !== 'parked') return { state, actions: [] };
  return resync({ ...state, heard: Math.max(state.heard, round - 1) }, 'it is wanted again');
}

/** A lease that is being computed is looked after by `computeLease`. */
function onCancel(state: Live, leaseId: string): SyncStep {
  const lease = state.phase === 'training' && state.waiting.find((one) => one.leaseId === leaseId);
  if (!lease) return { state, actions: [] };
  const reason = 'it was cancelled';
  return {
    state: { ...state, waiting: state.waiting.filter((one) => one !== lease) },
    actions: [{ type: 'declineLease', leaseId, round: lease.round, code: 'cancelled', reason }],
  };
}

function onFailed(state: Live, { leaseId, round, code, reason, engineLost }: Extract<SyncInput, { type: 'failed' }>): SyncStep {
  const decline: SyncAction = { type: 'declineLease', leaseId, round, code, reason };
  if (engineLost === undefined && isOvertaken(code)) return computeNext(state, [decline]);
  if (engineLost === undefined) {
    return computeNext(state, [decline, { type: 'log', entry: { kind: 'refused', round, result: code, reason } }]);
  }
  // It requests a snapshot when it is wanted again.
  if (state.phase === 'parked') return { state, actions: [decline, { type: 'replaceEngine' }] };
  // A worker that awaits a snapshot gets no leases, least of all at the speed of the lost engine, until it reports that it is ready:
  // that is when the next engine is open and the snapshot is handled.
  const { state: syncing, actions } = resync(state, brief(`another engine is opened: ${engineLost}`), { before: [decline] });
  return { state: syncing, actions: [...actions, { type: 'replaceEngine' }] };
}

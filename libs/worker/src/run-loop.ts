/** A worker's loop: it acts on one message at a time, in the order of arrival. */
import type { MemberEvent } from '@troupe/collective';
import {
  aborted,
  brief,
  LIMITS,
  retainedUpdates,
  streamCharacters,
  type Channel,
  type Message,
  type MessageOf,
} from '@troupe/protocol';
import { watchCounted } from './counted.js';
import { refusalError, unexpected } from './errors.js';
import { SyncExecutor, type ExecutorParts, type FetchOutcome, type Payload } from './executor.js';
import { createInbox, type Inbox } from './inbox.js';
import { startSync, step, type StopNotice, type SyncInput, type SyncLimits, type SyncStep } from './sync.js';

/** A failed session listens this much longer for the reason: a coordinator that stops a worker closes both links at once. */
const LAST_MESSAGE_MS = 500;

export interface RunLoopParts extends Omit<ExecutorParts, 'isOvertaken' | 'onFetched'> {
  /** Aborts to make the worker leave as soon as what it computes is counted. */
  readonly leave?: AbortSignal | undefined;
}

type Item =
  | { readonly from: 'control'; readonly message: Message; readonly body: Uint8Array }
  | { readonly from: 'collective'; readonly event: MemberEvent }
  | { readonly from: 'peers'; readonly outcome: FetchOutcome }
  /** Wakes the loop when the worker is asked to leave. */
  | { readonly from: 'leave' };

/**
 * Fetches a snapshot, computes leases and applies updates until the coordinator stops the worker.
 * @returns undefined if the worker left
 * @throws what breaks the session
 */
export async function runLoop(parts: RunLoopParts): Promise<StopNotice | undefined> {
  const { control, member, signal, leave } = parts;
  const inbox = createInbox<Item>();
  const listening = new AbortController();
  const stopListening = (): void => listening.abort(signal.reason);
  signal.addEventListener('abort', stopListening, { once: true });
  const wake = (): void => void inbox.put({ from: 'leave' });
  leave?.addEventListener('abort', wake, { once: true });
  /** Set as soon as it is received: nothing reads the inbox while a lease is computed. */
  let stop: StopNotice | undefined;
  const overtaken = createOvertaken();
  const counted = watchCounted(streamCharacters(parts.welcome.config), (work) => parts.ports.counted?.(work));
  const pumps = [
    pump(inbox, mostUnread(parts.welcome.config.streams), async () => {
      const { message, body } = await receiveNews(control, listening.signal);
      if (message.type === 'stop') stop = noticeOf(message);
      if (message.type === 'lease') counted.lent(message);
      if (message.type === 'cancel') overtaken.cancelled.add(message.leaseId);
      return { from: 'control', message, body };
    }),
    pump(inbox, 0, async () => {
      const event = await member.receive(listening.signal);
      if (event.kind === 'update') overtaken.round = event.round;
      counted.heard(event);
      return { from: 'collective', event };
    }),
  ];
  try {
    const onFetched = (outcome: FetchOutcome): void => void inbox.put({ from: 'peers', outcome });
    return await act({ ...parts, onFetched, isOvertaken: (lease) => isOvertaken(overtaken, lease) }, inbox, overtaken);
  } catch (error) {
    // Links fail in any order, and nothing reads during a lease: the notice may come after the failure.
    inbox.close();
    if (!signal.aborted) await Promise.race([pumps[0], aborted(parts.deadline(LAST_MESSAGE_MS))]);
    if (stop === undefined) throw error;
    return stop;
  } finally {
    signal.removeEventListener('abort', stopListening);
    leave?.removeEventListener('abort', wake);
    const asked = [signal, leave].find((one) => one?.aborted);
    if (asked) sayBye(control, asked);
    listening.abort(new Error('the session is over'));
    inbox.close();
    await Promise.all(pumps);
  }
}

/** What has arrived, but may not be handled yet: nothing reads the inbox while a lease is computed. */
interface Overtaken {
  /** Leases that the coordinator has cancelled. */
  readonly cancelled: Set<string>;
  /** The round of the latest update. */
  round: number;
}

function createOvertaken(): Overtaken {
  return { cancelled: new Set(), round: -1 };
}

/** Whether the streams of the lease have been counted. */
function isOvertaken({ cancelled, round }: Overtaken, lease: MessageOf<'lease'>): boolean {
  return cancelled.has(lease.leaseId) || lease.round <= round;
}

async function act(
  parts: RunLoopParts & ExecutorParts,
  inbox: Inbox<Item>,
  overtaken: Overtaken,
): Promise<StopNotice | undefined> {
  const executor = new SyncExecutor(parts);
  try {
    return await actWith(executor, parts, inbox, overtaken);
  } finally {
    executor.end();
  }
}

async function actWith(
  executor: SyncExecutor,
  parts: RunLoopParts,
  inbox: Inbox<Item>,
  { cancelled }: Overtaken,
): Promise<StopNotice | undefined> {
  const limits: SyncLimits = { missedUpdates: retainedUpdates(parts.layout.size) };
  let { state, actions }: SyncStep = startSync(parts.member.firstRound);
  let payload: Payload = {};
  /** Contributions that are sent and not answered. */
  let unanswered = 0;
  for (;;) {
    let next: SyncInput | undefined;
    for (const action of actions) {
      // Others get the leases of a worker that leaves when it is gone, those that it retained too.
      if (parts.leave?.aborted && action.type === 'computeLease') continue;
      next = (await executor.perform(action, payload)) ?? next;
    }
    if (state.phase === 'stopped') return state.notice;
    if (next === undefined) {
      if (parts.leave?.aborted && unanswered === 0) return undefined;
      const item = await inbox.next();
      const opened = parts.leave?.aborted && isLease(item) ? undefined : open(item);
      actions = [];
      if (opened === undefined) continue;
      ({ input: next, payload } = opened);
    }
    unanswered = unansweredAfter(unanswered, next);
    if (next.type === 'cancel') cancelled.delete(next.leaseId);
    ({ state, actions } = step(state, next, limits));
  }
}

/** The next message that the worker acts on. A `queued` only prolongs its wait, see join.ts. */
async function receiveNews(control: Channel, signal: AbortSignal): ReturnType<Channel['receive']> {
  for (;;) {
    const received = await control.receive(signal);
    if (received.message.type !== 'queued') return received;
  }
}

/** The update of a round follows the answers to its contributions. */
function unansweredAfter(before: number, { type }: SyncInput): number {
  if (type === 'computed') return before + 1;
  if (type === 'update') return 0;
  return type === 'result' ? Math.max(0, before - 1) : before;
}

/** A worker that leaves begins no lease: others get them when it is gone. */
function isLease(item: Item): boolean {
  return item.from === 'control' && item.message.type === 'lease';
}

/** @returns undefined for what is no input. @throws WorkerRefused, ProtocolError for a message that ends the session */
function open(item: Item): { readonly input: SyncInput; readonly payload: Payload } | undefined {
  if (item.from === 'leave') return undefined;
  if (item.from === 'collective') {
    const { event } = item;
    if (event.kind === 'update') return { input: { type: 'update', round: event.round }, payload: { update: event } };
    if (event.kind === 'subscription') {
      const { wanted, round } = event;
      return { input: { type: 'subscription', wanted, round }, payload: {} };
    }
    const { round, result, reason } = event;
    return { input: { type: 'result', round, result, reason }, payload: {} };
  }
  if (item.from === 'peers') return openFetched(item.outcome);
  const { message, body } = item;
  switch (message.type) {
    case 'stop':
      return { input: { type: 'stop', ...noticeOf(message) }, payload: {} };
    case 'refuse':
      throw refusalError(message, 'after the welcome');
    case 'snapshot':
      return { input: { type: 'snapshot', round: message.round }, payload: { snapshot: { message, body } } };
    case 'sources':
      return { input: { type: 'sources', round: message.round }, payload: { sources: { message, body } } };
    case 'seed':
      return { input: message, payload: {} };
    case 'cancel':
      return { input: { type: 'cancel', leaseId: message.leaseId }, payload: {} };
    case 'parked':
      return { input: { type: 'parked', reason: message.reason }, payload: {} };
    case 'lease': {
      const { leaseId, round } = message;
      return { input: { type: 'lease', leaseId, round }, payload: { lease: { lease: message, body } } };
    }
    default:
      throw unexpected(message);
  }
}

/** @throws the bug that broke it */
function openFetched(outcome: FetchOutcome): { readonly input: SyncInput; readonly payload: Payload } {
  if (outcome.kind === 'broken') throw outcome.error;
  if (outcome.kind === 'failed') return { input: { type: 'sourcesFailed', reason: outcome.reason }, payload: {} };
  const { snapshot } = outcome;
  return { input: { type: 'snapshot', round: snapshot.message.round }, payload: { snapshot } };
}

function noticeOf({ code, reason }: MessageOf<'stop'>): StopNotice {
  return { code, reason };
}

/**
 * What is read ahead of its turn counts by its streams: leases, and how the coordinator tells a worker that is busy what it need not compute.
 * @returns undefined for an item that is not read ahead
 */
function weightOf(item: Item): number | undefined {
  if (item.from !== 'control') return undefined;
  const { message } = item;
  if (message.type === 'lease') return message.streams.length;
  return message.type === 'cancel' ? 1 : undefined;
}

/** A coordinator may send leases without end, and nothing reads the inbox while one is computed. @param streams of a round */
function mostUnread(streams: number): number {
  return LIMITS.leaseRoundsAhead * streams;
}

/**
 * Never rejects: it fails the inbox. It receives the next message only when the last is handled, because the body of an update must be
 * read before the next message. It does not wait for leases and cancellations to be handled, so that they arrive while a lease is computed, as
 * long as those that wait weigh at most `most`.
 */
async function pump(inbox: Inbox<Item>, most: number, receive: () => Promise<Item>): Promise<void> {
  let unread = 0;
  try {
    for (;;) {
      const item = await receive();
      const weight = weightOf(item);
      const handled = inbox.put(item);
      if (weight === undefined) {
        await handled;
        continue;
      }
      unread += weight;
      const read = handled.then(() => void (unread -= weight));
      if (unread > most) await read;
    }
  } catch (error) {
    inbox.fail(error as Error);
  }
}

function sayBye(control: Channel, signal: AbortSignal): void {
  try {
    const { reason } = signal as { reason?: unknown };
    control.send({ type: 'bye', reason: brief(reason instanceof Error ? reason.message : 'asked to stop') });
  } catch {
    // The link is closed, so the coordinator knows that this worker left.
  }
}

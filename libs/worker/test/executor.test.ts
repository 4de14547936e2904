import type { CollectiveMember, Contribution } from '@troupe/collective';
import { modelConfig } from '@troupe/config';
import { createLayout, stateSize } from '@troupe/model';
import { createReferenceEngine } from '@troupe/model/reference';
import { createReplica } from '@troupe/optim';
import { encodeLeaseBody, type Message, type MessageOf } from '@troupe/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import { SyncExecutor, type ExecutorParts } from '../src/executor.js';
import { computeLease, type HeldStates, type LeaseOrder } from '../src/lease.js';

const MODEL = modelConfig({ hidden: 2, vocabulary: 3 });
const WINDOW = 2;
const layout = createLayout(MODEL);
const stateFloats = stateSize(MODEL);
const config = { model: MODEL, window: WINDOW, seed: 1 };

let contributed: Contribution[];
let sent: Message[];
let executor: SyncExecutor;
let replica: ReturnType<typeof createReplica>;
const member = { contribute: (one: Contribution) => void contributed.push(one) } as unknown as CollectiveMember;
const engine = createReferenceEngine(MODEL, { maxStreams: 2, maxWindow: WINDOW });

beforeEach(() => {
  [contributed, sent] = [[], []];
  replica = createReplica({ size: layout.size, optimizer: { kind: 'sgd', momentum: 0, weightDecay: 0 } });
  engine.setParameters(replica.parameters);
  executor = new SyncExecutor({
    member,
    replica,
    layout,
    welcome: { config },
    slot: { engine },
    control: { send: (message: Message) => void sent.push(message) },
    snapshot: { begin: () => undefined },
    credit: { characters: 0 },
    ports: { nowMs: () => 0, log: () => undefined },
    isOvertaken: () => false,
  } as unknown as ExecutorParts);
});

function order(stream: number, round: number, states: string): LeaseOrder {
  const lease: MessageOf<'lease'> = { type: 'lease', leaseId: 'l', round, streams: [stream], states, deadlineMs: 1 };
  const shape = { streams: 1, window: WINDOW, given: 0, stateFloats };
  return { lease, body: encodeLeaseBody(shape, [Uint16Array.of(0, 1, 2)], []) };
}

describe('a snapshot', () => {
  const snapshot = (parametersDigest: string) => ({
    message: { type: 'snapshot', round: 0, parametersDigest } as const,
    body: replica.snapshot(),
  });

  it('whose parameters do not have the digest that came with it breaks the session', async () => {
    const restore = { type: 'restoreSnapshot', updates: [] } as const;
    await expect(executor.perform(restore, { snapshot: snapshot(replica.digest()) })).resolves.toBeUndefined();
    const garbled = executor.perform(restore, { snapshot: snapshot('0123456789abcdef') });
    await expect(garbled).rejects.toMatchObject({ name: 'ProtocolError', code: 'invalid_message' });
  });

  it('that is requested makes the worker forget the leases that it retains', async () => {
    await executor.perform({ type: 'retainLease', leaseId: 'l' }, { lease: order(0, 0, 'z') });
    await executor.perform({ type: 'requestSnapshot', reason: 'missed an update', round: 0 }, {});
    await executor.perform({ type: 'computeLease', leaseId: 'l' }, { lease: order(1, 0, 'z') });
    expect(contributed.map(({ streams }) => streams)).toEqual([[1]]);
    expect(sent).toEqual([{ type: 'resync', reason: 'missed an update', round: 0 }]);
  });
});

describe('a lease whose streams are counted', () => {
  const compute = (isOvertaken: () => boolean) =>
    computeLease({ config: config as never, engine, member, held: new Map(), nowMs: () => 0, isOvertaken }, order(0, 0, 'z'), '');

  it('is not computed', async () => {
    expect(await compute(() => true)).toMatchObject({ kind: 'declined', code: 'cancelled' });
    expect(contributed).toEqual([]);
  });

  it('is computed to the end when that becomes known too late, and its result is not sent', async () => {
    const answers = [false, true];
    expect(await compute(() => answers.shift()!)).toMatchObject({ kind: 'declined', code: 'dropped' });
    expect(contributed).toEqual([]);
  });
});

describe('a held hidden state', () => {
  it('of another round is not used: the lease is declined', async () => {
    const held: HeldStates = new Map([[0, { round: 4, state: new Float32Array(stateFloats) }]]);
    const context = { config: config as never, engine, member, held, nowMs: () => 0, isOvertaken: () => false };
    expect(await computeLease(context, order(0, 4, 'h'), replica.digest())).toMatchObject({ kind: 'sent' });
    // The contribution replaced it by the state before round 5.
    expect(await computeLease(context, order(0, 4, 'h'), replica.digest())).toMatchObject({ kind: 'declined', code: 'no_state' });
    expect(contributed).toHaveLength(1);
  });
});

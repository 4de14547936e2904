import type { CollectiveMember, Contribution, KeptSnapshot } from '@troupe/collective';
import { modelConfig } from '@troupe/config';
import { createLayout, EngineError, stateSize, type Engine, type Gradient } from '@troupe/model';
import { createReferenceEngine } from '@troupe/model/reference';
import { createReplica } from '@troupe/optim';
import { encodeLeaseBody, LIMITS, type Message, type MessageOf } from '@troupe/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import { SyncExecutor, type ExecutorParts } from '../src/executor.js';
import { computeLease, type HeldStates, type LeaseOrder } from '../src/lease.js';

const MODEL = modelConfig({ hidden: 2, vocabulary: 3 });
const WINDOW = 2;
const layout = createLayout(MODEL);
const stateFloats = stateSize(MODEL);
const config = { model: MODEL, window: WINDOW, seed: 1, streams: 2, localSteps: 1 };

let contributed: Contribution[];
let sent: Message[];
/** What this worker keeps for others, as it changes. */
let kept: (KeptSnapshot | undefined)[];
let executor: SyncExecutor;
let replica: ReturnType<typeof createReplica>;
/** What happened to contributions on their way: "begin", "add 3", "finish", "abandon". */
let steps: string[];
const member = {
  keep: (snapshot) => void kept.push(snapshot),
  begin() {
    steps.push('begin');
    let ended = false;
    return {
      add: (_: Float32Array, from: number) => void steps.push(`add ${from}`),
      finish(one: Contribution) {
        ended = true;
        steps.push('finish');
        contributed.push(one);
      },
      abandon: () => void (ended || steps.push('abandon')),
    };
  },
} as Partial<CollectiveMember> as CollectiveMember;
const engine = createReferenceEngine(MODEL, { maxStreams: 2, maxWindow: WINDOW });

beforeEach(() => {
  [contributed, sent, steps, kept] = [[], [], [], []];
  replica = createReplica({ size: layout.size, optimizer: { kind: 'sgd', momentum: 0, weightDecay: 0, nesterov: false } });
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
    signal: new AbortController().signal,
  } as unknown as ExecutorParts);
});

function order(stream: number, round: number, states: string): LeaseOrder {
  const lease: MessageOf<'lease'> = { type: 'lease', leaseId: 'l', round, streams: [stream], states, deadlineMs: 1 };
  const shape = { steps: 1, streams: 1, window: WINDOW, given: 0, stateFloats };
  return { lease, body: encodeLeaseBody(shape, { windows: [Uint16Array.of(0, 1, 2)], states: [], learningRates: [] }) };
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
    await executor.perform({ type: 'requestSnapshot', reason: 'missed an update', round: 0, fromPeers: false }, {});
    await executor.perform({ type: 'computeLease', leaseId: 'l' }, { lease: order(1, 0, 'z') });
    expect(contributed.map(({ streams }) => streams)).toEqual([[1]]);
    expect(sent).toEqual([{ type: 'resync', reason: 'missed an update', round: 0, fromPeers: false }]);
  });
});

it('keeps a copy of its replica for others, until its parameters may differ from theirs', async () => {
  replica.setParameters(new Float32Array(layout.size).fill(2));
  await executor.perform({ type: 'keepSnapshot', round: 3 }, {});
  const bytes = replica.snapshot();
  replica.setParameters(new Float32Array(layout.size));
  expect(kept).toEqual([{ round: 3, bytes }]);
  await executor.perform({ type: 'declineSeed', round: 4 }, {});
  await executor.perform({ type: 'requestSnapshot', reason: 'missed an update', round: 0, fromPeers: true }, {});
  expect(kept.at(-1)).toBeUndefined();
  expect(sent).toEqual([
    { type: 'seeded', round: 3, kept: true },
    { type: 'seeded', round: 4, kept: false },
    // It has no means to check what others send.
    { type: 'resync', reason: 'missed an update', round: 0, fromPeers: false },
  ]);
});

it('keeps the leases of a few later rounds, and leaves a coordinator that sends more', async () => {
  const retain = async (leaseId: string): Promise<unknown> =>
    executor.perform({ type: 'retainLease', leaseId }, { lease: order(0, 1, 'z') });
  const most = LIMITS.leaseRoundsAhead * config.streams;
  for (let k = 0; k < most; k++) await retain(`l${k}`);
  const decline = { type: 'declineLease', leaseId: 'l0', round: 1, code: 'cancelled', reason: 'it was cancelled' } as const;
  await executor.perform(decline, {});
  await retain('instead');
  await expect(retain('more')).rejects.toMatchObject({ name: 'ProtocolError', code: 'limit_exceeded' });
});

/** Of a lease in a round that is not local. */
const exact = { parameters: new Float32Array(layout.size), optimizer: undefined };

describe('a lease whose streams are counted', () => {
  const compute = (isOvertaken: () => boolean) =>
    computeLease(
      { ...exact, config: config as never, engine, member, held: new Map(), nowMs: () => 0, isOvertaken },
      order(0, 0, 'z'),
      '',
    );

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

describe('a gradient that is handed over while it is computed', () => {
  const gradient = new Float32Array(layout.size);
  /** Hands over two parts, and then ends like this. */
  const engineThat = (end: () => Promise<Gradient>): Engine => ({
    ...engine,
    gradient(_, onProgress) {
      onProgress?.(gradient, 5);
      onProgress?.(gradient, 2);
      return end();
    },
  });
  const result: Gradient = { gradient, lossSum: 1, tokens: 2, endStates: new Float32Array(stateFloats) };
  const compute = (end: () => Promise<Gradient>, isOvertaken = (): boolean => false) => {
    const context = {
      ...exact,
      config: config as never,
      engine: engineThat(end),
      member,
      held: new Map(),
      nowMs: () => 0,
      isOvertaken,
    };
    return computeLease(context, order(0, 0, 'z'), '');
  };

  it('is sent part by part, and finished when it is whole', async () => {
    expect(await compute(async () => result)).toMatchObject({ kind: 'sent' });
    expect(steps).toEqual(['begin', 'add 5', 'add 2', 'finish']);
  });

  it('is abandoned when the engine fails', async () => {
    const failure = new EngineError('not_finite', 'the loss is not finite', 'lower the rate');
    expect(await compute(() => Promise.reject(failure))).toMatchObject({ kind: 'declined', code: 'not_finite' });
    expect(steps).toEqual(['begin', 'add 5', 'add 2', 'abandon']);
  });

  it('is abandoned when its streams are counted meanwhile, and not begun when that is known before', async () => {
    let done = false;
    const late = async () => {
      done = true;
      return result;
    };
    expect(await compute(late, () => done)).toMatchObject({ kind: 'declined', code: 'dropped' });
    expect(steps).toEqual(['begin', 'add 5', 'add 2', 'abandon']);
    steps = [];
    const answers = [false, true, true, true];
    expect(await compute(late, () => answers.shift()!)).toMatchObject({ kind: 'declined', code: 'dropped' });
    expect(steps).toEqual([]);
  });
});

describe('a held hidden state', () => {
  it('of another round is not used: the lease is declined', async () => {
    const held: HeldStates = new Map([[0, { round: 4, state: new Float32Array(stateFloats) }]]);
    const context = { ...exact, config: config as never, engine, member, held, nowMs: () => 0, isOvertaken: () => false };
    expect(await computeLease(context, order(0, 4, 'h'), replica.digest())).toMatchObject({ kind: 'sent' });
    // The contribution replaced it by the state before round 5.
    expect(await computeLease(context, order(0, 4, 'h'), replica.digest())).toMatchObject({ kind: 'declined', code: 'no_state' });
    expect(contributed).toHaveLength(1);
  });
});

it.each([
  ['a run that is not local', { clip: 1 }, 1],
  ['a local run, without them', undefined, 4],
  ['a local run, with a step that it does not take', { clip: 1, wrapStep: 4 }, 4],
])('a lease with the parts of local rounds in %s breaks the session', async (_, local, localSteps) => {
  const local4 = { ...config, localSteps };
  const context = {
    ...exact,
    config: local4 as never,
    engine,
    member,
    held: new Map(),
    nowMs: () => 0,
    isOvertaken: () => false,
  };
  const windows = Array.from({ length: localSteps }, () => Uint16Array.of(0, 1, 2));
  const shape = { steps: localSteps, streams: 1, window: WINDOW, given: 0, stateFloats };
  const learningRates = localSteps > 1 ? windows.map(() => 0.1) : [];
  const body = encodeLeaseBody(shape, { windows, states: [], learningRates });
  const lease = { ...order(0, 0, 'z').lease, ...(local && { local }) };
  await expect(computeLease(context, { lease, body }, '')).rejects.toMatchObject({
    name: 'ProtocolError',
    code: 'invalid_message',
  });
});

describe('a lease of many steps', () => {
  const STEPS = 6;
  const local = { ...config, localSteps: STEPS, optimizer: { kind: 'sgd', momentum: 0, weightDecay: 0, nesterov: false } };
  const windows = Array.from({ length: STEPS }, () => Uint16Array.of(0, 1, 2));
  const body = encodeLeaseBody(
    { steps: STEPS, streams: 1, window: WINDOW, given: 0, stateFloats },
    { windows, states: [], learningRates: windows.map(() => 0.1) },
  );
  const lease = { ...order(0, 3, 'z').lease, local: { clip: 1 } };

  /** Each step takes `stepMs`. @param leaveAfter steps */
  const compute = (stepMs: number, leaveAfter = Infinity) => {
    let [nowMs, taken] = [0, 0];
    const logs: unknown[] = [];
    const leave = new AbortController();
    const timed: Pick<Engine, 'setParameters' | 'gradient'> = {
      setParameters: (values) => engine.setParameters(values),
      gradient(batch) {
        nowMs += stepMs;
        if (++taken === leaveAfter) leave.abort(new Error('it pauses'));
        return engine.gradient(batch);
      },
    };
    const many = new SyncExecutor({
      ...{ member, replica, layout, welcome: { config: local }, slot: { engine: timed }, credit: { characters: 0 } },
      ...{ signal: leave.signal, isOvertaken: () => false },
      optimizer: createReplica({ size: layout.size, optimizer: local.optimizer as never }),
      control: { send: (message: Message) => void sent.push(message) },
      snapshot: { begin: () => undefined },
      ports: { nowMs: () => nowMs, log: (entry: unknown) => void logs.push(entry) },
    } as unknown as ExecutorParts);
    const done = many.perform({ type: 'computeLease', leaseId: 'l' }, { lease: { lease, body } });
    return done.then((next) => ({ next, logs, taken }));
  };

  it('is reported to the coordinator and to the app now and then', async () => {
    const { next, logs } = await compute(LIMITS.progressMs / 2);
    expect(next).toMatchObject({ type: 'computed', round: 3 });
    expect(sent).toEqual([2, 4].map((steps) => ({ type: 'progress', leaseId: 'l', steps })));
    expect(logs).toEqual([2, 4].map((steps) => ({ kind: 'progress', round: 3, steps, of: STEPS })));
  });

  it('is not reported if it is soon done', async () => {
    await compute(LIMITS.progressMs / (2 * STEPS));
    expect(sent).toEqual([]);
  });

  it('is given up after the step during which the worker is asked to leave', async () => {
    const { next, taken } = await compute(1, 2);
    expect([next?.type, taken]).toEqual(['failed', 2]);
    expect(contributed).toEqual([]);
  });
});

import type { ReduceUpdate } from '@troupe/collective';
import { decodeLeaseBody, type Message, type MessageOf } from '@troupe/protocol';
import { createRunState } from '@troupe/scheduler';
import { beforeEach, describe, expect, it } from 'vitest';
import { reduceEvent, type ConductorEvent, type Outcome, type ReduceEvent, type WorkerIdentity } from '../src/events.js';
import { RunShell } from '../src/run-shell.js';
import type { Training } from '../src/training.js';
import { CONFIG, smallTraining, type TrainingOptions } from './fixture.js';

/** All output of the shell, in order. */
let log: string[];
let sent: { readonly to: string; readonly message: Message; readonly body: Uint8Array }[];
let outcomes: { readonly outcome: Outcome; readonly round: number }[];
let training: Training;
let shell: RunShell;
let now: number;

interface Options extends TrainingOptions {
  /** Instead of the replica's own step. */
  readonly step?: () => never;
  readonly checkpointEvery?: number;
}

function open({ step, checkpointEvery = 0, ...options }: Options = {}): void {
  [log, sent, outcomes, now] = [[], [], [], 0];
  training = smallTraining(options);
  const { replica } = training;
  const own = replica.beginStep.bind(replica);
  replica.beginStep = (...given) => {
    log.push('step');
    return (step ?? own)(...given);
  };
  const settings = {
    ...CONFIG,
    ...options.config,
    windowsPerPass: 50,
    evaluateEvery: 0,
    checkpointEvery,
    sampleEvery: 0,
    chanceLoss: 3,
    maxLoss: 3,
  };
  shell = new RunShell({
    training,
    state: createRunState(settings, training.round),
    reduce: {
      subscribe: (workerId, wanted) => log.push(`subscribe ${workerId} ${wanted}`),
      usePeers: ({ reducers }) => log.push(`use ${reducers.join()}`),
      openRound: ({ round }) => log.push(`open ${round}`),
      grant: ({ workerId, streams }) => log.push(`grant ${workerId}: ${streams.join()}`),
    },
    workers: {
      expose: (id, evidence, farewell) => String(log.push(`expose ${id}: ${evidence}; ${farewell}`)),
      send(to, message, body = new Uint8Array()) {
        log.push(`send ${to} ${message.type}`);
        sent.push({ to, message, body });
        return true;
      },
    },
    snapshots: {
      request: (workerId) => log.push(`snapshot for ${workerId}`),
      forget: (workerId) => log.push(`no snapshot for ${workerId}`),
      leaveOut: (workerId, reason) => log.push(`leave ${workerId} out: ${reason}`),
    },
    put(event) {
      if (event.type === 'outcome') outcomes.push(event);
      log.push(event.type === 'outcome' ? event.outcome.type : event.type);
    },
  });
}

beforeEach(() => open());

const handle = (event: ConductorEvent): void => shell.handle(event, now);
const worker = (id: string): WorkerIdentity => ({ id, name: id.toUpperCase(), kind: 'node', remote: 'lab:1', trusted: true });
const start = (): void => handle({ type: 'order', order: { type: 'start' } });

function ready(id: string): void {
  const digests = { layoutHash: '0'.repeat(16), parametersDigest: '0'.repeat(16) };
  const message = { type: 'ready', round: 0, ...digests, engine: 'wasm', device: 'cpu', charsPerSecond: 1000 } as const;
  handle({ type: 'workerMessage', worker: worker(id), message });
}

function reduced(event: ReduceEvent): void {
  const timely = reduceEvent(event, shell.state);
  if (timely) handle(timely);
}

const leases = (): MessageOf<'lease'>[] => sent.flatMap(({ message }) => (message.type === 'lease' ? [message] : []));

/** Counts contributions for all leases of the round, with end states filled with `state`. */
function countAll(state = 0.5): void {
  const { round } = shell;
  for (const { leaseId, workerId, units } of [...shell.state.leases.values()].map((lease) => ({ ...lease, leaseId: lease.id }))) {
    const streams = [...units];
    const endStates = new Float32Array(streams.length * training.stateFloats).fill(state);
    const tokens = streams.length * CONFIG.window;
    reduced({ kind: 'counted', leaseId, workerId, round, streams, tokens, lossSum: 1, computeMs: 1, serviceMs: 0, endStates });
  }
}

function update(round = shell.round): void {
  const figures = { tokens: 12, lossSum: 30, gradientNorm: 1, clipScale: 1, learningRate: 0.5 };
  const mean = new Float32Array(training.layout.size).fill(0.125);
  reduced({ kind: 'update', round, ...figures, parts: [{ values: mean }] } satisfies ReduceUpdate);
}

describe('a round', () => {
  it('opens before its first lease, which goes to the first ready worker', () => {
    start();
    expect(log).toEqual(['open 0', 'waiting']);
    ready('a');
    expect(log.slice(2)).toEqual(['grant a: 0,1,2', 'send a lease']);
  });

  it("sends the next leases before the coordinator's replica steps, and grants them when the next round is open", () => {
    start();
    ready('a');
    countAll();
    log = [];
    update();
    expect(log).toEqual(['send a lease', 'step', 'updated', 'open 1', 'grant a: 0,1,2']);
    expect(shell.round).toBe(1);
  });

  it('starts side jobs after the update is announced and before the next round opens', () => {
    open({ checkpointEvery: 1 });
    start();
    ready('a');
    countAll();
    log = [];
    update();
    expect(log).toEqual(['send a lease', 'step', 'updated', 'checkpoint', 'open 1', 'grant a: 0,1,2']);
  });

  it('ends the run after the last one', () => {
    open({ config: { rounds: 1 } });
    start();
    ready('a');
    countAll();
    update();
    expect(outcomes.at(-1)).toMatchObject({ outcome: { type: 'finish', outcome: 'completed', round: 1 } });
    log = [];
    update(1);
    ready('b');
    expect(log).toEqual([]);
  });
});

describe('an update', () => {
  it('steps the replica as it steps every worker', () => {
    start();
    ready('a');
    countAll();
    const before = training.replica.parameters.slice();
    update();
    expect([...training.replica.parameters]).toEqual([...before].map((value) => Math.fround(value - 0.5 * 0.125)));
  });

  it('is refused before all its contributions are counted, and changes nothing', () => {
    start();
    ready('a');
    ready('b');
    expect(() => update()).toThrow('the update of round 0 came before all its contributions');
    expect(log).not.toContain('step');
    expect([shell.round, shell.sound]).toEqual([0, true]);
    expect([...training.states.current]).toEqual(Array(training.states.current.length).fill(0));
  });

  it('leaves the run unsound when it cannot be applied, and opens no round', () => {
    open({
      step() {
        throw new Error('out of memory');
      },
    });
    start();
    ready('a');
    countAll();
    log = [];
    expect(() => update()).toThrow('out of memory');
    expect(shell.sound).toBe(false);
    expect(shell.replicaState()).toBeUndefined();
    expect(log).toEqual(['send a lease', 'step']);
  });

  it('is ignored if it belongs to another round', () => {
    start();
    ready('a');
    countAll();
    log = [];
    update(3);
    expect([log, shell.round, shell.sound]).toEqual([[], 0, true]);
  });
});

describe('hidden states', () => {
  /** The states [streams, L, S, H] in the body of a lease that gives them all. */
  function given({ message, body }: (typeof sent)[number]): number[] {
    const { streams, states } = message as MessageOf<'lease'>;
    const shape = { steps: 1, streams: streams.length, window: CONFIG.window, given: states.split('g').length - 1 };
    return [...decodeLeaseBody({ ...shape, stateFloats: training.stateFloats }, body).states];
  }

  it('are zeros in the first round, then held by their worker, and sent to another one', () => {
    start();
    ready('a');
    countAll(0.5);
    update();
    expect(leases().map(({ states }) => states)).toEqual(['zzz', 'hhh']);
    ready('b');
    handle({ type: 'workerLeft', worker: worker('a'), reason: 'gone' });
    expect(leases().at(-1)).toMatchObject({ round: 1, states: 'ggg' });
    expect(given(sent.at(-1)!)).toEqual(Array(3 * training.stateFloats).fill(0.5));
  });

  it('change only when the round is committed', () => {
    start();
    ready('a');
    countAll(0.5);
    update();
    countAll(0.75);
    expect([...new Set(training.states.current)]).toEqual([0.5]);
    update();
    expect([...new Set(training.states.current)]).toEqual([0.75]);
  });
});

describe('a worker', () => {
  it('gets a snapshot of the replica on request', () => {
    start();
    log = [];
    handle({
      type: 'workerMessage',
      worker: worker('a'),
      message: { type: 'resync', reason: 'joining', round: 0, fromPeers: false },
    });
    expect(log).toEqual(['subscribe a true', 'snapshot for a']);
    const { replica } = training;
    expect(shell.replicaState()).toEqual({ round: 0, parametersDigest: replica.digest(), parts: replica.snapshotParts() });
    expect(shell.workers).toBe(0);
    ready('a');
    expect(shell.workers).toBe(1);
  });

  it('at whose link updates pile up before it is ready is left out, so that it joins again', () => {
    start();
    const message = { type: 'resync', reason: 'joining', round: 0, fromPeers: false } as const;
    handle({ type: 'workerMessage', worker: worker('a'), message });
    log = [];
    reduced({ kind: 'lagging', workerId: 'a' });
    expect(log).toEqual(['leave a out: its link is too slow: updates piled up before it had a snapshot']);
  });

  it('loses its streams to another worker when it leaves, declines or is rejected', () => {
    const losses: Record<string, (leaseId: string) => ConductorEvent> = {
      left: () => ({ type: 'workerLeft', worker: worker('a'), reason: 'gone' }),
      declined: (leaseId) => {
        const message = { type: 'decline', leaseId, round: 0, code: 'engine', reason: 'device lost' } as const;
        return { type: 'workerMessage', worker: worker('a'), message };
      },
      rejected: (leaseId) => {
        const rejection = { leaseId, workerId: 'a', round: 0, result: 'replica_diverged', reason: 'differs' } as const;
        return { type: 'rejected', rejection: { kind: 'rejected', computeMs: 1, ...rejection } };
      },
    };
    for (const [how, loss] of Object.entries(losses)) {
      open();
      ready('a');
      ready('b');
      start();
      const [lost] = leases().filter((_, i) => sent[i].to === 'a');
      countOthers(lost.leaseId);
      handle(loss(lost.leaseId));
      expect({ how, to: sent.at(-1)!.to, streams: leases().at(-1)!.streams }).toEqual({ how, to: 'b', streams: lost.streams });
      expect(outcomes.at(-1)).toMatchObject({ outcome: { type: 'decision' }, round: 0 });
    }
  });

  function countOthers(leaseId: string): void {
    for (const lease of [...shell.state.leases.values()].filter(({ id }) => id !== leaseId)) {
      const contribution = { leaseId: lease.id, workerId: lease.workerId, round: 0, streams: [...lease.units] };
      const endStates = new Float32Array(lease.units.length * training.stateFloats);
      reduced({ kind: 'counted', ...contribution, tokens: 4, lossSum: 1, computeMs: 1, serviceMs: 0, endStates });
    }
  }
});

describe('the step of a round', () => {
  it('has the learning rate of the schedule and the knobs at its opening, as a float32', () => {
    const orders: { learningRate: number; clip: number; parametersDigest: string }[] = [];
    open({ config: { schedule: { kind: 'cosine', warmupRounds: 0, finalFraction: 0.1, decayRounds: 0 } } });
    const { state } = shell;
    shell = new RunShell({
      training,
      state,
      reduce: {
        openRound: (order) => orders.push(order),
        subscribe: () => undefined,
        usePeers: () => undefined,
        grant: () => undefined,
      },
      workers: { send: () => true, expose: () => undefined },
      snapshots: { request: () => undefined, forget: () => undefined, leaveOut: () => undefined },
      put: () => undefined,
    });
    start();
    ready('a');
    countAll();
    Object.assign(training.knobs, { learningRate: 0.25, clip: 2 });
    update();
    const [first, second] = orders;
    expect([first.learningRate, first.clip]).toEqual([0.5, 1]);
    expect(second.clip).toBe(2);
    expect(second.learningRate).toBeLessThan(0.25);
    expect(second.learningRate).toBe(Math.fround(second.learningRate));
    expect(second.parametersDigest).toBe(training.replica.digest());
    expect(second.parametersDigest).not.toBe(first.parametersDigest);
  });
});

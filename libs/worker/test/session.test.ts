import { EngineError, type Engine } from '@troupe/model';
import { createReferenceEngine } from '@troupe/model/reference';
import { encodeFrames, type Channel } from '@troupe/protocol';
import type { Connection } from '@troupe/transport';
import { afterEach, describe, expect, it } from 'vitest';
import { watchCounted, type CountedWork } from '../src/counted.js';
import { CONFIG, createSurroundings, held, LIMITS, lostAt, settle, type Surroundings } from './coordinator.js';

const UNITS = [
  [0, 1],
  [2, 3],
  [4, 5],
];

let around: Awaited<ReturnType<typeof createSurroundings>>;
afterEach(() => around.end());

const surround = async (options: Partial<Surroundings> = {}) =>
  (around = await createSurroundings({ config: CONFIG, ...options }));

/** Names of a round's leases, one for each unit. */
const names = (round: number) => UNITS.map((_, k) => `r${round}k${k}`);

function lendAll(channel: Channel, round: number, states: string): void {
  UNITS.forEach((ids, k) => around.lend(channel, names(round)[k], round, ids, states));
}

function openAndGrant(round: number): void {
  around.openRound(round);
  UNITS.forEach((ids, k) => around.grant(names(round)[k], round, ids));
}

const lost = () => around.logs.filter((entry) => entry.kind === 'lost');

describe('several leases of a round', () => {
  it('are computed in order of arrival, each from the states that the worker holds', async () => {
    await surround();
    const channel = await around.join(0);
    const ends: Float32Array[] = [];
    for (const round of [0, 1, 2]) {
      openAndGrant(round);
      lendAll(channel, round, round === 0 ? 'zz' : 'hh');
      for (const [k, ids] of UNITS.entries()) {
        const counted = await around.nextCounted();
        expect(counted).toMatchObject({ leaseId: names(round)[k], streams: ids });
        const before = ends[k] ?? new Float32Array(counted.endStates.length);
        expect(counted.endStates).toEqual(await around.expectedStates(ids, round, before));
        ends[k] = counted.endStates;
      }
      await around.stepped();
    }
    expect(around.logs.filter(({ kind }) => kind === 'resync' || kind === 'lost')).toEqual([]);
  });

  it('wait for the update of the previous round, in order, when they come before it', async () => {
    await surround();
    const channel = await around.join(0);
    openAndGrant(0);
    lendAll(channel, 0, 'zz');
    lendAll(channel, 1, 'hh');
    await settle();
    const ends: Float32Array[] = [];
    for (const _ of UNITS) ends.push((await around.nextCounted()).endStates);
    await around.stepped();
    openAndGrant(1);
    for (const [k, ids] of UNITS.entries()) {
      const counted = await around.nextCounted();
      expect(counted.leaseId).toBe(names(1)[k]);
      expect(counted.endStates).toEqual(await around.expectedStates(ids, 1, ends[k]));
    }
  });

  it('are all computed except the one that is declined', async () => {
    await surround();
    const channel = await around.join(0);
    openAndGrant(0);
    const states = ['zz', 'zh', 'zz'];
    UNITS.forEach((ids, k) => around.lend(channel, names(0)[k], 0, ids, states[k]));
    expect((await around.nextCounted()).leaseId).toBe('r0k0');
    expect((await around.nextCounted()).leaseId).toBe('r0k2');
    expect(await around.expectMessage(channel, 'decline')).toMatchObject({ leaseId: 'r0k1', code: 'no_state' });
    // It comes again, and needs no states this time.
    around.grant('again', 0, UNITS[1]);
    around.lend(channel, 'again', 0, UNITS[1], 'zz');
    expect((await around.nextCounted()).leaseId).toBe('again');
    await around.stepped();
  });

  it('are dropped when the worker requests a snapshot, and computed when they are granted again', async () => {
    await surround({ createEngine: lostAt(2) });
    const channel = await around.join(0);
    openAndGrant(0);
    lendAll(channel, 0, 'zz');
    expect((await around.nextCounted()).leaseId).toBe('r0k0');
    expect(await around.expectMessage(channel, 'decline')).toMatchObject({ leaseId: 'r0k1', code: 'engine' });
    await around.sendSnapshot(channel, 0);
    for (const k of [1, 2]) {
      around.grant(`again${k}`, 0, UNITS[k]);
      around.lend(channel, `again${k}`, 0, UNITS[k], 'zz');
      expect((await around.nextCounted()).leaseId).toBe(`again${k}`);
    }
    await around.stepped();
    // The worker holds only the states that it computed since.
    openAndGrant(1);
    lendAll(channel, 1, 'hh');
    expect((await around.nextCounted()).leaseId).toBe('r1k1');
    expect((await around.nextCounted()).leaseId).toBe('r1k2');
    expect(await around.expectMessage(channel, 'decline')).toMatchObject({ leaseId: 'r1k0', code: 'no_state' });
  });
});

describe('a lease that is cancelled while it is computed', () => {
  it('is answered without a result, and the one behind it is not computed', async () => {
    let begun = 0;
    let release: () => void;
    const until = new Promise<void>((resolve) => (release = resolve));
    await surround({ createEngine: held(() => begun++, until) });
    const channel = await around.join(0);
    openAndGrant(0);
    lendAll(channel, 0, 'zz');
    await settle();
    expect(begun).toBe(1);
    for (const k of [0, 1]) channel.send({ type: 'cancel', leaseId: names(0)[k] });
    await settle();
    release!();
    expect(await around.expectMessage(channel, 'decline')).toMatchObject({ leaseId: 'r0k0', code: 'dropped' });
    expect(await around.expectMessage(channel, 'decline')).toMatchObject({ leaseId: 'r0k1', code: 'cancelled' });
    expect((await around.nextCounted()).leaseId).toBe('r0k2');
    expect(around.logs.filter(({ kind }) => kind === 'refused')).toEqual([]);
  });
});

describe('a coordinator that sends leases without end', () => {
  it('is read no further while one is computed', async () => {
    let release: () => void;
    const until = new Promise<void>((resolve) => (release = resolve));
    await surround({ createEngine: held(() => undefined, until) });
    const channel = await around.join(0);
    openAndGrant(0);
    lendAll(channel, 0, 'zz');
    await settle();
    const before = around.framesRead;
    for (let round = 1; round <= 3 * LIMITS.leaseRoundsAhead; round++) lendAll(channel, round, 'zz');
    await settle();
    // A lease has two frames. Those of round 0 count too, and the last that is read is one too many.
    expect(around.framesRead - before).toBe(2 * ((LIMITS.leaseRoundsAhead - 1) * UNITS.length + 1));
    release!();
    await around.clock.advance(1_000);
    expect(lost()).toEqual([expect.objectContaining({ reason: expect.stringContaining('later rounds') as string })]);
  });
});

describe('a run that needs more memory than the worker gives', () => {
  it('is not joined, and nothing is opened for it', async () => {
    let opened = 0;
    await surround({
      requireMemory: ({ streams }) => {
        throw new EngineError('out_of_memory', `too much for ${streams} streams`, 'allow more');
      },
      createEngine: async () => expect.fail(`an engine is opened, ${++opened}`),
    });
    await settle();
    await around.welcome(around.control());
    await around.clock.advance(1_000);
    expect(await around.ended).toMatchObject({ code: 'out_of_memory', message: 'too much for 6 streams' });
    expect(opened).toBe(0);
  });
});

describe('a worker on a terminal', () => {
  it('prints no control characters of the coordinator', async () => {
    await surround();
    const channel = await around.join(0);
    channel.send({ type: 'parked', reason: 'slow\u001b]0;owned\u0007\n\u009b31m\u202e' });
    await settle();
    expect(around.logs.at(-1)).toEqual({ kind: 'parked', reason: 'slow\ufffd]0;owned\ufffd\ufffd\ufffd31m\ufffd' });
    channel.send({ type: 'refuse', code: 'banned', message: 'no\u001b[2J', remedy: 'go\raway' });
    await around.clock.advance(1_000);
    expect(await around.ended).toMatchObject({ code: 'banned', message: 'no\ufffd[2J', remedy: 'go\ufffdaway' });
  });
});

describe('a parked worker', () => {
  it('holds its links, and asks for a snapshot of the round in which it is wanted again', async () => {
    await surround();
    const channel = await around.join(0);
    around.host.subscribe('w1', false);
    channel.send({ type: 'parked', reason: 'the round is 12 % faster without it' });
    await settle();
    expect(around.logs.at(-1)).toEqual({ kind: 'parked', reason: 'the round is 12 % faster without it' });
    around.openRound(5);
    around.host.subscribe('w1', true);
    expect(await around.expectMessage(channel, 'resync')).toMatchObject({ round: 5 });
    channel.send(around.snapshotMessage(5), around.replica.snapshot());
    await around.expectMessage(channel, 'ready');
    around.grant('again', 5, UNITS[0]);
    around.lend(channel, 'again', 5, UNITS[0], 'zz');
    expect((await around.nextCounted()).leaseId).toBe('again');
  });

  it('does not wait for a snapshot that it requested before', async () => {
    await surround();
    await settle();
    const channel = around.control();
    await around.welcome(channel);
    await around.expectMessage(channel, 'resync');
    around.host.subscribe('w1', false);
    await settle();
    await around.clock.advance(2 * LIMITS.snapshotMs);
    expect(lost()).toEqual([]);
  });
});

describe('the engine', () => {
  it.each([
    [2, { maxStreams: 2, maxWindow: 3 }, true],
    [0, { maxStreams: 6, maxWindow: 3 }, false],
  ])('suits a run with leases of %i streams', async (leaseStreams, limits, reproducible) => {
    const asked: unknown[] = [];
    await surround({
      config: { ...CONFIG, leaseStreams },
      createEngine: async (_, of, constraints) => {
        asked.push(of, constraints);
        throw new Error('enough');
      },
    });
    await settle();
    await around.welcome(around.control());
    await around.ended;
    expect(asked).toEqual([limits, { not: [], reproducible }]);
  });
});

describe('what counts', () => {
  it('is told as the all-reduce answers, and not when others were faster', async () => {
    await surround();
    const channel = await around.join(0);
    openAndGrant(0);
    lendAll(channel, 0, 'zz');
    for (const _ of UNITS) await around.nextCounted();
    await around.stepped();
    await settle();
    const work = { round: 0, characters: 2 * CONFIG.window };
    expect(around.countedWork).toEqual(UNITS.map(() => work));
  });

  it('is only what was answered as counted', () => {
    const counted: CountedWork[] = [];
    const watch = watchCounted(8, (work) => void counted.push(work));
    for (const [leaseId, round] of [
      ['a', 1],
      ['b', 1],
      ['c', 1],
      ['d', 2],
    ] as const)
      watch.lent({ leaseId, round, streams: [0, 1] });
    watch.heard({ kind: 'result', leaseId: 'a', round: 1, result: 'already_counted' });
    watch.heard({ kind: 'result', leaseId: 'b', round: 1, result: 'counted' });
    watch.heard({ kind: 'result', leaseId: 'never lent', round: 1, result: 'counted' });
    watch.heard({ kind: 'update', round: 1 });
    watch.heard({ kind: 'result', leaseId: 'c', round: 1, result: 'counted' });
    watch.heard({ kind: 'result', leaseId: 'd', round: 2, result: 'counted' });
    expect(counted).toEqual([
      { round: 1, characters: 16 },
      { round: 2, characters: 16 },
    ]);
  });
});

describe('an engine whose speed is known from before', () => {
  it('is not measured again', async () => {
    const gradients: unknown[] = [];
    await surround({
      knownSpeed: () => 4_321,
      createEngine: async (model, limits) => {
        const engine = createReferenceEngine(model, limits);
        const { gradient } = engine;
        return Object.assign(engine, {
          gradient: (...args: Parameters<Engine['gradient']>) => (gradients.push(args), gradient.apply(engine, args)),
        });
      },
    });
    await around.join(0);
    expect(gradients).toEqual([]);
    expect(around.logs.at(-1)).toMatchObject({ kind: 'ready', charsPerSecond: 4_321 });
  });
});

describe('a worker that receives nothing', () => {
  /** The worker has ended the session, logs why, and joins again. */
  async function expectRetry(reason: string): Promise<void> {
    expect(lost()).toMatchObject([
      { reason: expect.stringContaining(reason) as string, remedy: expect.stringMatching(/\w/) as string },
    ]);
    await expect(around.links[0].closed).resolves.toBeDefined();
    await around.clock.advance(1_000);
    expect(around.links).toHaveLength(2);
    await around.join(4);
    expect(around.logs.at(-1)).toMatchObject({ kind: 'ready', round: 4 });
  }

  it('joins again when no welcome comes', async () => {
    await surround();
    await around.clock.advance(LIMITS.answerMs - 1);
    expect(lost()).toEqual([]);
    await around.clock.advance(1);
    await expectRetry('a welcome did not arrive in time');
  });

  it('joins again when the all-reduce does not answer', async () => {
    const silent: Connection[] = [];
    await surround({ reduce: (link) => void silent.push(link) });
    await settle();
    await around.welcome(around.control());
    await settle();
    expect(silent).toHaveLength(1);
    await around.clock.advance(LIMITS.answerMs);
    expect(lost()).toMatchObject([{ reason: expect.stringContaining('the answer to join') as string }]);
    await silent[0].closed;
    await around.clock.advance(1_000);
    expect(around.links).toHaveLength(2);
  });

  it('joins again when no snapshot comes', async () => {
    await surround();
    await settle();
    const channel = around.control();
    await around.welcome(channel);
    await around.expectMessage(channel, 'resync');
    await around.clock.advance(LIMITS.snapshotMs - 1);
    expect(lost()).toEqual([]);
    await around.clock.advance(1);
    await expectRetry('snapshot');
  });

  it('waits for its snapshot as long as it is told that others come first', async () => {
    await surround();
    await settle();
    const channel = around.control();
    await around.welcome(channel);
    await around.expectMessage(channel, 'resync');
    for (let ahead = 5; ahead > 0; ahead--) {
      await around.clock.advance(LIMITS.snapshotMs - 1);
      channel.send({ type: 'queued', ahead });
      await settle();
    }
    expect(lost()).toEqual([]);
    channel.send(around.snapshotMessage(0), around.replica.snapshot());
    expect(await around.expectMessage(channel, 'ready')).toMatchObject({ round: 0 });
    // Nothing is expected any more.
    channel.send({ type: 'queued', ahead: 0 });
    await around.clock.advance(2 * LIMITS.snapshotMs);
    expect(lost()).toEqual([]);
  });

  it('joins again when a snapshot stops halfway', async () => {
    await surround();
    await settle();
    const channel = around.control();
    await around.welcome(channel);
    await around.expectMessage(channel, 'resync');
    const [head] = encodeFrames(around.snapshotMessage(0), around.replica.snapshot());
    channel.sendEncoded([head]);
    for (let passed = 0; passed < 2 * LIMITS.transferIdleMs; passed += LIMITS.transferIdleMs) {
      await around.clock.advance(LIMITS.transferIdleMs);
    }
    await expectRetry('a transfer made no progress');
  });

  it('waits as long as parts of a snapshot arrive', async () => {
    await surround({ config: { ...CONFIG, model: { ...CONFIG.model, hidden: 48 } } });
    await settle();
    const channel = around.control();
    await around.welcome(channel);
    await around.expectMessage(channel, 'resync');
    const frames = encodeFrames(around.snapshotMessage(0), around.replica.snapshot());
    expect(frames.length * 50_000).toBeGreaterThan(3 * LIMITS.snapshotMs);
    for (const frame of frames) {
      await around.clock.advance(50_000);
      channel.sendEncoded([frame]);
    }
    expect(await around.expectMessage(channel, 'ready')).toMatchObject({ round: 0 });
    expect(lost()).toEqual([]);
  });

  it('waits the full time after it has opened another engine', async () => {
    let open: () => void = () => undefined;
    const opened = new Promise<void>((resolve) => (open = resolve));
    const first = lostAt(1);
    await surround({
      async createEngine(model, limits, constraints) {
        if (constraints.not.length > 0) await opened;
        return first(model, limits, constraints);
      },
    });
    const channel = await around.join(0);
    openAndGrant(0);
    lendAll(channel, 0, 'zz');
    await around.expectMessage(channel, 'decline');
    await around.expectMessage(channel, 'resync');
    await around.clock.advance(3 * LIMITS.snapshotMs);
    open();
    await around.clock.advance(LIMITS.snapshotMs - 1);
    expect(lost()).toEqual([]);
    channel.send(around.snapshotMessage(0), around.replica.snapshot());
    expect(await around.expectMessage(channel, 'ready')).toMatchObject({ round: 0 });
  });
});

describe('a worker that is stopped while it computes', () => {
  it.each(['completed', 'dismissed'] as const)(
    'leaves with the code %s, although both links are closed by then',
    async (code) => {
      let begun = (): void => undefined;
      let finish = (): void => undefined;
      const computing = new Promise<void>((resolve) => (begun = resolve));
      const done = new Promise<void>((resolve) => (finish = resolve));
      await surround({ createEngine: held(begun, done) });
      const channel = await around.join(0);
      openAndGrant(0);
      lendAll(channel, 0, 'zz');
      await computing;
      channel.send({ type: 'stop', code, reason: 'go' });
      channel.close('go');
      around.host.dismiss('w1', 'go');
      await settle();
      finish();
      expect(await around.ended).toBe('ended');
      expect(around.logs.at(-1)).toEqual({ kind: 'stopped', code, reason: 'go' });
      expect(around.links).toHaveLength(1);
      expect(lost()).toEqual([]);
    },
  );
});

it('leaves no timer behind when it is stopped', async () => {
  await surround();
  const channel = await around.join(0);
  channel.send({ type: 'stop', code: 'completed', reason: 'the run is complete' });
  expect(await around.ended).toBe('ended');
  expect(around.clock.sleepers).toBe(0);
});

describe('a worker that is asked to leave', () => {
  it('finishes the lease that it computes, begins no other, and leaves when the contribution is counted', async () => {
    let begun = (): void => undefined;
    let finish = (): void => undefined;
    const computing = new Promise<void>((resolve) => (begun = resolve));
    await surround({ createEngine: held(() => begun(), new Promise((resolve) => (finish = resolve))) });
    const channel = await around.join(0);
    openAndGrant(0);
    lendAll(channel, 0, 'zz');
    await computing;
    around.leave.abort(new Error('the machine is busy'));
    await settle();
    finish();
    expect((await around.nextCounted()).leaseId).toBe('r0k0');
    expect(await around.expectMessage(channel, 'bye')).toMatchObject({ reason: 'the machine is busy' });
    expect(await around.ended).toBe('left');
    expect(around.logs.filter(({ kind }) => kind === 'computed')).toHaveLength(1);
    expect(around.links).toHaveLength(1);
  });

  it('leaves at once when it computes nothing', async () => {
    await surround();
    const channel = await around.join(0);
    around.leave.abort(new Error('outside its hours'));
    expect(await around.expectMessage(channel, 'bye')).toMatchObject({ reason: 'outside its hours' });
    expect(await around.ended).toBe('left');
    expect(around.clock.sleepers).toBe(0);
  });
});

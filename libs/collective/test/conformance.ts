/** What every implementation of the Collective port must do. */
import { GRADIENT_CODECS } from '@troupe/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  differenceOf,
  wholeUpdate,
  type Collective,
  type CollectiveHost,
  type CollectiveMember,
  type HostOptions,
  type MemberEvent,
  type JoinOptions,
  type ReduceAudit,
  type ReduceCounted,
  type ReduceUpdate,
} from '../src/index.js';
import { floats } from './coded.js';
import {
  contribution,
  DIGEST,
  expectMean,
  LEASES,
  openRound,
  ORDER,
  RUN,
  SEED,
  SHAPE,
  SIZE,
  soon,
  untilUpdate,
} from './rounds.js';

/** A service without a run, and a client of it. Its timeouts are short: a worker that is not admitted is refused within a second. */
export interface CollectiveRig {
  readonly collective: Collective;
  /** Where the service is. */
  readonly address: string;
  /** The secret that hosts must send. */
  readonly token: string;
  /** Stops the service and all its links. Idempotent. */
  stop(): Promise<void>;
}

/** Orders in which three contributions arrive. */
const ORDERS = [
  [0, 1, 2],
  [2, 1, 0],
  [1, 2, 0],
  [0, 2, 1],
];

const contains = (text: string): unknown => expect.stringContaining(text);

/** Longer than a message takes to arrive, shorter than a service waits for a ticket or a grant. */
const aMoment = () => new Promise((resolve) => setTimeout(resolve, 20));

export function collectiveConformance(name: string, makeRig: () => CollectiveRig | Promise<CollectiveRig>): void {
  describe(`the all-reduce by ${name}`, () => {
    let rig: CollectiveRig;
    let host: CollectiveHost;

    const startHost = (changes: Partial<HostOptions> = {}): Promise<CollectiveHost> =>
      rig.collective.host({ ...RUN, address: rig.address, token: rig.token, signal: soon(), ...changes });

    const join = (workerId: string, changes: Partial<JoinOptions> = {}): Promise<CollectiveMember> =>
      rig.collective.join({
        ...SHAPE,
        seed: SEED,
        address: rig.address,
        runId: RUN.runId,
        workerId,
        ticket: `ticket of ${workerId}`,
        signal: soon(),
        ...changes,
      });

    const admitAndJoin = (k: number, changes: Partial<JoinOptions> = {}): Promise<CollectiveMember> => {
      host.admit(`w${k}`, `ticket of w${k}`);
      return join(`w${k}`, changes);
    };

    /** A lease whose contribution was refused is granted again under another id. */
    const contributeAgain = (member: CollectiveMember, k: number): void => {
      const leaseId = `again${k}`;
      host.grant({ round: 0, leaseId, workerId: `w${k}`, streams: LEASES[k] });
      member.contribute(contribution(k, { leaseId }));
    };

    const admitAll = (changes: Partial<JoinOptions> = {}) => Promise.all([0, 1, 2].map((k) => admitAndJoin(k, changes)));

    beforeEach(async () => {
      rig = await makeRig();
      host = await startHost();
    });

    afterEach(() => rig.stop());

    /** What the worker next learns about a contribution. */
    const resultOf = async (member: CollectiveMember): Promise<MemberEvent> => {
      for (;;) {
        const event = await member.receive(soon());
        if (event.kind === 'result') return event;
        if (event.kind === 'update') await wholeUpdate(event);
      }
    };

    /** The link is closed, and this side learns why. */
    const expectClosed = (side: CollectiveMember | CollectiveHost, why: string): Promise<void> =>
      expect(side.receive(soon())).rejects.toMatchObject({
        name: 'TransportError',
        code: 'closed',
        message: expect.stringContaining(why),
      });

    describe('a round', () => {
      it('sends the mean of the contributions to every worker and the host, and each contribution to the host', async () => {
        const members = await admitAll();
        openRound(host);
        for (const [k, member] of members.entries()) member.contribute(contribution(k));
        for (const k of [0, 1, 2]) {
          const event = await host.receive(soon());
          const { streams, tokens, lossSum, endStates } = contribution(k);
          expect(event).toEqual({
            kind: 'counted',
            round: 0,
            leaseId: `lease${k}`,
            workerId: `w${k}`,
            computeMs: 3,
            serviceMs: expect.any(Number),
            streams,
            tokens,
            lossSum,
            endStates,
          });
        }
        const update = await untilUpdate(host);
        expect(update).toMatchObject({ round: 0, learningRate: 0.1, tokens: 48, lossSum: 60, clipScale: 1 });
        expectMean(update.parts);
        for (const member of members) {
          expect(await member.receive(soon())).toMatchObject({ kind: 'result', result: 'counted', round: 0 });
          expect((await untilUpdate(member)).parts).toEqual(update.parts);
        }
      });

      it.each(GRADIENT_CODECS)('follows the round before in %s', async (codec) => {
        host.close('replaced');
        host = await startHost({ codec });
        host.admit('w0', 'ticket of w0');
        const member = await join('w0', { codec });
        for (let round = 0; round < 3; round++) {
          host.openRound({ ...ORDER, round, clip: 1e-3 });
          host.grant({ round, leaseId: 'all', workerId: 'w0', streams: [0, 1, 2, 3, 4, 5] });
          member.contribute({
            ...contribution(0),
            round,
            leaseId: 'all',
            streams: [0, 1, 2, 3, 4, 5],
            tokens: 48,
            endStates: new Float32Array(24),
          });
          const { parts: update, clipScale, round: finished } = await untilUpdate(member);
          expect(finished).toBe(round);
          expect(clipScale).toBeLessThan(1);
          expect(Math.hypot(...floats(update))).toBeCloseTo(1e-3, 6);
          expect((await untilUpdate(host)).parts).toEqual(update);
        }
      });

      it('sends no update to a worker that is not wanted, and says from which round on it sends them again', async () => {
        const [working, parked] = await admitAll();
        expect([working.firstRound, parked.firstRound]).toEqual([0, 0]);
        const everything = { leaseId: 'all', workerId: 'w0', streams: [0, 1, 2, 3, 4, 5] };
        const complete = async (round: number): Promise<void> => {
          host.openRound({ ...ORDER, round });
          host.grant({ round, ...everything });
          const { leaseId, streams } = everything;
          working.contribute({ ...contribution(0), leaseId, streams, round, tokens: 48, endStates: new Float32Array(24) });
          expect((await untilUpdate(host)).round).toBe(round);
        };
        host.subscribe('w1', false);
        await complete(0);
        host.subscribe('w1', false);
        host.subscribe('w1', true);
        await complete(1);
        host.subscribe('nobody', true);
        host.admit('late', 'ticket of late');
        expect((await join('late')).firstRound).toBe(2);
        expect(await parked.receive(soon())).toEqual({ kind: 'subscription', wanted: false, round: 0 });
        expect(await parked.receive(soon())).toEqual({ kind: 'subscription', wanted: true, round: 1 });
        expect(await parked.receive(soon())).toMatchObject({ kind: 'update', round: 1 });
      });

      it('takes a gradient in parts, from its end, and counts it like one that comes whole', async () => {
        const members = await admitAll();
        openRound(host);
        for (const [k, member] of members.entries()) {
          const whole = contribution(k);
          const outgoing = member.begin(whole);
          for (const from of [330, 300, 299, 40]) {
            // What is not final yet may hold anything.
            const unfinished = whole.gradient.map((value, i) => (i < from ? NaN : value));
            outgoing.add(unfinished, from);
          }
          outgoing.finish(whole);
          outgoing.abandon();
        }
        expectMean((await untilUpdate(host)).parts);
      });

      it('does not count a gradient that is abandoned, and takes the next contribution of the worker', async () => {
        const members = await admitAll();
        openRound(host);
        host.grant({ round: 0, leaseId: 'failed', workerId: 'w0', streams: LEASES[0] });
        const failed = members[0].begin(contribution(0, { leaseId: 'failed' }));
        failed.add(contribution(1).gradient, 300);
        failed.abandon();
        failed.abandon();
        members[0].begin(contribution(0, { leaseId: 'unused' })).abandon();
        for (const [k, member] of members.entries()) member.contribute(contribution(k));
        expectMean((await untilUpdate(host)).parts);
      });

      it('counts a contribution that arrives before its round and its grant', async () => {
        const member = await admitAndJoin(0);
        member.contribute(contribution(0));
        await aMoment();
        openRound(host);
        expect(await member.receive(soon())).toMatchObject({ result: 'counted' });
      });

      it('gives the same update when another worker computes the streams of one that died', async () => {
        const [first, second, third] = await admitAll();
        openRound(host);
        first.contribute(contribution(0));
        third.contribute(contribution(2));
        second.close('pulled the plug');
        await expectClosed(second, 'pulled the plug');
        host.dismiss('w1', 'gone');
        host.grant({ round: 0, leaseId: 'again', workerId: 'w0', streams: LEASES[1] });
        first.contribute({ ...contribution(1), leaseId: 'again' });
        expectMean((await untilUpdate(first)).parts);
        expectMean((await untilUpdate(third)).parts);
        expectMean((await untilUpdate(host)).parts);
      });

      it('gives the host the end states of the contributions that count, and of no others', async () => {
        const members = await admitAll();
        openRound(host);
        const wrong = { endStates: new Float32Array(8).fill(99) };
        members[0].contribute(contribution(0, { ...wrong, parametersDigest: '0000000000000000' }));
        expect(await members[0].receive(soon())).toMatchObject({ result: 'replica_diverged' });
        for (const [k, member] of members.entries()) {
          contributeAgain(member, k);
          expect(await member.receive(soon())).toMatchObject({ result: 'counted' });
        }
        const counted: ReduceCounted[] = [];
        for (;;) {
          const event = await host.receive(soon());
          if (event.kind === 'update') break;
          if (event.kind === 'counted') counted.push(event);
          else expect('endStates' in event).toBe(false);
        }
        expect(counted.map(({ endStates }) => endStates)).toEqual([0, 1, 2].map((k) => contribution(k).endStates));
        expect(counted.flatMap(({ streams }) => streams).toSorted()).toEqual([0, 1, 2, 3, 4, 5]);
      });

      it('sends its update to a worker that joins during it, and no earlier update', async () => {
        const early = await admitAndJoin(0);
        const all = { leaseId: 'all', workerId: 'w0', streams: [0, 1, 2, 3, 4, 5] };
        const compute = (round: number): void => {
          host.grant({ ...all, round });
          const endStates = new Float32Array(24);
          early.contribute({ ...contribution(0), leaseId: 'all', streams: all.streams, tokens: 48, endStates, round });
        };
        host.openRound(ORDER);
        compute(0);
        expect((await untilUpdate(early)).round).toBe(0);
        host.openRound({ ...ORDER, round: 1 });
        const late = await admitAndJoin(1);
        compute(1);
        expect(await late.receive(soon())).toMatchObject({ kind: 'update', round: 1 });
      });
    });

    describe('an update', () => {
      /** Scales of gradients whose float64 sum depends on the order of addition. */
      const FAR_APART = [1e10, 1e-5, -1e10];

      async function updateOf(order: number[], gradientOf: (k: number) => Float32Array, changes: Partial<HostOptions>) {
        host = await startHost(changes);
        const members = await admitAll(changes.codec ? { codec: changes.codec } : {});
        openRound(host);
        for (const k of order) {
          members[k].contribute(contribution(k, { gradient: gradientOf(k) }));
          expect(await members[k].receive(soon())).toMatchObject({ kind: 'result', result: 'counted' });
        }
        return untilUpdate(host);
      }

      async function updatesOf(gradientOf: (k: number) => Float32Array, changes: Partial<HostOptions> = {}) {
        const updates: ReduceUpdate[] = [];
        for (const order of ORDERS) updates.push(await updateOf(order, gradientOf, changes));
        return updates;
      }

      it.each(['fp16', 'int8'] as const)('has the same bits for every order of arrival, with %s', async (codec) => {
        const [first, ...others] = await updatesOf((k) => contribution(k).gradient, { codec });
        for (const other of others) expect(other).toEqual(first);
      });

      it.each(GRADIENT_CODECS)('adds gradients in stream order when the host asks for it, with %s', async (codec) => {
        const farApart = (k: number) => Float32Array.from({ length: SIZE }, (_, i) => FAR_APART[k] * Math.sin(i + (k % 2)));
        const [first, ...others] = await updatesOf(farApart, { ordered: true, codec });
        for (const other of others) expect(other).toEqual(first);
      });
    });

    describe('a contribution that does not count', () => {
      it('refuses a NaN to the worker and the host, and the round completes when it is computed again', async () => {
        const members = await admitAll();
        openRound(host);
        members[0].contribute(contribution(0, { gradient: contribution(0).gradient.with(7, NaN) }));
        expect(await members[0].receive(soon())).toMatchObject({ kind: 'result', leaseId: 'lease0', result: 'not_finite' });
        const rejected = await host.receive(soon());
        expect(rejected).toMatchObject({
          kind: 'rejected',
          workerId: 'w0',
          result: 'not_finite',
          reason: expect.stringContaining('tensor 0'),
        });
        // The same lease again is refused: parts of the first contribution may still be on their way.
        members[0].contribute(contribution(0));
        expect(await members[0].receive(soon())).toMatchObject({ leaseId: 'lease0', result: 'unknown_lease' });
        contributeAgain(members[0], 0);
        for (const k of [1, 2]) members[k].contribute(contribution(k));
        expectMean((await untilUpdate(members[1])).parts);
      });

      it('refuses a duplicate and counts the streams once', async () => {
        const members = await admitAll();
        openRound(host);
        members[0].contribute(contribution(0));
        members[0].contribute(contribution(0));
        expect(await members[0].receive(soon())).toMatchObject({ result: 'counted' });
        expect(await members[0].receive(soon())).toMatchObject({ result: 'already_counted' });
        members[1].contribute(contribution(1));
        members[2].contribute(contribution(2));
        expectMean((await untilUpdate(members[2])).parts);
      });

      it('refuses the slower of two workers that compute the same streams', async () => {
        const members = await admitAll();
        openRound(host);
        host.grant({ round: 0, leaseId: 'backup', workerId: 'w2', streams: LEASES[0] });
        members[2].contribute(contribution(0, { leaseId: 'backup' }));
        expect(await members[2].receive(soon())).toMatchObject({ leaseId: 'backup', result: 'counted' });
        members[0].contribute(contribution(0, { gradient: contribution(1).gradient }));
        expect(await members[0].receive(soon())).toMatchObject({ leaseId: 'lease0', result: 'already_counted' });
        members[1].contribute(contribution(1));
        members[2].contribute(contribution(2));
        expectMean((await untilUpdate(members[1])).parts);
      });

      it('refuses one that comes after its round', async () => {
        const member = await admitAndJoin(0);
        openRound(host);
        host.openRound({ ...ORDER, round: 1 });
        // The admission follows on the same link, so round 1 is open when this worker has joined.
        await admitAndJoin(1);
        member.contribute(contribution(0));
        expect(await member.receive(soon())).toMatchObject({ kind: 'result', leaseId: 'lease0', result: 'wrong_round' });
        expect(await host.receive(soon())).toMatchObject({ kind: 'rejected', leaseId: 'lease0', result: 'wrong_round' });
      });

      it('refuses a lease that was not granted, after a wait for the grant', async () => {
        const member = await admitAndJoin(0);
        openRound(host);
        member.contribute(contribution(0, { leaseId: 'made-up' }));
        expect(await member.receive(soon())).toMatchObject({
          result: 'unknown_lease',
          reason: expect.stringContaining('made-up'),
        });
      });

      it('refuses the lease of another worker, and streams that were not granted', async () => {
        const members = await admitAll();
        openRound(host);
        members[1].contribute(contribution(0));
        expect(await members[1].receive(soon())).toMatchObject({ leaseId: 'lease0', result: 'unknown_lease' });
        members[0].contribute(contribution(0, { streams: [0, 2] }));
        expect(await members[0].receive(soon())).toMatchObject({ leaseId: 'lease0', result: 'unknown_lease' });
        for (const [k, member] of members.entries()) contributeAgain(member, k);
        expectMean((await untilUpdate(host)).parts);
      });

      it('refuses a hidden state that no cell reaches', async () => {
        host.close('another follows');
        host = await startHost({ largestState: 8 });
        const member = await admitAndJoin(0);
        openRound(host);
        const [usual, wrong] = [8, 9].map((value) => contribution(0).endStates.map(() => value));
        member.contribute(contribution(0, { endStates: Float32Array.from(wrong) }));
        expect(await resultOf(member)).toMatchObject({ result: 'implausible' });
        host.grant({ round: 0, leaseId: 'again0', workerId: 'w0', streams: LEASES[0] });
        member.contribute(contribution(0, { leaseId: 'again0', endStates: Float32Array.from(usual) }));
        expect(await resultOf(member)).toMatchObject({ result: 'counted' });
      });

      it('refuses a wrong number of characters', async () => {
        const member = await admitAndJoin(0);
        openRound(host);
        member.contribute(contribution(0, { tokens: 17 }));
        expect(await member.receive(soon())).toMatchObject({ result: 'wrong_tokens' });
      });

      it('refuses a replica that diverged', async () => {
        const member = await admitAndJoin(0);
        openRound(host);
        member.contribute(contribution(0, { parametersDigest: '0000000000000000' }));
        expect(await member.receive(soon())).toMatchObject({
          result: 'replica_diverged',
          reason: expect.stringContaining(DIGEST),
        });
      });

      it('refuses end states or gradients of another size before they are sent', async () => {
        const member = await admitAndJoin(0);
        expect(() => member.contribute(contribution(0, { gradient: new Float32Array(3) }))).toThrow(
          expect.objectContaining({ code: 'bad_length' }),
        );
        expect(() => member.contribute(contribution(0, { endStates: new Float32Array(3) }))).toThrow(
          expect.objectContaining({ code: 'bad_length' }),
        );
      });
    });

    describe('an audit', () => {
      const shape = { ...SHAPE, seed: SEED };
      const grantWith = (k: number, audit: 'copy' | 'hold') =>
        host.grant({ round: 0, leaseId: `lease${k}`, workerId: `w${k}`, streams: LEASES[k], audit });
      const key = (k: number) => ({ round: 0, leaseId: `lease${k}`, workerId: `w${k}` });

      it('gives the host a copy of a contribution before it counts', async () => {
        const member = await admitAndJoin(0);
        host.openRound(ORDER);
        grantWith(0, 'copy');
        member.contribute(contribution(0));
        const audit = await host.receive(soon());
        expect(audit).toMatchObject({ kind: 'audit', ...key(0), streams: LEASES[0], lossSum: 20, computeMs: 3 });
        expect(differenceOf(shape, audit as ReduceAudit, contribution(0), true)).toBeUndefined();
        const other = contribution(0, { gradient: contribution(1).gradient });
        expect(differenceOf(shape, audit as ReduceAudit, other, true)).toMatch(/gradient/);
        expect(await host.receive(soon())).toMatchObject({ kind: 'counted', ...key(0) });
      });

      it('holds a contribution until the host says that it is sound', async () => {
        const members = await admitAll();
        host.openRound(ORDER);
        for (const k of [0, 1, 2]) grantWith(k, 'hold');
        for (const [k, member] of members.entries()) member.contribute(contribution(k));
        const audits = [await host.receive(soon()), await host.receive(soon()), await host.receive(soon())];
        expect(audits.map(({ kind }) => kind)).toEqual(['audit', 'audit', 'audit']);
        for (const k of [0, 1, 2]) host.rule({ ...key(k), verdict: 'sound', reason: '' });
        for (const k of [0, 1, 2]) expect(await host.receive(soon())).toMatchObject({ kind: 'counted', ...key(k) });
        expectMean((await untilUpdate(host)).parts);
      });

      it.each([
        ['wrong', 'audit_failed'],
        ['unknown', 'not_audited'],
      ] as const)('that finds it %s refuses it, and others may compute its streams', async (verdict, result) => {
        const [held, other] = [await admitAndJoin(0), await admitAndJoin(1)];
        host.openRound(ORDER);
        grantWith(0, 'hold');
        held.contribute(contribution(0, { gradient: new Float32Array(SIZE) }));
        await host.receive(soon());
        host.rule({ ...key(0), verdict, reason: 'its gradient differs' });
        expect(await resultOf(held)).toMatchObject({ result, reason: 'its gradient differs' });
        expect(await host.receive(soon())).toMatchObject({ kind: 'rejected', ...key(0), result });
        host.grant({ round: 0, leaseId: 'instead', workerId: 'w1', streams: LEASES[0] });
        other.contribute(contribution(0, { leaseId: 'instead' }));
        expect(await host.receive(soon())).toMatchObject({ kind: 'counted', leaseId: 'instead' });
      });

      it('is made of a held contribution even if another worker was faster', async () => {
        const [held, other] = [await admitAndJoin(0), await admitAndJoin(1)];
        host.openRound(ORDER);
        grantWith(0, 'hold');
        host.grant({ round: 0, leaseId: 'faster', workerId: 'w1', streams: LEASES[0] });
        other.contribute(contribution(0, { leaseId: 'faster' }));
        expect(await host.receive(soon())).toMatchObject({ kind: 'counted', leaseId: 'faster' });
        held.contribute(contribution(0));
        expect(await host.receive(soon())).toMatchObject({ kind: 'audit', ...key(0) });
        host.rule({ ...key(0), verdict: 'sound', reason: '' });
        expect(await resultOf(held)).toMatchObject({ result: 'already_counted' });
      });

      it('comes before a contribution counts if its norm is beyond that of its grant, however it was granted', async () => {
        const members = await admitAll();
        const { tokens, gradient } = contribution(0);
        const norm = Math.sqrt(gradient.reduce((sum, value) => sum + value * value, 0)) / tokens;
        host.openRound(ORDER);
        LEASES.forEach((streams, k) => {
          const audit = k === 1 ? 'copy' : 'none';
          host.grant({ ...key(k), streams, audit, ...(k < 2 && { mostNorm: norm * 3 }) });
        });
        const huge = { gradient: gradient.map((value) => value * 4) };
        members[0].contribute(contribution(0, huge));
        const audit = await host.receive(soon());
        expect(audit).toMatchObject({ kind: 'audit', ...key(0), norm: expect.closeTo(norm * 4, 3) as number });
        expect(differenceOf(shape, audit as ReduceAudit, contribution(0, huge), true)).toBeUndefined();
        members[1].contribute(contribution(1, { gradient: gradient.map((value) => value * 9) }));
        expect(await host.receive(soon())).toMatchObject({ kind: 'audit', ...key(1), norm: expect.any(Number) as number });
        // Nobody has asked for its norm.
        members[2].contribute(contribution(2, { gradient: gradient.map((value) => value * 9) }));
        const counted = await host.receive(soon());
        expect(counted).toMatchObject({ kind: 'counted', ...key(2) });
        expect(counted).not.toHaveProperty('norm');
        host.rule({ ...key(0), verdict: 'sound', reason: '' });
        expect(await host.receive(soon())).toMatchObject({ kind: 'counted', ...key(0), norm: (audit as ReduceAudit).norm });
        host.rule({ ...key(1), verdict: 'wrong', reason: 'it lies' });
        expect(await resultOf(members[1])).toMatchObject({ result: 'audit_failed', reason: 'it lies' });
      });

      it.each([undefined, 'none', 'copy'] as const)(
        'that finds it unknown lets it count if its norm was the only reason to hold it (granted with %s)',
        async (audit) => {
          const member = await admitAndJoin(0);
          host.openRound(ORDER);
          host.grant({ ...key(0), streams: LEASES[0], ...(audit && { audit }), mostNorm: 1e-9 });
          member.contribute(contribution(0));
          expect(await host.receive(soon())).toMatchObject({ kind: 'audit', ...key(0) });
          host.rule({ ...key(0), verdict: 'unknown', reason: 'rounding changes it as much' });
          expect(await host.receive(soon())).toMatchObject({ kind: 'counted', ...key(0) });
        },
      );

      it('does not follow from a norm that is expected, which the host is told', async () => {
        const member = await admitAndJoin(0);
        const { tokens, gradient } = contribution(0);
        const norm = Math.sqrt(gradient.reduce((sum, value) => sum + value * value, 0)) / tokens;
        host.openRound(ORDER);
        host.grant({ ...key(0), streams: LEASES[0], mostNorm: norm * 1.01 });
        member.contribute(contribution(0));
        const counted = await host.receive(soon());
        expect(counted).toMatchObject({ kind: 'counted', ...key(0), norm: expect.closeTo(norm, 5) as number });
      });

      it('that is not decided when the round ends is void', async () => {
        const [held, other] = [await admitAndJoin(0), await admitAndJoin(1)];
        host.openRound(ORDER);
        grantWith(0, 'hold');
        held.contribute(contribution(0));
        await host.receive(soon());
        host.grant({ round: 0, leaseId: 'all', workerId: 'w1', streams: [0, 1, 2, 3, 4, 5] });
        other.contribute({
          ...contribution(0),
          leaseId: 'all',
          streams: [0, 1, 2, 3, 4, 5],
          tokens: 48,
          endStates: new Float32Array(24),
        });
        await untilUpdate(host);
        host.openRound({ ...ORDER, round: 1 });
        host.rule({ ...key(0), verdict: 'sound', reason: '' });
        expect(await resultOf(held)).toMatchObject({ result: 'not_audited' });
      });
    });

    describe('members and hosts', () => {
      const refusal = (code: string): unknown =>
        expect.objectContaining({ name: 'CollectiveError', code: 'refused', message: expect.stringContaining(code) });

      it('refuses a worker with a wrong ticket, and one that was not admitted', async () => {
        host.admit('w0', 'another ticket');
        await expect(join('w0')).rejects.toThrow(refusal('wrong_token'));
        await expect(join('w8')).rejects.toThrow(refusal('wrong_token'));
      });

      it('accepts a worker that comes a moment before its ticket', async () => {
        const joining = join('w0');
        await aMoment();
        host.admit('w0', 'ticket of w0');
        await expect(joining).resolves.toBeDefined();
      });

      it('refuses a worker of another run', async () => {
        await expect(join('w0', { runId: 'run-2' })).rejects.toThrow(refusal('run_over'));
      });

      it('refuses a host with a wrong token or of another run, and leaves the run alone', async () => {
        await expect(startHost({ token: 'guess' })).rejects.toThrow(refusal('wrong_token'));
        await expect(startHost({ token: '' })).rejects.toThrow(refusal('wrong_token'));
        await expect(startHost({ runId: 'run-2' })).rejects.toMatchObject({ code: 'taken', message: contains('run-1') });
        await expect(admitAndJoin(0)).resolves.toBeDefined();
      });

      it('refuses a host that grants a stream beyond B, with the reason', async () => {
        host.openRound(ORDER);
        host.grant({ round: 0, leaseId: 'x', workerId: 'w0', streams: [6] });
        await expect(host.receive(soon())).rejects.toMatchObject({
          code: 'refused',
          message: expect.stringContaining('beyond 5'),
        });
      });

      it('replaces the older link of a worker that joins again', async () => {
        const first = await admitAndJoin(0);
        const again = await join('w0');
        await expectClosed(first, 'joined again');
        openRound(host);
        again.contribute(contribution(0));
        expect(await again.receive(soon())).toMatchObject({ result: 'counted' });
      });

      it('closes the links of workers when their host leaves, and serves a host that comes back', async () => {
        const member = await admitAndJoin(0);
        host.close('crashed');
        await expectClosed(member, 'coordinator left');
        await expect(join('w0')).rejects.toThrow(refusal('run_over'));
        host = await startHost({ runId: 'run-1' });
        await expect(admitAndJoin(0)).resolves.toBeDefined();
      });

      it('refuses another coordinator of the same run, and serves it when the first is gone', async () => {
        const member = await admitAndJoin(0);
        const second = { owner: 'second' };
        await expect(startHost(second)).rejects.toMatchObject({ code: 'taken', message: contains('another coordinator of run') });
        openRound(host);
        member.contribute(contribution(0));
        expect(await member.receive(soon())).toMatchObject({ result: 'counted' });
        host.close('crashed');
        await expectClosed(member, 'coordinator left');
        host = await startHost(second);
        await expect(admitAndJoin(0)).resolves.toBeDefined();
      });

      it('lets the same host take over while its old link still seems alive', async () => {
        const old = host;
        const member = await admitAndJoin(0);
        host = await startHost();
        await expectClosed(old, 'connected again');
        await expectClosed(member, 'coordinator left');
        await expect(old.receive(soon())).rejects.toMatchObject({ code: 'closed' });
        await expect(admitAndJoin(0)).resolves.toBeDefined();
      });

      it('closes the link of a worker that is dismissed, with the reason', async () => {
        const member = await admitAndJoin(0);
        const receiving = expectClosed(member, 'the run is over');
        host.dismiss('w0', 'the run is over');
        await receiving;
        expect(() => member.contribute(contribution(0))).toThrow(expect.objectContaining({ name: 'TransportError' }));
        await expect(join('w0')).rejects.toThrow(refusal('wrong_token'));
      });

      it('rejects what a closed side does, and allows a second close', async () => {
        const member = await admitAndJoin(0);
        for (const side of [member, host]) {
          const receiving = expectClosed(side, 'enough');
          side.close('enough');
          await receiving;
          side.close('enough again');
          await expectClosed(side, 'enough');
        }
        expect(() => member.contribute(contribution(0))).toThrow(expect.objectContaining({ code: 'closed' }));
        expect(() => host.admit('w1', 'ticket of w1')).toThrow(expect.objectContaining({ code: 'closed' }));
      });

      it('loses no message when a receive is aborted', async () => {
        const member = await admitAndJoin(0);
        openRound(host);
        const off = new AbortController();
        const receiving = [member, host].map((side) => side.receive(off.signal));
        off.abort(new Error('called off'));
        for (const one of receiving) await expect(one).rejects.toMatchObject({ code: 'aborted' });
        member.contribute(contribution(0));
        expect(await member.receive(soon())).toMatchObject({ kind: 'result', result: 'counted' });
        expect(await host.receive(soon())).toMatchObject({ kind: 'counted', leaseId: 'lease0' });
      });

      it('stops joining and hosting when the signal aborts', async () => {
        const off = new AbortController();
        const joining = [join('w0', { signal: off.signal }), startHost({ signal: off.signal })];
        const settled = Promise.allSettled(joining);
        off.abort(new Error('called off'));
        for (const one of await settled) expect(one).toMatchObject({ status: 'rejected', reason: { code: 'aborted' } });
      });

      it('closes every link when the service stops', async () => {
        const member = await admitAndJoin(0);
        const stopped = rig.stop();
        await expect(member.receive(soon())).rejects.toMatchObject({ code: 'closed' });
        await expect(host.receive(soon())).rejects.toMatchObject({ code: 'closed' });
        await stopped;
      });
    });
  });
}

import { encodeFrames, type MessageOf } from '@troupe/protocol';
import { createRunState, step, type RunState } from '@troupe/scheduler';
import { createMemoryPair } from '@troupe/transport/memory';
import { describe, expect, it } from 'vitest';
import { createAudit } from './audit.js';
import { brokenInvariants } from './invariants.js';
import { createClock, Deadlock, Hang } from './clock.js';
import { createHost, type Host } from './host.js';
import { createNetwork, type Lines } from './network.js';
import { createRandom } from './random.js';

const NEVER = (): boolean => false;

describe('the clock', () => {
  it('fires timers in order of time, and in the order of setting for equal times', async () => {
    const clock = createClock();
    const fired: string[] = [];
    for (const [ms, name] of [
      [5, 'b'],
      [3, 'a'],
      [5, 'c'],
    ] as const)
      clock.after(ms, name, () => fired.push(`${name} ${clock.nowMs}`));
    clock.after(4, 'never', () => fired.push('never')).cancel();
    await clock.run(() => fired.length === 3, 10, 'all');
    expect(fired).toEqual(['a 3', 'b 5', 'c 5']);
  });

  it('throws when nothing is left to do, and when a condition takes too long', async () => {
    const clock = createClock();
    await expect(clock.run(NEVER, 10, 'the impossible')).rejects.toThrow(Deadlock);
    clock.after(20, 'late', () => undefined);
    await expect(clock.run(NEVER, 10, 'the impossible')).rejects.toThrow(Hang);
    expect([...clock.pending()]).toEqual([['late', 1]]);
  });
});

describe('a host', () => {
  it('runs timers late that fired while it was frozen, and none once it is dead', async () => {
    const clock = createClock();
    const host = createHost(clock, 'h', 1_000);
    const done: number[] = [];
    host.after(5, 'soon', () => done.push(clock.nowMs));
    host.after(50, 'after death', () => done.push(clock.nowMs));
    host.freeze();
    clock.after(30, 'thaw', () => host.thaw(true));
    clock.after(40, 'kill', host.kill);
    clock.after(60, 'end', () => undefined);
    await clock.run(() => clock.nowMs >= 60, 100, 'the end');
    expect(done).toEqual([30]);
    expect(host.nowMs()).toBe(1_030);
  });
});

describe('a sleep', () => {
  it('moves the clock of its host, however short it is', async () => {
    const clock = createClock();
    const host = createHost(clock, 'h', 1e7);
    const before = host.nowMs();
    let over = false;
    void host.sleep(1e-12).then(() => (over = true));
    await clock.run(() => over, 1, 'the end of the sleep');
    expect(host.nowMs()).toBeGreaterThan(before);
  });
});

async function linked(bytesPerMs = 1_000, linesOf?: (name: string) => Lines) {
  const clock = createClock();
  const network = createNetwork({
    clock,
    random: createRandom(1),
    latencyMs: [10, 10],
    bytesPerMs,
    ...(linesOf && { linesOf }),
    onFrame: () => undefined,
    fateOf: () => undefined,
    onTamper: () => undefined,
  });
  const [a, b]: readonly Host[] = ['a', 'b'].map((name) => createHost(clock, name, 0));
  const accepted: Parameters<Parameters<typeof network.listen>[2]>[0][] = [];
  network.listen(b, '/path', async (link) => void accepted.push(link));
  const dialled = network.dial(a, 'sim://b/path', new AbortController().signal);
  await clock.run(() => accepted.length === 1, 1_000, 'a link');
  return { clock, network, hosts: [a, b] as const, near: await dialled, far: accepted[0] };
}

describe('a simulated link', () => {
  it('delivers frames in order, with latency and limited bandwidth', async () => {
    const { clock, near, far } = await linked();
    const startMs = clock.nowMs;
    const arrived: number[][] = [];
    const listen = async (): Promise<void> => {
      for (;;) {
        const frame = await far.receive();
        arrived.push([frame[0], frame.length, clock.nowMs - startMs]);
      }
    };
    void listen().catch(() => undefined);
    near.send(new Uint8Array(5_000).fill(1));
    near.send(new Uint8Array(1_000).fill(2));
    await clock.run(() => arrived.length === 2, 100, 'both');
    expect(arrived).toEqual([
      [1, 5_000, 15],
      [2, 1_000, 16],
    ]);
  });

  it('takes turns with others on the lines of its hosts', async () => {
    const { clock, network, hosts, near } = await linked(1, (name) => ({ up: name === 'a' ? 1_000 : 100, down: 500 }));
    const [a] = hosts;
    const second = network.dial(a, 'sim://b/path', new AbortController().signal);
    await clock.run(() => network.links.length === 2, 1_000, 'a second link');
    const other = await second;
    const startMs = clock.nowMs;
    const arrived: number[] = [];
    network.links.forEach(({ connections: [, far] }) => void far.receive().then(() => arrived.push(clock.nowMs - startMs)));
    near.send(new Uint8Array(5_000));
    other.send(new Uint8Array(1_000));
    await clock.run(() => arrived.length === 2, 100, 'both');
    // 5 ms up, 10 ms down and 10 ms of latency; the other one waits for it on the way down.
    expect(arrived).toEqual([25, 27]);
    expect(network.trafficOf('a').sentBytes).toBe(6_000);
    expect(network.trafficOf('b').receivedBytes).toBe(6_000);
  });

  it('delivers late after a short interruption, and is dead for both sides after a long one', async () => {
    const { clock, network, near, far } = await linked();
    network.isolate('b', 15_000);
    near.send(Uint8Array.of(7));
    let got: Uint8Array | undefined;
    void far.receive().then((frame) => (got = frame));
    await clock.run(() => got !== undefined, 16_000, 'the frame');
    expect(clock.nowMs).toBeGreaterThan(15_000);
    network.isolate('b', 60_000);
    const ends: string[] = [];
    for (const end of [near, far]) void end.closed.then(({ kind }) => ends.push(kind));
    await clock.run(() => ends.length === 2, 31_000, 'that both know');
    expect(ends).toEqual(['lost', 'lost']);
  });

  it('reports a killed process at once, but a machine without power only after a timeout', async () => {
    for (const silently of [false, true]) {
      const { clock, network, hosts, near } = await linked();
      const startMs = clock.nowMs;
      let end: string | undefined;
      void near.closed.then(({ kind }) => (end = kind));
      network.kill(hosts[1], silently);
      await clock.run(() => end !== undefined, 60_000, 'the news');
      expect(clock.nowMs - startMs > 20_000).toBe(silently);
    }
  });
});

describe('the audit', () => {
  const truth = {
    parameters: [Float32Array.of(1, 2), Float32Array.of(3, 4)],
    tolerance: 0,
    files: new Map([['5', new Set(['another'])]]),
  };

  it('notices a different bit in parameters, in files and between replicas', () => {
    const audit = createAudit(truth);
    audit.onCommitted(1, Float32Array.of(3, 4), '00'.repeat(8));
    expect(audit.violations).toEqual([]);
    audit.onWritten(5, false, Uint8Array.of(1));
    const body = { layoutHash: '00'.repeat(8), parametersDigest: 'ab'.repeat(8), engine: 'e', device: 'd', charsPerSecond: 1 };
    audit.onFrame('w0', encodeFrames({ type: 'ready', round: 1, ...body })[0]);
    audit.onCommitted(0, Float32Array.of(1, 2 + 2 ** -22), '11'.repeat(8));
    expect(audit.violations).toHaveLength(2);
    audit.onCommitted(1, Float32Array.of(3, 4), '00'.repeat(8));
    expect(audit.violations).toEqual([
      expect.stringContaining('checkpoint 5 has other bytes'),
      expect.stringContaining('round 0: parameters are off'),
      expect.stringContaining('w0 reports ready for round 1'),
    ]);
  });

  it('forgets what a worker reported when it leaves', () => {
    const audit = createAudit(truth);
    const body = { layoutHash: '00'.repeat(8), parametersDigest: 'ab'.repeat(8), engine: 'e', device: 'd', charsPerSecond: 1 };
    for (const worker of ['w0', 'w1']) audit.onFrame(worker, encodeFrames({ type: 'ready', round: 1, ...body })[0]);
    audit.onLeft('w0');
    audit.onCommitted(1, Float32Array.of(3, 4), '00'.repeat(8));
    expect(audit.violations).toEqual([expect.stringContaining('w1 reports ready for round 1')]);
  });

  it('notices a stream that counts twice, and an update that lacks one', async () => {
    const audit = createAudit(truth);
    const [service, host] = createMemoryPair();
    const heard = audit.listenIn(host, 3);
    const counted = { type: 'counted', round: 0, workerId: 'w', tokens: 6, lossSum: 1, computeMs: 1, serviceMs: 1 } as const;
    const update: MessageOf<'update'> = {
      type: 'update',
      runId: 'r',
      round: 0,
      learningRate: 1,
      tokens: 6,
      lossSum: 1,
      gradientNorm: 1,
      clipScale: 1,
      ranges: [{ from: 0, to: 1 }],
    };
    for (const message of [{ ...counted, leaseId: 'a', streams: [0, 1] }, { ...counted, leaseId: 'b', streams: [1] }, update]) {
      service.send(encodeFrames(message)[0]);
      await heard.receive();
    }
    expect(audit.violations).toEqual(['round 0: stream 1 is counted twice', 'round 0: an update of 2 of 3 streams']);
  });

  const CHEATS: readonly (readonly [string, (state: RunState) => void])[] = [
    ['a lease that no worker lists', (state) => state.leases.delete([...state.leases.keys()][0])],
    ['a unit with too many reliable leases', (state) => void state.units[0].reliableLeases++],
    ['a unit that is covered and listed as uncovered', (state) => void state.uncovered.add(0)],
    ['a busy worker that is listed as idle', (state) => void state.idle.add('w')],
    ['a holder that has left', (state) => void (state.units[1].holder = 'nobody')],
    ['a worker that fetches a snapshot and has leases', (state) => void (state.workers.get('w')!.state = 'syncing')],
  ];
  it.each(CHEATS)('notices %s', (_, cheat) => {
    const cadences = { evaluateEvery: 0, checkpointEvery: 0, sampleEvery: 0, chanceLoss: 3, maxLoss: 0 };
    const state = createRunState({ streams: 4, window: 5, rounds: 9, windowsPerPass: 9, leaseStreams: 0, ...cadences }, 0);
    step(state, { type: 'workerReady', trusted: true, workerId: 'w', name: 'w', charsPerSecond: 10 }, 0);
    step(state, { type: 'start' }, 0);
    expect(state.leases.size).toBe(1);
    expect(brokenInvariants(state)).toEqual([]);
    cheat(state);
    expect(brokenInvariants(state)).not.toEqual([]);
  });
});

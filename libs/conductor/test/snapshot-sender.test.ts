import { createChannel, LIMITS, retainedUpdates, type Channel, type Message } from '@troupe/protocol';
import type { RunEvent } from '@troupe/run';
import type { Connection } from '@troupe/transport';
import { createMemoryPair } from '@troupe/transport/memory';
import { beforeEach, describe, expect, it } from 'vitest';
import type { ConductorEvent, WorkerIdentity } from '../src/events.js';
import { inPieces, SnapshotSender } from '../src/snapshot-sender.js';
import { turn } from './fixture.js';

/** Of the model. Its snapshot is some 40 pieces. */
const PARAMETERS = 900_000;
const SNAPSHOT_BYTES = 12 * PARAMETERS;
const PIECES = Math.ceil(SNAPSHOT_BYTES / LIMITS.snapshotPieceBytes);

let links: Map<string, SlowLink>;
let sender: SnapshotSender;
let round: number;
let ready: number;
let now: number;
let taken: number;
let sound: boolean;
let notes: RunEvent[];
let failures: unknown[];
/** Workers that may seed. */
let able: string[];
/** What it takes to hand over a frame. */
let frameMs: number;

/** A link to a worker that reads what the test lets it read. */
interface SlowLink {
  readonly channel: Channel;
  /** The worker's end. */
  readonly worker: Channel;
  readonly queued: readonly Uint8Array[];
  /** Most bytes queued at a time. */
  readonly mostBytes: number;
  closedFor: string | undefined;
  /** The worker reads up to `bytes`; default: everything, also what comes later. */
  read(bytes?: number): Promise<void>;
}

function connect(id: string): SlowLink {
  const [near, far] = createMemoryPair(['coordinator', id]);
  const queued: Uint8Array[] = [];
  let drains: (() => void)[] = [];
  let open = false;
  let mostBytes = 0;
  const bufferedBytes = (): number => queued.reduce((sum, frame) => sum + frame.byteLength, 0);
  const pass = (bytes: number): void => {
    for (let left = bytes; queued.length > 0 && left >= queued[0].byteLength;) {
      left -= queued[0].byteLength;
      near.send(queued.shift()!);
    }
    const waiting = drains;
    drains = [];
    for (const wake of waiting) wake();
  };
  const slow: Connection = {
    remote: id,
    closed: near.closed,
    get bufferedBytes() {
      return bufferedBytes();
    },
    send(frame) {
      if (link.closedFor !== undefined) near.send(frame); // throws
      queued.push(frame);
      now += frameMs;
      mostBytes = Math.max(mostBytes, bufferedBytes());
      if (open) pass(Infinity);
    },
    async drained(most) {
      await near.drained(0);
      while (bufferedBytes() > most) {
        await new Promise<void>((resolve) => drains.push(resolve));
        await near.drained(Infinity);
      }
    },
    receive: (signal) => near.receive(signal),
    close(reason) {
      link.closedFor ??= reason;
      near.close(reason);
      pass(0);
    },
  };
  const link: SlowLink = {
    channel: createChannel(slow, { accepts: ['hello'], bodyBytes: () => 0 }),
    worker: createChannel(far, {
      accepts: ['snapshot', 'queued', 'stop', 'seed', 'sources'],
      bodyBytes({ type }) {
        if (type === 'sources') return 32 * PIECES;
        return type === 'snapshot' ? SNAPSHOT_BYTES : 0;
      },
    }),
    queued,
    get mostBytes() {
      return mostBytes;
    },
    closedFor: undefined,
    async read(bytes = Infinity) {
      open ||= bytes === Infinity;
      pass(bytes);
      await turn();
    },
  };
  links.set(id, link);
  return link;
}

/** Those whose links were too slow. */
let leftOut: string[];

beforeEach(() => {
  leftOut = [];
  frameMs = 0;
  [links, round, ready, now, taken, sound, notes, failures, able] = [new Map(), 0, 1, 0, 0, true, [], [], []];
  const vectors = new Float32Array(3 * PARAMETERS);
  sender = new SnapshotSender({
    parameters: PARAMETERS,
    round: () => round,
    readyWorkers: () => ready,
    take() {
      if (!sound) return undefined;
      taken++;
      vectors.fill(round);
      return { round, parametersDigest: '0'.repeat(16), parts: [new Uint8Array(vectors.buffer)] };
    },
    seeds: () => able,
    // A stand-in: the sum of the bytes, and their number.
    sha256: (parts) => {
      const digest = new Uint8Array(32);
      for (const byte of parts.flatMap((part) => [part.at(0)!, part.at(-1)!])) digest[0] += byte;
      new DataView(digest.buffer).setUint32(
        4,
        parts.reduce((bytes, part) => bytes + part.byteLength, 0),
      );
      return digest;
    },
    workers: {
      send(id, message: Message, body?: Uint8Array) {
        links.get(id)!.channel.send(message, body);
        return true;
      },
      leaveOut(id) {
        leftOut.push(id);
        return 120_000;
      },
    },
    channelOf: (id) => links.get(id)?.channel,
    nowMs: () => now,
    report: (event) => notes.push(event),
    fail: (error) => failures.push(error),
  });
});

const workerOf = (id: string): WorkerIdentity => ({ id, name: id, kind: 'node', remote: id, trusted: true });
const tick = (ms = 0): void => {
  now += ms;
  sender.handle({ type: 'order', order: { type: 'tick' } });
};
/** The run completes rounds. */
function complete(rounds = 1): void {
  round += rounds;
  sender.handle({ type: 'updated', update: {} as never, readyWorkers: 1 } satisfies ConductorEvent);
}
/** A worker that has asked for a snapshot. */
function join(id: string): SlowLink {
  const link = connect(id);
  sender.request(id);
  return link;
}
/** The round of the snapshot that a worker receives, and its first parameter. */
async function received(link: SlowLink): Promise<[round: number, value: number]> {
  const reading = link.worker.receive();
  await link.read();
  const { message, body } = await reading;
  if (message.type !== 'snapshot') throw new Error(`it received ${message.type}`);
  return [message.round, new Float32Array(body.buffer)[0]];
}
/** Bytes of different frames that are queued somewhere or held. */
function uniqueBytes(): number {
  const frames = new Set([...links.values()].flatMap(({ queued }) => queued));
  const queued = [...frames].reduce((sum, frame) => sum + frame.byteLength, 0);
  return Math.max(queued, sender.heldBytes);
}

describe('ten workers that join at once', () => {
  it('share one snapshot of one encoding', async () => {
    const joining = Array.from({ length: 10 }, (_, i) => join(`w${i}`));
    await turn();
    const all = Promise.all(joining.map(received));
    await all;
    expect(await all).toEqual(Array(10).fill([0, 0]));
    expect(taken).toBe(1);
    expect(failures).toEqual([]);
  });

  it('take no more memory than two snapshots, although their links are slow and rounds pass', async () => {
    let most = 0;
    const joining: SlowLink[] = [];
    for (let i = 0; i < 10; i++) {
      joining.push(join(`w${i}`));
      complete();
      for (const link of joining) await link.read(500_000);
      tick(100);
      most = Math.max(most, uniqueBytes());
    }
    for (let left = 400; left > 0 && joining.some(({ closedFor }) => closedFor === undefined); left--) {
      for (const link of joining) await link.read(LIMITS.snapshotPieceBytes);
      tick(100);
      most = Math.max(most, uniqueBytes());
    }
    expect(most).toBeGreaterThan(SNAPSHOT_BYTES);
    expect(most).toBeLessThan(2.01 * SNAPSHOT_BYTES);
    for (const { mostBytes } of joining) expect(mostBytes).toBeLessThan(2.1 * LIMITS.snapshotPieceBytes);
    expect(failures).toEqual([]);
  });

  it('are served a few at a time, in the order in which they asked', async () => {
    const joining = Array.from({ length: 6 }, (_, i) => join(`w${i}`));
    await turn();
    const served = (): number[] => joining.flatMap(({ mostBytes }, i) => (mostBytes > 0 ? [i] : []));
    expect(served()).toEqual([0, 1, 2, 3]);
    await joining[2].read();
    await turn();
    expect(served()).toEqual([0, 1, 2, 3, 4]);
    tick(LIMITS.snapshotTurnMs);
    await turn();
    // The slow ones have had their turn.
    expect(served()).toEqual([0, 1, 2, 3, 4, 5]);
  });
});

describe('a worker that cannot follow the updates while it joins', () => {
  it('is disconnected with the reason, rests, and is sent nothing', async () => {
    join('lagging');
    for (let i = 1; i < LIMITS.snapshotLinks; i++) join(`w${i}`);
    const waiting = join('next');
    sender.leaveOut('lagging', 'updates pile up');
    await turn();
    expect([links.get('lagging')!.closedFor, leftOut]).toEqual(['updates pile up', ['lagging']]);
    expect(notes).toEqual([
      expect.objectContaining({
        text: 'worker lagging is disconnected: updates pile up',
        remedy: expect.stringMatching(/joins again by itself in 2 min/),
      }),
    ]);
    // Its place is free.
    expect(await received(waiting)).toEqual([0, 0]);
  });

  it('and has left by itself has nothing to rest from', () => {
    sender.leaveOut('gone', 'updates pile up');
    expect([leftOut, notes]).toEqual([[], []]);
  });
});

describe('a worker that waits for its turn', () => {
  /** Fills all places with links that do not read. */
  const occupy = (places: number = LIMITS.snapshotLinks): void => {
    for (let i = 0; i < places; i++) join(`slow${i}`);
  };

  it('is told that others come first', async () => {
    const turns = 1 + LIMITS.queuedMs / LIMITS.snapshotTurnMs;
    occupy(turns * LIMITS.snapshotLinks);
    const [link] = [join('last'), join('later')];
    for (let passed = 0; passed < LIMITS.queuedMs; passed += LIMITS.snapshotTurnMs) tick(LIMITS.snapshotTurnMs);
    const told = ['last', 'later'].map((id) => links.get(id)!.worker.receive());
    for (const id of ['last', 'later']) await links.get(id)!.read();
    expect((await Promise.all(told)).map(({ message }) => message)).toEqual([
      { type: 'queued', ahead: 0 },
      { type: 'queued', ahead: 1 },
    ]);
    tick(LIMITS.queuedMs - 1);
    expect(await received(link)).toEqual([0, 0]);
  });

  it('receives the snapshot of the round in which its turn comes, however many rounds it has waited', async () => {
    occupy();
    const link = join('last');
    complete(retainedUpdates(PARAMETERS));
    expect(await Promise.race([received(link), turn()])).toBeUndefined();
    for (let i = 0; i < LIMITS.snapshotLinks; i++) void links.get(`slow${i}`)!.read();
    await turn();
    await turn();
    expect(link.queued).toEqual([]);
    expect(sender.heldBytes).toBeLessThan(1.01 * SNAPSHOT_BYTES);
    expect(taken).toBe(2);
  });

  it('is forgotten when it leaves or is ready', async () => {
    occupy();
    const [left, ready] = [join('left'), join('ready')];
    sender.handle({ type: 'workerLeft', worker: workerOf('left'), reason: 'gone' });
    sender.handle({ type: 'workerMessage', worker: workerOf('ready'), message: { type: 'ready' } as never });
    tick(LIMITS.snapshotTurnMs);
    await turn();
    expect([left.mostBytes, ready.mostBytes]).toEqual([0, 0]);
  });
});

describe('a snapshot on its way', () => {
  it('lets small messages pass between its pieces', async () => {
    const link = join('a');
    await turn();
    const reading = link.worker.receive();
    await link.read(LIMITS.snapshotPieceBytes);
    link.channel.send({ type: 'stop', code: 'stopped', reason: 'now' });
    await link.read(2 * LIMITS.snapshotPieceBytes);
    expect((await reading).message).toMatchObject({ type: 'stop' });
    expect(link.worker.bufferedBytes).toBe(0);
  });

  it('is given up when its link is too slow to catch up, and others get theirs', async () => {
    const slow = join('slow');
    await turn();
    const held = sender.heldBytes;
    complete(retainedUpdates(PARAMETERS));
    expect(slow.closedFor).toBeUndefined();
    complete();
    expect(leftOut).toEqual(['slow']);
    expect(slow.closedFor).toMatch(/^its link is too slow: it did not receive a whole snapshot within \d+ rounds$/);
    expect(notes).toMatchObject([{ event: 'note', level: 'warn', remedy: expect.stringContaining('a faster link') as string }]);
    expect([held > 0, sender.heldBytes]).toEqual([true, 0]);
    expect(await received(join('other'))).toEqual([round, round]);
  });

  it('is given up when the worker stops reading while no round passes', async () => {
    const stuck = join('stuck');
    await turn();
    for (let passed = 0; passed < LIMITS.transferIdleMs; passed += 1000) {
      expect(stuck.closedFor).toBeUndefined();
      tick(1000);
    }
    expect(stuck.closedFor).toBe(`it did not read its snapshot for ${LIMITS.transferIdleMs / 1000} s`);
  });

  it('is not given up while the worker reads, however slowly', async () => {
    const slow = join('slow');
    await turn();
    for (let i = 0; i < 5; i++) {
      await slow.read(40_000);
      tick(LIMITS.transferIdleMs - 1);
    }
    expect(slow.closedFor).toBeUndefined();
  });

  it('is given up when it keeps the run still: nobody computes, and a fast worker needs a newer one', async () => {
    const oldest = join('oldest');
    complete(3);
    const older = join('older');
    complete(5);
    ready = 0;
    const fast = received(join('fast'));
    for (let passed = 0; passed < LIMITS.snapshotTurnMs; passed += 1000) {
      expect(oldest.closedFor).toBeUndefined();
      for (const slow of [oldest, older]) await slow.read(LIMITS.snapshotPieceBytes);
      tick(1000);
    }
    expect(await fast).toEqual([8, 8]);
    expect(oldest.closedFor).toBe('its link is slow, and another worker needs a newer snapshot than the one on its way');
    expect(notes).toMatchObject([{ event: 'note', remedy: expect.stringContaining('It joins again') as string }]);
    expect([older.closedFor, failures]).toEqual([undefined, []]);
  });

  it('keeps no newer one waiting at all once its turn is over, if nobody computes', async () => {
    for (const id of ['oldest', 'older']) {
      join(id);
      complete();
    }
    ready = 0;
    tick(LIMITS.snapshotTurnMs);
    expect(await received(join('fast'))).toEqual([2, 2]);
    expect(['oldest', 'older'].map((id) => links.get(id)!.closedFor === undefined)).toEqual([false, true]);
  });

  it('frees its memory and its place when the worker vanishes halfway', async () => {
    const vanishing = Array.from({ length: LIMITS.snapshotLinks }, (_, i) => join(`w${i}`));
    const next = join('next');
    await turn();
    for (const link of vanishing) await link.read(LIMITS.snapshotPieceBytes);
    for (const link of vanishing) link.channel.close('gone');
    await turn();
    expect(await received(next)).toEqual([0, 0]);
    complete();
    expect(sender.heldBytes).toBe(0);
    expect(failures).toEqual([]);
  });

  it('is held until its last byte has left', async () => {
    const link = join('a');
    await turn();
    while (link.queued.length > 0 && sender.heldBytes > 0) {
      const before = link.queued.at(-1);
      await link.read(LIMITS.snapshotPieceBytes);
      if (link.queued.at(-1) === before) break;
    }
    complete();
    expect([link.queued.length > 0, sender.heldBytes > SNAPSHOT_BYTES]).toEqual([true, true]);
    await link.read();
    await turn();
    expect(sender.heldBytes).toBe(0);
  });

  it('is followed by another when the worker asks again meanwhile, unless it has become ready', async () => {
    const [again, ready] = [join('again'), join('ready')];
    await turn();
    complete();
    for (const id of ['again', 'again', 'ready']) sender.request(id);
    sender.handle({ type: 'workerMessage', worker: workerOf('ready'), message: { type: 'ready' } as never });
    expect(await received(again)).toEqual([0, 0]);
    expect(await received(again)).toEqual([1, 1]);
    expect(await received(ready)).toEqual([0, 0]);
    await turn();
    expect([again.queued.length, ready.queued.length, taken]).toEqual([0, 0, 2]);
  });
});

describe('sending snapshots', () => {
  it('takes a tenth of the time while somebody computes: the next one waits', async () => {
    frameMs = 1;
    const startMs = now;
    await received(join('a'));
    const tookMs = now - startMs;
    expect(tookMs).toBeGreaterThan(100);
    const [next] = ['b', 'c'].map(join);
    await next.read();
    expect(next.mostBytes).toBe(0);
    tick(8 * tookMs);
    await turn();
    expect(next.mostBytes).toBe(0);
    tick(tookMs);
    expect(await received(next)).toEqual([0, 0]);
  });

  it('waits for nobody when nobody computes', async () => {
    [frameMs, ready] = [1, 0];
    expect(await received(join('a'))).toEqual([0, 0]);
    expect(await received(join('b'))).toEqual([0, 0]);
  });
});

it('no snapshot is sent of a replica that is not sound', async () => {
  sound = false;
  const link = join('a');
  await turn();
  expect([link.mostBytes, failures]).toEqual([0, []]);
});

it('a snapshot is kept for more workers of its round, but not for long', async () => {
  await received(join('a'));
  await received(join('b'));
  expect(taken).toBe(1);
  tick(LIMITS.snapshotTurnMs);
  expect(sender.heldBytes).toBe(0);
});

it('frames are sent in pieces of at most the given size', () => {
  const frames = [3, 4, 4, 9, 1].map((bytes) => new Uint8Array(bytes));
  expect(inPieces(frames, 8).map((piece) => piece.map(({ byteLength }) => byteLength))).toEqual([[3, 4], [4], [9], [1]]);
});

describe('a crowd', () => {
  /** A worker that can take its snapshot from others asks for one. */
  function ask(id: string): SlowLink {
    const link = join(id);
    sender.handle({ type: 'workerMessage', worker: workerOf(id), message: resync });
    return link;
  }
  const resync = { type: 'resync', reason: 'joining', round: 0, fromPeers: true } as const;
  const seeded = (id: string, kept: boolean, of = round): void =>
    sender.handle({ type: 'workerMessage', worker: workerOf(id), message: { type: 'seeded', round: of, kept } });
  const seeds = (...ids: string[]): SlowLink[] => {
    able = ids;
    return ids.map(connect);
  };
  async function next(link: SlowLink) {
    const reading = link.worker.receive();
    await link.read();
    return reading;
  }
  /** What has come, and what comes now, of no interest here. */
  async function told(link: SlowLink): Promise<Message[]> {
    const messages: Message[] = [];
    const reading = (async () => {
      for (;;) messages.push((await link.worker.receive()).message);
    })().catch(() => undefined);
    await link.read();
    await turn();
    link.channel.close('the test is over');
    await reading;
    return messages;
  }
  /** As many as are served at a time, and these. */
  const crowd = (...ids: string[]): SlowLink[] => {
    for (let i = 0; i < LIMITS.snapshotLinks; i++) join(`busy${i}`);
    return ids.map(ask);
  };

  it('is told which workers keep the snapshot of this round, with the digests of its pieces', async () => {
    const [seed, other] = seeds('seed', 'other');
    const [one, two] = crowd('one', 'two');
    for (const link of [seed, other]) expect((await next(link)).message).toEqual({ type: 'seed', round: 0, wanted: true });
    seeded('seed', true);
    seeded('other', false);
    for (const link of [one, two]) {
      const { message, body } = await next(link);
      expect(message).toEqual({ type: 'sources', round: 0, parametersDigest: '0'.repeat(16), workers: ['seed'] });
      const sizes = Array.from({ length: PIECES }, (_, i) => new DataView(body.buffer).getUint32(32 * i + 4));
      expect(sizes.slice(0, -1).every((bytes) => bytes === LIMITS.snapshotPieceBytes)).toBe(true);
      expect(sizes.reduce((sum, bytes) => sum + bytes)).toBe(SNAPSHOT_BYTES);
    }
    // Nobody is sent a snapshot twice.
    await links.get('busy0')!.read();
    expect(one.queued).toEqual([]);
  });

  it('is told of a later round when the order came too late for this one', async () => {
    const [seed] = seeds('seed');
    const [one] = crowd('one', 'two');
    for (const late of [0, 1]) {
      seeded('seed', false, late);
      tick();
    }
    complete();
    seeded('seed', true, 2);
    expect(one.queued).toEqual([]);
    complete();
    expect((await next(one)).message).toMatchObject({ type: 'sources', round: 2, workers: ['seed'] });
    const rounds = (await told(seed)).map((message) => (message.type === 'seed' ? [message.round, message.wanted] : []));
    expect(rounds.filter(([, wanted]) => wanted).map(([of]) => of)).toEqual([0, 1, 2]);
  });

  it('goes without a seed that has left or does not answer', async () => {
    const [, , silent] = seeds('seed', 'gone', 'silent');
    const [one] = crowd('one', 'two');
    seeded('seed', true);
    sender.handle({ type: 'workerLeft', worker: workerOf('gone'), reason: '' });
    tick(LIMITS.seedAnswerMs - 1);
    expect(one.queued).toEqual([]);
    tick(1);
    expect((await next(one)).message).toMatchObject({ type: 'sources', workers: ['seed'] });
    expect(silent.closedFor).toBeUndefined();
  });

  it('waits for the answers, and is served by the coordinator when no worker keeps a snapshot', async () => {
    const [seed] = seeds('seed');
    const [one] = crowd('one', 'two');
    for (let i = 0; i < LIMITS.snapshotLinks; i++) await links.get(`busy${i}`)!.read();
    await turn();
    expect(one.queued).toEqual([]);
    seeded('seed', false);
    tick();
    expect((await next(one)).message).toMatchObject({ type: 'snapshot' });
    expect(seed.closedFor).toBeUndefined();
  });

  it('has seeds let go of the snapshot once all that took it are ready', async () => {
    const [seed] = seeds('seed');
    const [one] = crowd('one', 'two');
    seeded('seed', true);
    await next(one);
    tick(LIMITS.seedMs);
    const ready = {
      type: 'ready',
      round: 0,
      layoutHash: '',
      parametersDigest: '',
      engine: '',
      device: '',
      charsPerSecond: 1,
    } as const;
    for (const id of ['one', 'two']) {
      expect(seed.queued).toHaveLength(1);
      sender.handle({ type: 'workerMessage', worker: workerOf(id), message: ready });
    }
    expect((await told(seed)).at(-1)).toEqual({ type: 'seed', round: 0, wanted: false });
  });

  it.each<[string, () => void]>([
    ['is parked', () => sender.forget('one')],
    ['has lost the updates that must follow', () => complete(retainedUpdates(PARAMETERS) + 1)],
  ])('does not keep seeds waiting for a worker that %s', async (_, happens) => {
    const [seed] = seeds('seed');
    const [one] = crowd('one', 'two');
    seeded('seed', true);
    await next(one);
    sender.handle({ type: 'workerLeft', worker: workerOf('two'), reason: '' });
    tick(LIMITS.seedMs);
    expect(seed.queued).toHaveLength(1);
    happens();
    tick();
    expect((await told(seed)).at(-1)).toMatchObject({ type: 'seed', wanted: false });
  });

  it('that could not take it from others is served by the coordinator', async () => {
    seeds('seed');
    const [one] = crowd('one', 'two');
    seeded('seed', true);
    await next(one);
    sender.handle({ type: 'workerMessage', worker: workerOf('one'), message: { ...resync, fromPeers: false } });
    sender.request('one');
    for (let i = 0; i < LIMITS.snapshotLinks; i++) await links.get(`busy${i}`)!.read();
    expect((await next(one)).message).toMatchObject({ type: 'snapshot' });
  });

  it('of workers that cannot check digests, or of fewer than a crowd, asks no worker to seed', async () => {
    const [seed] = seeds('seed');
    for (let i = 0; i < LIMITS.snapshotLinks; i++) join(`busy${i}`);
    join('one');
    join('two');
    ask('three');
    tick();
    expect(seed.queued).toEqual([]);
    ask('four');
    expect(seed.queued).toHaveLength(1);
  });
});

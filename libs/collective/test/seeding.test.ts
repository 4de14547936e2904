/** Workers take pieces of a snapshot from others that keep one, over the links on which those sum for them. */
import { setMaxListeners } from 'node:events';
import { createChannel, LIMITS, type Channel, type Message } from '@troupe/protocol';
import { createMemoryPair } from '@troupe/transport/memory';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SnapshotSource } from '../src/index.js';
import { LinkReader, type FromReducer } from '../src/star/link-reader.js';
import { Seed } from '../src/star/seed.js';
import { aMoment, expected, Network } from './network.js';
import { PeerRounds } from './peer-rounds.js';
import { soon } from './rounds.js';

// As in the processes that run services.
setMaxListeners(0);

const never = new AbortController().signal;
const BYTES = Uint8Array.from({ length: 3 * LIMITS.snapshotPieceBytes }, (_, i) => i % 251);
const piece = (offset: number, bytes = 1000, round = 5) => ({ round, offset, bytes });

describe('a worker that keeps a snapshot', () => {
  let network: Network;
  let run: PeerRounds;
  let source: SnapshotSource;

  beforeEach(async () => {
    network = new Network(0);
    run = new PeerRounds(network);
    await run.beginListening();
    await run.first(0, 1, 2);
    run.workers[0].member.keep({ round: 5, bytes: BYTES });
    source = (await run.workers[1].member.source('w0', never))!;
  });
  afterEach(async () => {
    expect(network.failures).toEqual([]);
    await network.stop();
  });

  it('sends each piece that is asked for, also several at a time', async () => {
    const sent = await Promise.all([7, LIMITS.snapshotPieceBytes, 0].map((offset) => source.fetch(piece(offset), never)));
    expect(sent).toEqual([7, LIMITS.snapshotPieceBytes, 0].map((offset) => BYTES.slice(offset, offset + 1000)));
  });

  it('sends nothing of another round, or beyond the end, or when it keeps it no longer', async () => {
    expect(await source.fetch(piece(0, 1000, 4), never)).toBeUndefined();
    expect(await source.fetch(piece(BYTES.length - 10), never)).toBeUndefined();
    expect(await source.fetch(piece(2 ** 40), never)).toBeUndefined();
    run.workers[0].member.keep(undefined);
    expect(await source.fetch(piece(0), never)).toBeUndefined();
  });

  it('sums and sends updates meanwhile, with the same bits', async () => {
    const updates = await expected(4);
    for (const round of [1, 2, 3]) {
      const fetching = Promise.all([0, 1, 2].map((i) => source.fetch(piece(i * LIMITS.snapshotPieceBytes), never)));
      expect(await run.round(round)).toEqual(updates[round]);
      expect((await fetching).every((bytes) => bytes?.byteLength === 1000)).toBe(true);
    }
  });

  it('sends pieces between two rounds', async () => {
    await run.round(1);
    const sent = await Promise.all([0, 1, 2, 3].map((i) => source.fetch(piece(i * 1000), never)));
    expect(sent).toEqual([0, 1, 2, 3].map((i) => BYTES.slice(i * 1000, (i + 1) * 1000)));
  });

  it('that is lost, or has no link to the worker, sends nothing', async () => {
    run.killPeer(0);
    await aMoment();
    expect(await source.fetch(piece(0), never)).toBeUndefined();
    expect(await run.workers[1].member.source('nobody', never)).toBeUndefined();
  });
});

it('a worker without links to others has no sources, and may keep a snapshot in vain', async () => {
  const network = new Network(0);
  const run = new PeerRounds(network);
  await run.beginListening([]);
  const [one, other] = run.workers;
  one.member.keep({ round: 5, bytes: BYTES });
  expect(await other.member.source('w0', never)).toBeUndefined();
  await network.stop();
});

it('the wait for a link ends when it is no longer needed', async () => {
  const network = new Network(0);
  const run = new PeerRounds(network);
  network.blocked.add('w1 of w0');
  await run.beginListening([0]);
  await run.first(0);
  const over = new AbortController();
  const waiting = run.workers[1].member.source('w0', over.signal);
  over.abort();
  expect(await waiting).toBeUndefined();
  await network.stop();
});

it('a seed sends one worker no more than its due', async () => {
  const snapshot = { round: 5, bytes: new Uint8Array(1000) };
  const sent: number[] = [];
  const open = () => ({
    remote: 'w1',
    send: (message: Message) => void sent.push((message as { bytes: number }).bytes),
    drained: async () => undefined,
  });
  const seed = new Seed(() => snapshot, soon);
  // Also over several links.
  for (let i = 0; i < 2 * LIMITS.seedShares + 1; i++) await seed.send('w1', open(), { type: 'wantPiece', ...piece(0, 500) });
  expect(sent).toEqual([...Array<number>(2 * LIMITS.seedShares).fill(500), 0]);
  await seed.send('w2', open(), { type: 'wantPiece', ...piece(0, 500) });
  expect(sent.at(-1)).toBe(500);
});

it('a seed gives up a worker that does not read', async () => {
  const over = new AbortController();
  const seed = new Seed(
    () => undefined,
    () => over.signal,
  );
  const drained = (_: number, signal?: AbortSignal): Promise<void> =>
    new Promise((_resolve, reject) => signal!.addEventListener('abort', () => reject(new Error('aborted')), { once: true }));
  const sending = seed.send(
    'w1',
    { remote: 'w1', send: () => expect.unreachable(), drained },
    { type: 'wantPiece', ...piece(0) },
  );
  over.abort();
  await expect(sending).rejects.toMatchObject({ name: 'ProtocolError', code: 'limit_exceeded' });
});

describe('the link to a reducer', () => {
  const RANGE = { type: 'updateRange', round: 3, from: 0, to: 1 } as const;

  function open() {
    const [near, far] = createMemoryPair();
    const channel = createChannel<FromReducer>(near, {
      accepts: ['joined', 'refuse', 'updateRange', 'piece'],
      bodyBytes: (message) => ('bytes' in message ? message.bytes : message.type === 'updateRange' ? 4 : 0),
    });
    const reducer = createChannel(far, { accepts: ['wantPiece'], bodyBytes: () => 0 });
    return { reader: new LinkReader(channel), reducer, channel };
  }
  const send = (reducer: Channel<'wantPiece'>, offset: number): void =>
    reducer.send({ type: 'piece', ...piece(offset, 2) }, Uint8Array.of(offset, 1));

  it('carries pieces before, between and after the ranges of updates', async () => {
    const { reader, reducer } = open();
    const pieces = [1, 2, 3].map((offset) => reader.piece(piece(offset, 2), never));
    send(reducer, 2);
    reducer.send(RANGE, new Uint8Array(4));
    send(reducer, 1);
    reducer.send({ ...RANGE, round: 4 }, new Uint8Array(4));
    send(reducer, 3);
    const bodies: number[] = [];
    for (const round of [3, 4]) {
      const { message, body } = await reader.receive();
      expect(message).toMatchObject({ round });
      bodies.push((await body.next())!.byteLength);
    }
    const last = reader.receive();
    expect(await Promise.all(pieces)).toEqual([Uint8Array.of(1, 1), Uint8Array.of(2, 1), Uint8Array.of(3, 1)]);
    expect(bodies).toEqual([4, 4]);
    reducer.close('over');
    await expect(last).rejects.toMatchObject({ name: 'TransportError' });
  });

  it('carries pieces when a range is read, without another range behind it', async () => {
    const { reader, reducer } = open();
    reducer.send(RANGE, new Uint8Array(4));
    const { body } = await reader.receive();
    const wanted = reader.piece(piece(1, 2), never);
    send(reducer, 1);
    await body.next();
    expect(await wanted).toEqual(Uint8Array.of(1, 1));
    // Also when its reader stops in the middle.
    reducer.send({ ...RANGE, round: 4 }, new Uint8Array(4));
    await reader.receive();
    const another = reader.piece(piece(2, 2), never);
    send(reducer, 2);
    reader.done();
    expect(await another).toEqual(Uint8Array.of(2, 1));
  });

  it('carries pieces past a range that nobody has begun to read, and keeps the newest of those', async () => {
    const { reader, reducer } = open();
    reducer.send(RANGE, new Uint8Array(4));
    await aMoment();
    const wanted = [1, 2].map((offset) => reader.piece(piece(offset, 2), never));
    send(reducer, 1);
    reducer.send({ ...RANGE, round: 4 }, Uint8Array.of(4, 4, 4, 4));
    send(reducer, 2);
    expect(await Promise.all(wanted)).toEqual([Uint8Array.of(1, 1), Uint8Array.of(2, 1)]);
    const { message, body } = await reader.receive();
    expect(message).toMatchObject({ round: 4 });
    expect(await body.next()).toEqual(Uint8Array.of(4, 4, 4, 4));
    expect(await body.next()).toBeUndefined();
    reducer.send({ ...RANGE, round: 5 }, new Uint8Array(4));
    expect((await reader.receive()).message).toMatchObject({ round: 5 });
  });

  it('gives no piece when it ends while a range waits for its reader', async () => {
    const { reader, reducer } = open();
    reducer.send(RANGE, new Uint8Array(4));
    await reader.receive();
    const wanted = reader.piece(piece(1, 2), never);
    reducer.close('over');
    expect(await wanted).toBeUndefined();
  });

  it('skips what nobody has read of a range', async () => {
    const { reader, reducer } = open();
    reducer.send(RANGE, new Uint8Array(4));
    reducer.send({ ...RANGE, round: 4 }, new Uint8Array(4));
    await reader.receive();
    expect((await reader.receive()).message).toMatchObject({ round: 4 });
  });

  it('keeps a range whose reader gave up its wait', async () => {
    const { reader, reducer } = open();
    const over = new AbortController();
    const waiting = reader.receive(over.signal);
    over.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'aborted' });
    reducer.send(RANGE, new Uint8Array(4));
    await aMoment();
    const { message, body } = await reader.receive();
    expect(message).toMatchObject({ round: 3 });
    expect((await body.next())!.byteLength).toBe(4);
  });

  it('drops pieces that nobody wants, and gives none when it ends or its worker does not wait any longer', async () => {
    const { reader, reducer, channel } = open();
    const over = new AbortController();
    const [unwanted, wanted] = [reader.piece(piece(1, 2), over.signal), reader.piece(piece(2, 2), never)];
    over.abort();
    expect(await unwanted).toBeUndefined();
    send(reducer, 1);
    channel.close('over');
    expect(await wanted).toBeUndefined();
    await aMoment();
    expect(await reader.piece(piece(3, 2), never)).toBeUndefined();
    await expect(reader.receive()).rejects.toMatchObject({ name: 'TransportError' });
  });

  it('ends when the reducer breaks the protocol', async () => {
    const { reader, reducer } = open();
    const wanted = reader.piece(piece(1, 2), never);
    reducer.send({ type: 'bye', reason: '' });
    expect(await wanted).toBeUndefined();
    await expect(reader.receive()).rejects.toMatchObject({ name: 'ProtocolError' });
  });
});

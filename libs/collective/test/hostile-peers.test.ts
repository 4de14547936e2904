/** Workers that sum for others and do it wrongly, and workers that abuse those: the round completes with the bits of the star. */
import { setMaxListeners } from 'node:events';
import { createChannel, LIMITS, openTransfer, PROTOCOL_VERSION, type Message } from '@troupe/protocol';
import type { Connection } from '@troupe/transport';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { aMoment, ALL, expected, isMessage, Network, TENSORS } from './network.js';
import { LAYOUT, PeerRounds, RudePeer, WHOLE } from './peer-rounds.js';
import { contribution, soon, untilUpdate } from './rounds.js';

// As in the processes that run services.
setMaxListeners(0);

let network: Network;
let run: PeerRounds;

beforeEach(() => {
  network = new Network(0);
  run = new PeerRounds(network);
});
afterEach(() => network.stop());

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const warnings = (): string[] => network.notes.flatMap(({ level, text }) => (level === 'warn' ? [text] : []));

/** A link may have ended when what was held back is sent. */
function ifOpen(send: () => void): void {
  try {
    send();
  } catch (error) {
    expect(error).toMatchObject({ name: 'TransportError' });
  }
}

/** Round 1 completes, and round 2 without the peer. */
async function expectComplete(): Promise<void> {
  const updates = await expected(3);
  expect(await run.updates(1)).toEqual(updates[1]);
  expect(await run.round(2)).toEqual(updates[2]);
}

/** What the place sends to a client is changed by `act`; undefined: it is lost. */
function tamper(place: string, client: string, act: (frame: Uint8Array) => Uint8Array | undefined): void {
  for (const link of network.places.get(place)!.links) {
    if (link.remote !== client) continue;
    const send = link.send.bind(link);
    link.send = (frame) => {
      const changed = act(frame);
      if (changed) send(changed);
    };
  }
}

describe('a peer loses its range when it', () => {
  const SQUARES = new Uint8Array(Float64Array.of(1, 2, 3, 4).buffer);
  const NONSENSE: readonly (readonly [what: string, message: Message, body: Uint8Array])[] = [
    ['claims a range that is not its own', { type: 'measured', round: 1, from: 1, to: 3 }, SQUARES.subarray(0, 16)],
    ['names a range that does not exist', { type: 'measured', round: 1, from: 2, to: 9 }, SQUARES],
    [
      'sends squares that no sum has',
      { type: 'measured', round: 1, ...WHOLE },
      new Uint8Array(Float64Array.of(1, -1, 0, 0).buffer),
    ],
    ['sends a message of a worker', { type: 'linked', reducers: [] }, new Uint8Array(0)],
    ['measures a sum that is not complete', { type: 'measured', round: 1, ...WHOLE }, SQUARES],
    [
      'sends its part of an update before the norm is known',
      { type: 'updateRange', round: 1, ...WHOLE },
      new Uint8Array(LAYOUT.leavingBytes(WHOLE)),
    ],
  ];

  it.each(NONSENSE)('%s', async (_, message, body) => {
    const rude = await RudePeer.begin(run);
    rude.send(message, body);
    rude.contribute();
    await expectComplete();
  });

  it.each([NaN, 3, Infinity])('sends an update with the scale %d, which would end the run', async (scale) => {
    const rude = await RudePeer.begin(run);
    rude.contribute();
    for (const _ of ALL) await rude.hold();
    rude.measure();
    await rude.until('finish');
    rude.update(scale);
    const update = await untilUpdate(run.host);
    // The norm is its own: only an audit can tell that it lies, and nobody applies what cannot be applied.
    expect([update.round, update.parts.length]).toEqual([1, 4]);
  });

  it('calls every gradient defective: the service looks for itself', async () => {
    const rude = await RudePeer.begin(run);
    rude.contribute();
    await rude.hold({ defect: 'NaN' });
    expect(await Promise.all(ALL.map((k) => run.workers[k].until('result')))).toMatchObject(
      ALL.map(() => ({ result: 'counted' })),
    );
    await expectComplete();
  });

  it('never answers', async () => {
    const rude = await RudePeer.begin(run);
    rude.contribute();
    await expectComplete();
    expect(warnings()).toContainEqual(expect.stringContaining(`owed an answer for ${LIMITS.reducerStallMs / 1000} s`));
  });

  it('talks, and does nothing that it owes', async () => {
    const rude = await RudePeer.begin(run);
    rude.contribute();
    let n = 0;
    const timer = setInterval(
      () => rude.send({ type: 'held', round: 1, leaseId: `x${n++}`, workerId: 'w0', defect: '', serviceMs: 0 }),
      20,
    );
    await expectComplete();
    clearInterval(timer);
  });

  it('begins to send what it owes, and goes no further', async () => {
    const rude = await RudePeer.begin(run);
    rude.contribute();
    for (const _ of ALL) await rude.hold();
    rude.measure();
    await rude.until('finish');
    const transfer = openTransfer({ type: 'updateRange', round: 1, ...WHOLE }, LAYOUT.leavingBytes(WHOLE));
    rude.channel.sendEncoded([transfer.head, transfer.chunk(1).frame]);
    expect((await untilUpdate(run.host)).round).toBe(1);
  });
});

it('what a peer says of its time is bounded', async () => {
  const rude = await RudePeer.begin(run);
  run.contribute(1, 0);
  await rude.hold({ serviceMs: 1e12 });
  const event = await run.host.receive(soon());
  expect(event).toMatchObject({ kind: 'counted' });
  expect(event.kind === 'counted' && event.serviceMs).toBeLessThanOrEqual(1_000);
});

describe('an honest peer keeps its place', () => {
  it('when a worker claims a link and sends no range', async () => {
    await run.beginListening([0, 1]);
    await run.first(0, 1);
    await aMoment();
    run.open(1);
    await aMoment();
    const rude = createChannel(await network.connect('w2', 'service'), {
      accepts: ['joined', 'refuse', 'contributionResult', 'subscription', 'partition', 'reducer', 'update', 'updateRange'],
      bodyBytes: (message: Message) => (message.type === 'updateRange' ? LAYOUT.leavingBytes(message) : 0),
    });
    rude.send({ type: 'join', versions: [PROTOCOL_VERSION], runId: 'run-1', workerId: 'w2', ticket: 'ticket 2' });
    await rude.receive(soon());
    rude.send({ type: 'linked', reducers: ['w0', 'w1'] });
    const { gradient: _gradient, endStates, ...meta } = contribution(2, { round: 1 });
    rude.send({ type: 'contribution', runId: 'run-1', ...meta }, new Uint8Array(endStates.buffer));
    await sleep(1_500);
    expect(warnings()).toEqual([]);
  });

  it('when a worker sends slowly', async () => {
    let isSlow = false;
    network.onLink = (place, client, link) =>
      place === 'of w0' && client === 'w2'
        ? Object.assign(Object.create(link) as Connection, {
            async receive(signal?: AbortSignal) {
              const frame = await link.receive(signal);
              if (isSlow) await sleep(600);
              return frame;
            },
          })
        : link;
    await run.beginListening([0, 1]);
    await run.first(0, 1);
    await aMoment();
    isSlow = true;
    run.open(1);
    for (const k of ALL) run.contribute(1, k);
    await sleep(1_100);
    expect(warnings()).toEqual([]);
  });

  it('when its link from the service is slow, and contributions count', async () => {
    await run.beginListening([0, 1]);
    await run.first(0, 1);
    await aMoment();
    const offer = [...network.places.get('service')!.links].filter(({ remote }) => remote === 'w0').at(-1)!;
    const send = offer.send.bind(offer);
    offer.send = (frame) => void setTimeout(() => ifOpen(() => send(frame)), 600);
    run.open(1);
    for (const k of ALL) run.contribute(1, k);
    const results = await Promise.all(ALL.map((k) => run.workers[k].until('result')));
    expect(results).toMatchObject(ALL.map(() => ({ result: 'counted' })));
  });
});

describe('a worker keeps its session', () => {
  it('when it links to sixty-four reducers and a peer', async () => {
    await network.stop();
    network = new Network(64);
    run = new PeerRounds(network);
    await run.beginListening([0]);
    await aMoment();
    run.use(0);
    await aMoment();
    expect(await run.round(0)).toBeDefined();
  });

  it('when one group of peers follows another', async () => {
    await run.beginListening([]);
    for (let group = 0; group < 6; group++) {
      const names = Array.from({ length: 16 }, (_, i) => 100 + group * 16 + i);
      for (const k of names) await run.joinAs(k, true);
      await aMoment();
      run.use(...names);
      await sleep(50);
    }
    expect(await run.round(0)).toEqual((await expected(1))[0]);
  });

  it('when its snapshot is newer than what it has heard of the updates', async () => {
    let isHeld = false;
    let release = (): void => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    let links = 0;
    network.onLink = (place, client, link) => {
      if (place !== 'service' || client !== 'w2' || links++ > 0) return link;
      let sent: Promise<void> | undefined;
      return Object.assign(Object.create(link) as Connection, {
        send(frame: Uint8Array) {
          if (!isHeld) return link.send(frame);
          sent = (sent ?? gate).then(() => ifOpen(() => link.send(frame)));
        },
      });
    };
    await run.beginListening([0, 1]);
    await aMoment();
    run.use(0, 1);
    await aMoment();
    const updates = await expected(2);
    run.open(0);
    for (const k of ALL) run.contribute(0, k);
    isHeld = true;
    expect((await untilUpdate(run.host)).round).toBe(0);
    // It has its snapshot and its lease over the control link; the update and the division are still on their way.
    run.open(1);
    for (const k of ALL) run.contribute(1, k);
    await aMoment();
    release();
    expect((await untilUpdate(run.host)).parts).toEqual(updates[1]);
    expect(warnings()).toEqual([]);
  });

  it('when a peer sends it bad bytes, and the service good ones', async () => {
    await run.beginListening([0, 1]);
    const updates = await expected(3);
    await run.first(0, 1);
    await aMoment();
    tamper('of w0', 'w1', (frame) => (frame[0] === 2 ? frame.slice().fill(255, 16) : frame));
    run.open(1);
    for (const k of ALL) run.contribute(1, k);
    expect(await run.updates(1)).toEqual(updates[1]);
    expect(await run.round(2)).toEqual(updates[2]);
  });

  it('when a peer sends it half of its part and then nothing', async () => {
    await run.beginListening([0, 1]);
    const updates = await expected(2);
    await run.first(0, 1);
    await aMoment();
    tamper('of w0', 'w1', (frame) => (frame[0] === 2 ? undefined : frame));
    run.open(1);
    for (const k of ALL) run.contribute(1, k);
    expect(await run.updates(1)).toEqual(updates[1]);
  });

  it('and calls a peer that never delivers less and less often', async () => {
    await run.beginListening([0, 1]);
    await run.first(0, 1);
    await aMoment();
    run.waits.length = 0;
    for (let round = 1; round < 5; round++) {
      tamper('of w0', 'w2', (frame) => (isMessage(frame, 'joined') ? frame : undefined));
      run.open(round);
      for (const k of ALL) run.contribute(round, k);
      await run.updates(round);
      await sleep(600);
    }
    expect(run.waits).toEqual(expect.arrayContaining([1_000, 2_000, 4_000]));
  });
});

it('a peer that sends a worker another sum than the service is found, and sums no longer', async () => {
  await run.beginListening([0, 1]);
  await run.first(0, 1);
  await aMoment();
  // The lowest bit of a value: nothing is wrong with it but the sum.
  tamper('of w0', 'w2', (frame) => {
    if (frame[0] !== 2) return frame;
    const changed = frame.slice();
    changed[16 + 8] ^= 1;
    return changed;
  });
  run.open(1);
  for (const k of ALL) run.contribute(1, k);
  await run.updates(1, [0, 1]);
  await run.workers[2].until('update');
  run.open(2);
  run.contribute(2, 2, { parametersDigest: 'ffffffffffffffff' });
  expect(await run.workers[2].until('result')).toMatchObject({ result: 'replica_diverged' });
  await aMoment();
  expect(warnings()).toContainEqual(
    expect.stringMatching(/worker w0, which sums for others, is lost: .*it sent worker w2 another part of the update of round 1/),
  );
  expect(warnings()).not.toContainEqual(expect.stringContaining('worker w1, which sums'));
});

it('a worker that is wanted again gets the part of a peer that is about to be replaced', async () => {
  await run.beginListening([0, 1]);
  await run.first(0, 1);
  await aMoment();
  run.open(1);
  run.host.subscribe('w2', false);
  await aMoment();
  run.host.usePeers({ candidates: [], reducers: [] });
  run.host.subscribe('w2', true);
  await aMoment();
  for (const k of ALL) run.contribute(1, k);
  await untilUpdate(run.host);
  run.waits.length = 0;
  await run.workers[2].until('update');
  // No wait for a peer had to end.
  expect(run.waits.filter((ms) => ms < LIMITS.reducerMs)).toEqual([]);
});

describe('offers and introductions', () => {
  it('disturb nobody to whom the worker was not introduced', async () => {
    await run.beginListening([]);
    let messages = 0;
    network.onSent = (from, client, frame) => {
      if (from === 'service' && client !== 'w9' && isMessage(frame, 'reducer')) messages++;
    };
    const rude = await RudePeer.connect(run);
    await rude.until('assign');
    rude.send({ type: 'assigned', version: PROTOCOL_VERSION });
    await aMoment();
    rude.channel.close('gone');
    await aMoment();
    expect(messages).toBe(0);
  });

  it('are refused again at once', async () => {
    await run.beginListening([]);
    await (await RudePeer.connect(run)).until('assign');
    const rude = await RudePeer.connect(run);
    expect(await rude.until('refuse')).toMatchObject({ code: 'limit_exceeded', remedy: expect.stringMatching(/\w/) });
  });

  it('that are unanswered end when the worker offers itself again, and when it is dismissed', async () => {
    await run.beginListening([]);
    const first = await RudePeer.connect(run);
    await first.until('assign');
    // Timers may end a little early.
    await sleep(LIMITS.introduceMs + 50);
    const second = await RudePeer.connect(run);
    await second.until('assign');
    expect(await first.isClosed).toBe(true);
    expect(await second.isClosed).toBe(false);
    run.host.dismiss('w9', 'banned');
    expect(await second.isClosed).toBe(true);
    second.send({ type: 'assigned', version: PROTOCOL_VERSION });
    await aMoment();
    expect(network.notes.filter(({ text }) => text.includes('w9') && text.includes('is here'))).toEqual([]);
  });

  it('learn of a worker that is dismissed also when they sum nothing now: they may again', async () => {
    const rude = await RudePeer.begin(run);
    run.host.usePeers({ candidates: [], reducers: [] });
    rude.contribute();
    await aMoment();
    run.host.dismiss('w1', 'banned');
    expect(await rude.until('dismiss')).toMatchObject({ workerId: 'w1', reason: 'banned' });
  });

  it('are limited, however often a worker asks', async () => {
    await run.beginListening([0]);
    await aMoment();
    run.use(0);
    run.host.admit('w9', 'ticket 9');
    const rude = createChannel(await network.connect('w9', 'service'), {
      accepts: ['joined', 'reducer', 'refuse'],
      bodyBytes: () => 0,
    });
    rude.send({ type: 'join', versions: [PROTOCOL_VERSION], runId: 'run-1', workerId: 'w9', ticket: 'ticket 9' });
    await aMoment();
    let orders = 0;
    network.onSent = (_from, client, frame) => {
      if (client === 'w0' && (isMessage(frame, 'admit') || isMessage(frame, 'subscribe'))) orders++;
    };
    for (let i = 0; i < 1_000; i++) rude.send({ type: 'introduce', reducer: 'w0' });
    await aMoment();
    expect(orders).toBeLessThanOrEqual(2);
  });

  it('are reported once each, and links once a round', async () => {
    await run.beginListening([]);
    const reading = (async () => {
      for (;;) await run.host.receive();
    })();
    reading.catch(() => undefined);
    for (let k = 100; k < 140; k++) await run.joinAs(k, true);
    await aMoment();
    expect(run.reports).toBe(40);
    expect([...run.peers.values()].every(({ offered }) => offered)).toBe(true);
  });

  it('need the ticket of the worker; and a peer follows no coordinator and no other service', async () => {
    await run.beginListening([0]);
    const thief = createChannel(await network.connect('w1', 'service'), { accepts: ['refuse', 'assign'], bodyBytes: () => 0 });
    thief.send({
      type: 'offer',
      versions: [PROTOCOL_VERSION],
      runId: 'run-1',
      workerId: 'w1',
      addresses: ['x'],
      ticket: 'ticket 0',
    });
    expect((await thief.receive(soon())).message).toMatchObject({ type: 'refuse', code: 'wrong_token' });
    const { codec, tensorSizes } = TENSORS;
    const model = { streams: 1, codec, tensorSizes: [...tensorSizes] };
    const usurper = createChannel(await network.connect('x', 'of w0'), { accepts: ['refuse', 'assigned'], bodyBytes: () => 0 });
    usurper.send({ type: 'assign', versions: [PROTOCOL_VERSION], token: '', runId: 'r', owner: 'o', ...model });
    expect((await usurper.receive(soon())).message).toMatchObject({ type: 'refuse', code: 'wrong_token' });
  });
});

describe('an update that comes before it is due', () => {
  it('is not used when its peer is lost', async () => {
    const rude = await RudePeer.begin(run);
    rude.update(1);
    await aMoment();
    rude.contribute();
    await expectComplete();
  });

  it('does not suspend the deadline after which the round begins again', async () => {
    const rude = await RudePeer.begin(run);
    run.contribute(1, 2);
    await rude.hold();
    expect(await run.workers[2].until('result')).toMatchObject({ result: 'counted' });
    rude.update(1);
    run.workers[2].member.close('gone');
    await aMoment();
    for (const k of [0, 1]) run.contribute(1, k);
    const ended = async (): Promise<never> => {
      for (;;) await run.host.receive(soon());
    };
    await expect(ended()).rejects.toMatchObject({ code: 'closed', message: expect.stringContaining('begins again') });
  });
});

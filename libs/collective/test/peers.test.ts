/** Peers sum for each other and give the same bits as the star, even when one of them is lost. */
import { setMaxListeners } from 'node:events';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { aMoment, ALL, expected, isMessage, Network } from './network.js';
import { PeerRounds } from './peer-rounds.js';
import { soon } from './rounds.js';

// As in the processes that run services.
setMaxListeners(0);

let network: Network;
let run: PeerRounds;

beforeEach(() => {
  network = new Network(0);
  run = new PeerRounds(network);
});
afterEach(async () => {
  expect(network.failures).toEqual([]);
  await network.stop();
});

/** Names of the places that send an update to this client from now on. */
function sendersTo(client: string): Set<string> {
  const senders = new Set<string>();
  network.onSent = (from, to, frame) => {
    if (to === client && isMessage(frame, 'updateRange')) senders.add(from);
  };
  return senders;
}

it.each([[[0]], [[0, 1]], [[0, 1, 2]]])('workers %j sum for all, with the bits of the star', async (peers) => {
  await run.beginListening(peers);
  const updates = await expected(4);
  await run.first(...peers);
  await aMoment();
  const senders = sendersTo('w1');
  for (const round of [1, 2, 3]) expect(await run.round(round)).toEqual(updates[round]);
  expect(senders).toEqual(new Set(peers.map((k) => `of w${k}`)));
});

it('the service tells who offers to sum, and how many reach it', async () => {
  network.blocked.add('w2 of w0');
  await run.beginListening([0, 1]);
  await run.first(0, 1);
  await aMoment();
  run.open(1);
  for (const k of ALL) run.contribute(1, k);
  await run.updates(1);
  expect(run.peers.get('w0')).toMatchObject({ offered: true, members: 3, linked: 2 });
  expect(run.peers.get('w1')).toMatchObject({ offered: true, members: 3, linked: 3 });
  expect(run.peers.has('w2')).toBe(false);
});

it('a worker that cannot reach a peer goes through the service', async () => {
  network.blocked.add('w2 of w0');
  await run.beginListening();
  const updates = await expected(3);
  await run.first(0, 1, 2);
  const senders = sendersTo('w2');
  for (const round of [1, 2]) expect(await run.round(round)).toEqual(updates[round]);
  expect(senders).toEqual(new Set(['service', 'of w1', 'of w2']));
});

it('the ranges follow the workers that are chosen, from one round to the next', async () => {
  await run.beginListening();
  const updates = await expected(6);
  await run.first(0, 1, 2);
  const choices = [[0, 1], [2], [], [0, 1, 2], [1, 2]];
  for (const [i, choice] of choices.entries()) {
    run.use(...choice);
    expect(await run.round(i + 1)).toEqual(updates[i + 1]);
  }
});

it('workers may send their contribution to the next round before it opens, however it is divided', async () => {
  await run.beginListening();
  const updates = await expected(4);
  await run.first(0, 1, 2);
  for (const [round, choice] of [[0, 1], [2, 1, 0], []].entries()) {
    run.use(...choice);
    for (const k of ALL) run.contribute(round + 1, k);
    await aMoment();
    run.open(round + 1);
    expect(await run.updates(round + 1)).toEqual(updates[round + 1]);
  }
});

describe('a peer that is lost', () => {
  it.each(ALL)('with its worker %i: the round completes, and later ones without it', async (lost) => {
    await run.beginListening();
    const updates = await expected(3);
    await run.first(0, 1, 2);
    run.open(1);
    for (const k of ALL) run.contribute(1, k);
    run.killPeer(lost);
    expect(await run.updates(1)).toEqual(updates[1]);
    expect(await run.round(2)).toEqual(updates[2]);
    expect(network.notes).toContainEqual(expect.objectContaining({ level: 'warn', text: expect.stringContaining(`w${lost}`) }));
  });

  it('and leaves for good after it contributed makes the round begin again', async () => {
    await run.beginListening();
    await run.first(0, 1, 2);
    run.open(1);
    run.contribute(1, 0);
    expect(await run.workers[0].until('result')).toMatchObject({ result: 'counted' });
    run.killPeer(0);
    run.workers[0].member.close('gone');
    const ended = async (): Promise<never> => {
      for (;;) await run.host.receive(soon());
    };
    await expect(ended()).rejects.toMatchObject({ code: 'closed', message: expect.stringContaining('begins again') });
  });

  it('between rounds is replaced by the service in the next', async () => {
    await run.beginListening();
    const updates = await expected(3);
    await run.first(0, 1, 2);
    run.killPeer(1);
    await aMoment();
    for (const round of [1, 2]) expect(await run.round(round)).toEqual(updates[round]);
  });

  it('is used again when it offers itself again', async () => {
    await run.beginListening();
    const updates = await expected(4);
    await run.first(0, 1, 2);
    run.breakOffer(1);
    expect(await run.round(1)).toEqual(updates[1]);
    await vi.waitUntil(
      () => network.notes.filter(({ text }) => text.includes('w1') && text.endsWith('is here')).length > 1,
      5_000,
    );
    await aMoment();
    expect(await run.round(2)).toEqual(updates[2]);
    await aMoment();
    const senders = sendersTo('w0');
    expect(await run.round(3)).toEqual(updates[3]);
    expect(senders).toEqual(new Set(['of w0', 'of w1', 'of w2']));
  });
});

import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { createRunHistory, type RunHistory, type RunView } from '@troupe/run';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiFailure } from '../../src/server/http.js';
import type { Admission } from '../../src/web/auth.js';
import { createLiveLink, type LiveLink } from '../../src/web/live.js';
import { capTable, createCaps, type CapTable } from '../../src/server/caps.js';
import { createTraffic, type Traffic } from '../../src/server/traffic.js';
import { createForwarded } from '../../src/server/forwarded.js';
import { openViewer, type Viewer } from '../running.js';
import { LIMITS } from '@troupe/protocol';

let server: Server;
let history: RunHistory;
let live: LiveLink;
let address: string;
let failures: Error[];
let admit: () => Admission;
let traffic: Traffic;

beforeEach(() => open({ links: 40, frames: 50 }));

async function open(table: Partial<CapTable>): Promise<void> {
  history = createRunHistory();
  failures = [];
  admit = () => ({ access: ['read'], isSigned: false, release: () => undefined });
  traffic = createTraffic(createCaps({ ...capTable(1), ...table }), () => 0);
  const view = { runId: 'r', workers: [] } as unknown as RunView;
  live = createLiveLink({
    history,
    admit: () => admit(),
    traffic,
    view: () => view,
    nowMs: () => performance.now(),
    forwarded: createForwarded(1),
    onFailed: (error) => failures.push(error),
  });
  server = createServer();
  server.on('upgrade', (request, socket, head) => live.upgrade(request, socket, head));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  address = `ws://127.0.0.1:${(server.address() as AddressInfo).port}/live`;
}

afterEach(close);

function close(): void {
  live.close('over');
  server.closeAllConnections();
  server.close();
  expect(failures).toEqual([]);
}

function completeRounds(count: number): void {
  for (let i = 0; i < count; i++) {
    const round = history.lastRound + 1;
    const figures = { trainLoss: 2, gradientNorm: 1, clipScale: 1, learningRate: 1, charsPerSecond: 1, workers: 1 };
    history.addRound({ round, ...figures, roundMs: 1, computeMs: 1, transferMs: 0, reduceMs: 0, waitingMs: 0 });
  }
}

function say(text: string): void {
  history.addEvent({ at: 0, round: history.lastRound, kind: 'note', level: 'info', text });
}

const connections = (): Promise<number> =>
  new Promise((resolve, reject) => server.getConnections((error, count) => (error ? reject(error) : resolve(count))));

describe('an unauthenticated viewer', () => {
  it('is one of at most 20 from one address', async () => {
    const viewers = Array.from({ length: 25 }, () => openViewer(address, undefined));
    const entered = await Promise.all(
      viewers.map(({ message }) =>
        message(({ type }) => type === 'hello').then(
          () => true,
          () => false,
        ),
      ),
    );
    expect(entered.filter(Boolean)).toHaveLength(20);
    const later = openViewer(address, {});
    await later.message(({ type }) => type === 'hello');
    for (const { socket } of [...viewers, later]) socket.terminate();
  });

  it('is distinguished from others behind the same proxy', async () => {
    const from = (client: number) => ({ 'x-forwarded-for': `203.0.113.${client}` });
    const viewers = Array.from({ length: 30 }, (_, i) => openViewer(address, undefined, from(i % 2)));
    for (const { message } of viewers) await message(({ type }) => type === 'hello');
    for (const { socket } of viewers) socket.terminate();
  });

  it('is disconnected if it does not close its side after a refusal', async () => {
    admit = () => {
      throw new ApiFailure(401, 'wrong_token', 'no', 'Another.');
    };
    const { socket } = openViewer(address, {});
    await new Promise((resolve) => socket.once('open', resolve));
    socket.pause();
    while ((await connections()) > 0) await delay(20);
    socket.terminate();
  });

  it('is disconnected after an unexpected error', async () => {
    admit = () => {
      throw new Error('unexpected');
    };
    expect(await openViewer(address, undefined).closed).toBe(1006);
    expect(failures.map(({ message }) => message)).toEqual(['unexpected']);
    failures = [];
  });
});

describe('the places of viewers', () => {
  const enter = async (count: number, addressOf: (i: number) => string): Promise<Viewer[]> => {
    const viewers: Viewer[] = [];
    for (let i = 0; i < count; i++) {
      const viewer = openViewer(address, {}, { 'x-forwarded-for': addressOf(i) });
      await viewer.message(({ type }) => type === 'hello');
      viewers.push(viewer);
    }
    return viewers;
  };
  const leave = (viewers: readonly Viewer[]): void => viewers.forEach(({ socket }) => socket.terminate());

  it('are not all for one address, but admins there still get in', { timeout: 60_000 }, async () => {
    close();
    await open({});
    const school = await enter(LIMITS.viewersOfAddress, (i) => `2001:db8::${i + 1}`);
    let released = 0;
    admit = () => ({ access: ['read'], isSigned: false, release: () => released++ });
    const [refused] = [openViewer(address, {}, { 'x-forwarded-for': '2001:db8::ffff' })];
    expect(await refused.closed).toBe(4401);
    expect(refused.messages).toMatchObject([
      { type: 'refused', code: 'too_many_links', message: expect.stringMatching(/this address already has 100/) },
    ]);
    expect(released).toBe(1);
    const elsewhere = await enter(1, () => '2001:db8:1::1');
    admit = () => ({ access: ['read', 'admin'], isSigned: false, release: () => undefined });
    const admin = await enter(1, () => '2001:db8::ffff');
    expect(live.viewers).toBe(LIMITS.viewersOfAddress + 2);
    leave([...school, ...elsewhere, ...admin]);
  });

  it('are kept for admins, however many addresses the others have', { timeout: 60_000 }, async () => {
    const most = LIMITS.viewers - LIMITS.viewersKeptForAdmins;
    const others = await enter(most, (i) => `203.0.113.${i % 250}`);
    const refused = openViewer(address, {}, { 'x-forwarded-for': '198.51.100.1' });
    expect(await refused.closed).toBe(4401);
    expect(refused.messages).toMatchObject([{ message: expect.stringMatching(/this run already has 450/) }]);
    admit = () => ({ access: ['read', 'admin'], isSigned: false, release: () => undefined });
    const admin = await enter(1, () => '198.51.100.1');
    leave([...others, ...admin]);
  });
});

describe('a viewer', () => {
  it('whose token ends is told why, and disconnected; the others stay', async () => {
    const ends = new AbortController();
    const released: string[] = [];
    admit = () => ({ access: ['read'], isSigned: true, ended: ends.signal, release: () => released.push('the link') });
    const guest = openViewer(address, {});
    await guest.message(({ type }) => type === 'hello');
    admit = () => ({ access: ['read'], isSigned: false, release: () => undefined });
    const other = openViewer(address, {});
    await other.message(({ type }) => type === 'hello');
    ends.abort(new ApiFailure(401, 'token_revoked', 'the token was revoked', 'Ask for another.'));
    expect(await guest.closed).toBe(4401);
    expect(guest.messages.at(-1)).toEqual({
      ...{ type: 'refused', code: 'token_revoked', message: 'the token was revoked', remedy: 'Ask for another.' },
    });
    await expect.poll(() => released).toEqual(['the link']);
    expect(live.viewers).toBe(1);
    expect(other.socket.readyState).toBe(other.socket.OPEN);
    other.socket.terminate();
  });

  /** Viewers from one address, which then may have no more. */
  async function asManyAsMayBe(from: Readonly<Record<string, string>>): Promise<Viewer[]> {
    const viewers: Viewer[] = [];
    for (let i = 0; i < 40; i++) {
      const viewer = openViewer(address, {}, from);
      await viewer.message(({ type }) => type === 'hello');
      viewers.push(viewer);
    }
    await expect(openViewer(address, {}, from).closed).rejects.toThrow(/429/);
    return viewers;
  }

  it('is refused when its address has as many links as it may, until another one closes', async () => {
    const from = { 'x-forwarded-for': '203.0.113.9' };
    const viewers = await asManyAsMayBe(from);
    viewers[0].socket.terminate();
    await expect.poll(() => live.viewers).toBe(39);
    const again = openViewer(address, {}, from);
    await again.message(({ type }) => type === 'hello');
    for (const { socket } of [...viewers, again]) socket.terminate();
  });

  it('has its address counted, whatever a proxy reports: also one that looks like this machine', async () => {
    const from = { 'x-forwarded-for': '127.0.0.1' };
    const viewers = await asManyAsMayBe(from);
    // One that no proxy reports is of this machine.
    const here = openViewer(address, {});
    await here.message(({ type }) => type === 'hello');
    for (const { socket } of [...viewers, here]) socket.terminate();
  });

  it('that does not stop sending is told so, and disconnected', async () => {
    const viewer = openViewer(address, {}, { 'x-forwarded-for': '203.0.113.9' });
    await viewer.message(({ type }) => type === 'hello');
    for (let i = 0; i < 50; i++) viewer.socket.send('more');
    expect(await viewer.closed).toBe(4401);
    expect(viewer.messages.at(-1)).toMatchObject({ type: 'refused', code: 'rate_limited' });
  });

  it('that does not respond when the run ends is disconnected', async () => {
    const { socket, message } = openViewer(address, {});
    await message(({ type }) => type === 'hello');
    socket.pause();
    live.close('the run is over');
    while ((await connections()) > 0) await delay(20);
    socket.terminate();
  });

  it('gets the same news as another at the same place', async () => {
    const viewers = [openViewer(address, {}), openViewer(address, {})];
    for (const { message } of viewers) await message(({ type }) => type === 'hello');
    completeRounds(2);
    say('both');
    for (const { message, socket } of viewers) {
      const update = await message((one) => one.type === 'update' && one.events !== undefined);
      expect(update).toMatchObject({ points: { round: [1, 2] }, events: [{ text: 'both' }] });
      socket.terminate();
    }
  });

  it('that reads nothing for a while misses what came in between, and costs no memory', async () => {
    const { socket, messages, message } = openViewer(address, {});
    await message(({ type }) => type === 'hello');
    socket.pause();
    const long = 'x'.repeat(20_000);
    let said = 0;
    for (let turn = 0; turn < 12; turn++) {
      completeRounds(2_000);
      for (let i = 0; i < 200; i++) say(long);
      said += 200 * long.length;
      await delay(260);
    }
    say('the last word');
    socket.resume();
    await message((update) => update.type === 'update' && update.events?.at(-1)?.text === 'the last word');
    const received = messages.reduce((sum, one) => sum + JSON.stringify(one).length, 0);
    // Only what fits into the buffers of the sockets on both sides arrives.
    expect(received).toBeLessThan(said / 2);
    const last = messages.at(-1)!;
    expect(last.type === 'update' && (last.points?.round.at(-1) ?? history.lastRound)).toBe(history.lastRound);
    expect(last.type === 'update' && (last.points?.round.length ?? 0)).toBeLessThanOrEqual(500);
    socket.terminate();
  });

  it('gets only the view, once a second, while nothing happens', async () => {
    const { socket, messages } = openViewer(address, {});
    await delay(2_500);
    socket.terminate();
    expect(messages.length).toBeGreaterThanOrEqual(2);
    expect(messages.length).toBeLessThanOrEqual(4);
    expect(messages.slice(1).every((update) => Object.keys(update).join() === 'type,view')).toBe(true);
  });

  it('that disconnected is forgotten', async () => {
    const viewer = openViewer(address, {});
    await viewer.message(({ type }) => type === 'hello');
    expect(live.viewers).toBe(1);
    viewer.socket.terminate();
    while (live.viewers > 0) await delay(5);
  });

  it('that sends a message longer than a hello is disconnected', async () => {
    const viewer = openViewer(address, 'x'.repeat(10_000));
    expect(await viewer.closed).toBe(1009);
    expect(live.viewers).toBe(0);
  });

  it('gets the last news when the run ends', async () => {
    const viewer = openViewer(address, {});
    await viewer.message(({ type }) => type === 'hello');
    completeRounds(3);
    say('completed');
    live.close('the run is over');
    expect(await viewer.closed).toBe(1001);
    const last = { points: { round: [1, 2, 3] }, events: [{ text: 'completed' }], view: { runId: 'r' } };
    expect(viewer.messages.at(-1)).toMatchObject(last);
  });
});

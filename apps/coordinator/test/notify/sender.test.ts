import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { LIMITS } from '@troupe/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Notice } from '../../src/notify/notices.js';
import { createSender, type Sender } from '../../src/notify/sender.js';

const SECRET = 'a-secret-of-the-hook';

/** Answers each request with the next of these; the last one stays. 0: never. */
let answers: number[];
let bodies: Notice[];
let server: http.Server;
let notes: string[];
let slept: number[];
let now: number;
let sender: Sender;

beforeEach(async () => {
  [answers, bodies, notes, slept, now] = [[204], [], [], [], 0];
  server = http.createServer((request, response) => {
    void request.toArray().then((chunks) => {
      bodies.push(JSON.parse(Buffer.concat(chunks as Buffer[]).toString()) as Notice);
      const status = answers.length > 1 ? answers.shift()! : answers[0];
      if (status !== 0) response.writeHead(status, status === 302 ? { location: '/elsewhere' } : {}).end('ok');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/hook/${SECRET}?key=${SECRET}`);
  sender = createSender({
    ...{ url, fetch, nowMs: () => now, onFailed: (text: string) => notes.push(text) },
    // Deadlines and the grace of the end last; pauses between attempts pass at once.
    sleep: async (ms, signal) => {
      if (ms === LIMITS.noticeMs && answers[0] !== 0) return delay(60_000, undefined, { signal });
      slept.push(ms);
      now += ms;
      await delay(ms === LIMITS.noticeMs ? 100 : 1, undefined, { signal });
    },
  });
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const notice = (round: number): Notice => ({
  ...{ event: 'problem', text: `round ${round}`, run: 'Sonnets', runId: 'r1', rounds: 9, at: 0 },
  round,
});
const until = async (test: () => boolean): Promise<void> => {
  while (!test()) await delay(2);
};

describe('notifications', () => {
  it('are JSON with a text, in the order in which they were made', async () => {
    sender.post(notice(1));
    sender.post(notice(2));
    await until(() => bodies.length === 2);
    expect(bodies).toEqual([notice(1), notice(2)]);
    expect(notes).toEqual([]);
  });

  it('are sent again after a while if the other side fails', async () => {
    answers = [500, 429, 503, 200];
    sender.post(notice(1));
    await until(() => bodies.length === 4);
    expect(slept).toEqual([1_000, 4_000, 15_000]);
    expect(notes).toEqual([]);
  });

  it('are given up after five attempts, and the log says so without the address', async () => {
    answers = [500];
    sender.post(notice(1));
    await until(() => notes.length === 1);
    expect(bodies).toHaveLength(5);
    expect(notes[0]).toBe('a notification was not delivered (problem): the answer was HTTP 500');
  });

  it('are not repeated when they are refused, nor follow redirects', async () => {
    answers = [404, 302];
    sender.post(notice(1));
    sender.post(notice(2));
    await until(() => notes.length === 2);
    expect(bodies).toHaveLength(2);
    expect(notes.join()).toMatch(/404.*302/);
  });

  it('have a deadline', async () => {
    answers = [0];
    sender.post(notice(1));
    await until(() => notes.length === 1);
    expect(notes[0]).toMatch(/no answer within 10 s/);
  });

  it('say that nobody answers, without the address', async () => {
    await new Promise((resolve) => server.close(resolve));
    sender.post(notice(1));
    await until(() => notes.length === 1);
    expect(notes[0]).toMatch(/ECONNREFUSED/);
    expect(notes[0]).not.toContain(SECRET);
    server.listen();
  });

  it('are at most so many a minute', async () => {
    for (let i = 0; i <= LIMITS.noticesPerMinute; i++) sender.post(notice(i));
    await until(() => bodies.length === LIMITS.noticesPerMinute + 1);
    expect(slept).toEqual([60_000]);
  });

  it('are dropped when too many wait', async () => {
    answers = [0];
    for (let i = 0; i < LIMITS.noticesWaiting + 2; i++) sender.post(notice(i));
    expect(notes).toHaveLength(2);
    expect(notes[0]).toMatch(/wait already/);
    await sender.close(1);
  });

  it('that are under way at the end are still sent', async () => {
    sender.post(notice(1));
    await sender.close(LIMITS.noticeMs);
    expect(bodies).toHaveLength(1);
    sender.post(notice(2));
    await delay(20);
    expect(bodies).toHaveLength(1);
  });

  it('do not keep the process when nobody answers at the end', async () => {
    answers = [0];
    sender.post(notice(1));
    await until(() => bodies.length === 1);
    await sender.close(5);
    expect(notes[0]).toMatch(/the run is over/);
  });
});

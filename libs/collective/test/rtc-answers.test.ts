import { LIMITS } from '@troupe/protocol';
import type { Connection } from '@troupe/transport';
import { createMemoryPair } from '@troupe/transport/memory';
import type { RtcLinks, RtcRequest } from '@troupe/transport/webrtc';
import { describe, expect, it } from 'vitest';
import { RtcAnswers } from '../src/star/rtc-answers.js';
import { aMoment } from './network.js';

/** A reducer whose links open when the test says so. */
function create({ deadlineMs = 60_000 } = {}) {
  const attempts: { readonly request: RtcRequest; open(): void; fail(): void }[] = [];
  const served: { readonly link: Connection; readonly signal: AbortSignal }[] = [];
  const answer: RtcLinks['answer'] = (request) =>
    new Promise((resolve, reject) => {
      const [near] = createMemoryPair();
      const fail = (): void => reject(Object.assign(new Error('no path'), { name: 'TransportError' }));
      request.signal.addEventListener('abort', fail);
      attempts.push({ request, open: () => resolve(near), fail });
    });
  const answers = new RtcAnswers({
    rtc: { answer, offer: () => expect.unreachable() },
    log: () => undefined,
    deadline: () => AbortSignal.timeout(deadlineMs),
    send: () => undefined,
    async serve(link, signal) {
      served.push({ link, signal });
      await link.closed;
    },
  });
  const call = (peer: string, link = 0): void => answers.take({ type: 'signal', peer, link, signal: '{}' });
  const remotes = (): string[] => attempts.map(({ request }) => request.remote);
  return { answers, attempts, served, call, remotes };
}

describe('links that workers begin', () => {
  it('are answered once for each announcement of the service', async () => {
    const { answers, call, remotes } = create();
    call('w1');
    answers.expect('w1');
    for (let link = 1; link < 9; link++) call('w1', link);
    await aMoment();
    expect(remotes()).toEqual(['w1']);
    answers.expect('w1');
    call('w1', 9);
    await aMoment();
    expect(remotes()).toEqual(['w1', 'w1']);
  });

  it('replace one of the same worker that is not open, and do not touch one that is', async () => {
    const { answers, attempts, served, call } = create();
    for (const link of [0, 1, 2]) {
      answers.expect('w1');
      call('w1', link);
      await aMoment();
      if (link === 1) attempts[1].open();
      await aMoment();
    }
    expect(attempts.map(({ request }) => request.signal.aborted)).toEqual([true, false, false]);
    expect(served).toHaveLength(1);
  });

  it('wait for their turn in a crowd, and keep what was signalled meanwhile', async () => {
    const { answers, attempts, call, remotes } = create();
    const names = Array.from({ length: LIMITS.rtcAnswers + 2 }, (_, i) => `w${i}`);
    for (const name of names) {
      answers.expect(name);
      call(name);
      answers.take({ type: 'signal', peer: name, link: 0, signal: '"more"' });
    }
    await aMoment();
    expect(remotes()).toEqual(names.slice(0, -2));
    attempts[0].open();
    attempts[1].fail();
    await aMoment();
    expect(remotes()).toEqual(names);
    const { signalling, signal } = attempts.at(-1)!.request;
    expect(await signalling.receive(signal)).toEqual({});
    expect(await signalling.receive(signal)).toBe('more');
  });

  it('that wait are given up when their worker calls again, is dismissed, or nobody has time for them', async () => {
    const { answers, attempts, call, remotes } = create({ deadlineMs: 100 });
    for (let i = 0; i < LIMITS.rtcAnswers; i++) {
      answers.expect(`w${i}`);
      call(`w${i}`);
    }
    for (const name of ['late', 'gone']) {
      answers.expect(name);
      call(name);
    }
    answers.forget('gone');
    await new Promise((resolve) => setTimeout(resolve, 150));
    for (const { fail } of attempts) fail();
    await aMoment();
    expect(remotes()).toHaveLength(LIMITS.rtcAnswers);
    answers.expect('late');
    call('late', 1);
    await aMoment();
    expect(remotes().at(-1)).toBe('late');
  });

  it('end with the reducer, whether or not they are open', async () => {
    const { answers, attempts, served, call, remotes } = create();
    for (const name of ['w1', 'w2']) {
      answers.expect(name);
      call(name);
    }
    await aMoment();
    attempts[0].open();
    await aMoment();
    answers.expect('w3');
    answers.end();
    call('w3');
    await aMoment();
    expect(served[0].signal.aborted).toBe(true);
    expect(attempts[1].request.signal.aborted).toBe(true);
    expect(remotes()).toEqual(['w1', 'w2']);
  });
});

/** Direct links: what the page decides, what the trainer counts. tests/e2e has real ones. */
import { describe, expect, it } from 'vitest';
import { TransportError, type Connection } from '@troupe/transport';
import { createMemoryPair, type MemoryConnection } from '@troupe/transport/memory';
import type { RtcLinks, RtcRequest } from '@troupe/transport/webrtc';
import { canSum, explainDirect } from '../src/decisions/direct.js';
import { advance, IDLE } from '../src/decisions/status.js';
import type { DirectState } from '../src/messages.js';
import { watchLinks } from '../src/trainer/direct.js';
import { createLinks } from '../src/trainer/links.js';

const requestFor = (remote: string): RtcRequest => ({
  remote,
  signalling: { send() {}, receive: () => new Promise(() => {}) },
  iceServers: [],
  signal: new AbortController().signal,
});

/** Links whose other ends the test has, or that fail with the errors that it names. */
function fakeLinks() {
  const ends: MemoryConnection[] = [];
  const failures: Error[] = [];
  const open = async (): Promise<Connection> => {
    const failure = failures.shift();
    if (failure) throw failure;
    const [near, far] = createMemoryPair();
    ends.push(far);
    return near;
  };
  const rtc: RtcLinks = { offer: open, answer: open };
  return { rtc, ends, failures };
}

const failure = (code: TransportError['code']): TransportError => new TransportError(code, 'it failed', 'Try again.');

describe('whether a device sums for others', () => {
  const laptop = { isRateLimited: false, mobile: false, coarsePointer: false, threads: true };
  it.each([
    ['a laptop', laptop, true],
    ['one whose browser says nothing', { ...laptop, mobile: undefined }, true],
    ['a phone', { ...laptop, mobile: true, coarsePointer: true }, false],
    ['a tablet', { ...laptop, coarsePointer: true }, false],
    ['a page without threads', { ...laptop, threads: false }, false],
    ['a device with a rate limit', { ...laptop, isRateLimited: true }, false],
  ])('%s', (_, host, expected) => expect(canSum(host)).toBe(expected));
});

describe('what the page says of direct links', () => {
  it.each<[string, DirectState, ReturnType<typeof explainDirect>]>([
    ['nothing was tried', { linked: 0, failures: [] }, 'none'],
    ['there are some, whatever failed', { linked: 2, failures: ['unreachable'] }, 2],
    ['there is no path', { linked: 0, failures: ['timeout', 'unreachable'] }, 'blocked'],
    ['nobody answers', { linked: 0, failures: ['timeout'] }, 'unanswered'],
    ['links end before they are ready', { linked: 0, failures: ['lost'] }, 'unanswered'],
    ['WebRTC does not work', { linked: 0, failures: ['timeout', 'refused'] }, 'unusable'],
    ['the bridge is closed', { linked: 0, failures: ['closed'] }, 'none'],
  ])('when %s', (_, state, expected) => expect(explainDirect(state)).toBe(expected));

  it('is what the trainer reported last, and nothing when there is no trainer', () => {
    const state = { linked: 1, failures: [] };
    const on = advance(IDLE, { kind: 'direct', state });
    expect(on.direct).toEqual(state);
    for (const end of [
      { kind: 'started' },
      { kind: 'left' },
      { kind: 'paused', why: 'person' },
      { kind: 'ended', failure: undefined },
    ] as const)
      expect(advance(on, end).direct).toBe(undefined);
  });
});

describe('the direct links of the trainer', () => {
  it('are counted by machine, from the first link to the last', async () => {
    const { rtc, ends } = fakeLinks();
    const seen: DirectState[] = [];
    const watched = watchLinks(rtc, (state) => seen.push(state));
    await watched.offer(requestFor('w1'));
    await watched.answer(requestFor('w1'));
    await watched.answer(requestFor('w2'));
    expect(seen.map(({ linked }) => linked)).toEqual([0, 1, 1, 2]);
    ends[0].close('done');
    await expect.poll(() => seen.length).toBe(5);
    expect(seen.at(-1)!.linked).toBe(2);
    ends[1].breakLink('cut');
    await expect.poll(() => seen.at(-1)).toEqual({ linked: 1, failures: [] });
  });

  it('say why the last attempt to a machine failed, until there is a link to it', async () => {
    const { rtc, failures } = fakeLinks();
    const seen: DirectState[] = [];
    const watched = watchLinks(rtc, (state) => seen.push(state));
    for (const code of ['timeout', 'unreachable', 'aborted'] as const) {
      failures.push(failure(code));
      await expect(watched.offer(requestFor('w1'))).rejects.toMatchObject({ code });
    }
    expect(seen.map((state) => state.failures)).toEqual([[], ['timeout'], ['unreachable']]);
    await watched.offer(requestFor('w1'));
    expect(seen.at(-1)).toEqual({ linked: 1, failures: [] });
    failures.push(failure('unreachable'));
    await expect(watched.answer(requestFor('w1'))).rejects.toMatchObject({ code: 'unreachable' });
    expect(seen.at(-1)).toEqual({ linked: 1, failures: [] });
  });

  it('count as traffic, and end with all other links', async () => {
    const { rtc, ends } = fakeLinks();
    let ended = 0;
    const links = createLinks(() => void ended++);
    const adopted = links.adopt(rtc);
    const opened = [await adopted.offer(requestFor('w1')), await adopted.answer(requestFor('w2'))];
    opened[0].send(new Uint8Array(10));
    ends[1].send(new Uint8Array(5));
    await opened[1].receive();
    expect([links.sentBytes, links.receivedBytes]).toEqual([10, 5]);
    links.breakOff('the volunteer paused');
    for (const end of ends) expect(await end.closed).toEqual({ kind: 'clean', reason: 'the volunteer paused' });
    // Other machines come and go: that is no reason to end a rest.
    expect(ended).toBe(0);
  });
});

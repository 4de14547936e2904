import { beforeEach, describe, expect, it } from 'vitest';
import {
  createChannel,
  createSendBudget,
  LIMITS,
  type Channel,
  type Eviction,
  type FrameLink,
  type SendBudget,
} from '../src/index.js';
import { EXAMPLES } from './examples.js';

const BYTES = 100_000;

let budget: SendBudget;
let evictions: Eviction[];
beforeEach(() => {
  evictions = [];
  budget = createSendBudget({ bytes: BYTES, onEvicted: (eviction) => evictions.push(eviction) });
});

interface Peer {
  readonly channel: Channel;
  readonly closedFor: string | undefined;
  /** It reads what is queued, or so many bytes of it. */
  read(bytes?: number): void;
  lose(): void;
}

/** A link to a peer that reads when the test says so. */
function connect(remote: string): Peer {
  let bufferedBytes = 0;
  let closedFor: string | undefined;
  let end: (info: { kind: 'clean' | 'lost'; reason: string }) => void;
  const link: FrameLink = {
    remote,
    get bufferedBytes() {
      return bufferedBytes;
    },
    closed: new Promise((resolve) => (end = resolve)),
    send(frame) {
      if (closedFor !== undefined) throw new Error(`closed: ${closedFor}`);
      bufferedBytes += frame.byteLength;
    },
    drained: async () => undefined,
    receive: () => new Promise(() => undefined),
    close: (reason) => (closedFor ??= reason),
  };
  return {
    channel: createChannel(link, { accepts: ['bye'], bodyBytes: () => 0, budget }),
    get closedFor() {
      return closedFor;
    },
    read: (bytes = bufferedBytes) => (bufferedBytes -= bytes),
    lose: () => end({ kind: 'lost', reason: 'test' }),
  };
}

const send = ({ channel }: Peer, bytes: number): void => channel.send(EXAMPLES.snapshot, new Uint8Array(bytes));

describe('what is queued for all peers of a process', () => {
  it('is bounded: the link that holds most is closed, with a reason and a remedy', () => {
    const [small, large, next] = ['small', 'large', 'next'].map(connect);
    send(small, 30_000);
    send(large, 60_000);
    send(next, 20_000);
    expect(evictions).toEqual([]);
    send(next, 1_000);
    expect([small, large, next].map(({ closedFor }) => closedFor)).toEqual([
      undefined,
      'too slow: what waits for it takes too much memory',
      undefined,
    ]);
    expect(evictions).toMatchObject([
      { remote: 'large', text: expect.stringMatching(/^large is disconnected: 6\d{4} of 11\d{4} bytes/) as string },
    ]);
    expect(evictions[0].remedy).toMatch(/faster links\.$/);
    expect(budget.queuedBytes).toBeLessThan(BYTES);
  });

  it('stays bounded with a thousand slow links, each far below its own limit', () => {
    const peers = Array.from({ length: 1000 }, (_, i) => connect(`peer${i}`));
    for (let turn = 0; turn < 3; turn++) {
      for (const peer of peers) {
        try {
          send(peer, 500);
        } catch {
          expect(peer.closedFor).toBeDefined();
        }
      }
    }
    expect(evictions.length).toBeGreaterThan(700);
    expect(budget.queuedBytes).toBeLessThan(BYTES + 1_000);
    expect(500 * 3).toBeLessThan(LIMITS.bufferedBytes);
  });

  it('does not include what has left', () => {
    const [fast, slow] = ['fast', 'slow'].map(connect);
    send(slow, 50_000);
    for (let i = 0; i < 100; i++) {
      send(fast, 40_000);
      fast.read();
    }
    expect(evictions).toEqual([]);
    slow.read();
    expect(budget.queuedBytes).toBe(0);
  });

  it('does not include shared frames, nor is it confused by them', () => {
    const peer = connect('peer');
    const shared = [new Uint8Array(BYTES), new Uint8Array(BYTES)];
    send(peer, 1_000);
    const own = budget.queuedBytes;
    expect(own).toBeGreaterThan(1_000);
    peer.channel.sendEncoded(shared);
    send(peer, 1_000);
    expect(budget.queuedBytes).toBe(2 * own);
    peer.read(own);
    expect(budget.queuedBytes).toBe(own);
    peer.read();
    expect(budget.queuedBytes).toBe(0);
  });

  it('may be exceeded by one message, which is always sent', () => {
    const peer = connect('peer');
    send(peer, 2 * BYTES);
    expect([evictions, peer.closedFor]).toEqual([[], undefined]);
    expect(() => send(peer, 1)).toThrow('too slow');
    expect(evictions).toHaveLength(1);
  });

  it('ends with the link', async () => {
    const peer = connect('peer');
    send(peer, 50_000);
    peer.lose();
    await Promise.resolve();
    await Promise.resolve();
    expect(budget.queuedBytes).toBe(0);
  });
});

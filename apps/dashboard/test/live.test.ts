/** The live link against sockets, probes and a clock that the test controls. */
import type { LiveMessage } from '@troupe/run';
import { describe, expect, it } from 'vitest';
import { openLive, type SocketEvents } from '../src/link/live.js';

interface FakeSocket extends SocketEvents {
  readonly sent: string[];
  closed: boolean;
}

function setUp() {
  let nowMs = 1_000_000;
  let timers: { readonly dueMs: number; readonly action: () => void }[] = [];
  const sockets: FakeSocket[] = [];
  const retries: number[] = [];
  const messages: LiveMessage['type'][] = [];
  const coordinator = { answersProbes: true, probes: 0 };
  let token: string | undefined = 'token';
  const live = openLive({
    ports: {
      openSocket(events) {
        const socket: FakeSocket = { ...events, sent: [], closed: false };
        sockets.push(socket);
        return { send: (text) => socket.sent.push(text), close: () => (socket.closed = true) };
      },
      probe() {
        coordinator.probes++;
        return coordinator.answersProbes ? Promise.resolve() : Promise.reject(new Error('no answer'));
      },
      after(ms, action) {
        const timer = { dueMs: nowMs + ms, action };
        timers.push(timer);
        return () => (timers = timers.filter((other) => other !== timer));
      },
      now: () => nowMs,
      random: () => 0.5,
    },
    token: () => token,
    onConnecting: () => undefined,
    onMessage: ({ type }) => messages.push(type),
    onLost: (retryAt) => retries.push(retryAt - nowMs),
  });
  /** Lets time pass, and whatever follows from a probe. */
  const pass = async (ms: number): Promise<void> => {
    nowMs += ms;
    const due = timers.filter(({ dueMs }) => dueMs <= nowMs);
    timers = timers.filter((timer) => !due.includes(timer));
    for (const { action } of due) action();
    await new Promise((resolve) => setImmediate(resolve));
  };
  const last = (): FakeSocket => sockets.at(-1)!;
  const say = (message: object): void => last().onText(JSON.stringify(message));
  const hello = { type: 'hello', view: {}, lastRound: 0, lastEvent: 0 };
  return { live, sockets, retries, messages, coordinator, pass, last, say, hello, setToken: (next?: string) => (token = next) };
}

describe('the live link', () => {
  it('introduces itself with the token, or without one', () => {
    const { live, last, setToken } = setUp();
    last().onOpen();
    expect(last().sent).toEqual(['{"token":"token"}']);
    setToken(undefined);
    live.reconnect();
    last().onOpen();
    expect(last().sent).toEqual(['{}']);
  });

  it('waits longer after every failure in a row, and starts over once it was welcomed', async () => {
    const { sockets, retries, pass, last, say, hello } = setUp();
    for (const waitMs of [500, 1_000, 2_000]) {
      last().onClose();
      await pass(waitMs);
    }
    expect(retries).toEqual([500, 1_000, 2_000]);
    expect(sockets).toHaveLength(4);
    last().onOpen();
    say(hello);
    last().onClose();
    expect(retries.at(-1)).toBe(500);
  });

  it('gives up a socket that does not open within ten seconds', async () => {
    const { sockets, retries, pass } = setUp();
    await pass(9_999);
    expect(retries).toEqual([]);
    await pass(1);
    expect(retries).toEqual([500]);
    expect(sockets[0].closed).toBe(true);
  });

  it('asks after fifteen seconds of silence, and stays open when the coordinator answers', async () => {
    const { sockets, retries, coordinator, pass, last, say, hello } = setUp();
    last().onOpen();
    await pass(14_000);
    say(hello);
    await pass(14_000);
    expect(coordinator.probes).toBe(0);
    await pass(1_000);
    expect(coordinator.probes).toBe(1);
    await pass(15_000);
    expect(coordinator.probes).toBe(2);
    expect(retries).toEqual([]);
    expect(sockets).toHaveLength(1);
  });

  it('is lost when the coordinator does not answer', async () => {
    const { sockets, retries, coordinator, pass, last } = setUp();
    last().onOpen();
    coordinator.answersProbes = false;
    await pass(15_000);
    expect(sockets[0].closed).toBe(true);
    expect(retries).toEqual([500]);
  });

  it('does not try again by itself after a refusal', async () => {
    const { live, sockets, messages, retries, pass, last, say } = setUp();
    last().onOpen();
    say({ type: 'refused', code: 'wrong_token', message: '', remedy: '' });
    expect(messages).toEqual(['refused']);
    expect(sockets[0].closed).toBe(true);
    last().onClose();
    live.onSeen();
    await pass(60_000);
    expect(sockets).toHaveLength(1);
    expect(retries).toEqual([]);
    live.reconnect();
    expect(sockets).toHaveLength(2);
  });

  it('does not wait when the person looks at the page again', () => {
    const { live, sockets, last } = setUp();
    live.onSeen();
    expect(sockets).toHaveLength(1);
    last().onClose();
    live.onSeen();
    expect(sockets).toHaveLength(2);
  });

  it('cancels the attempt that it was waiting for when it reconnects', async () => {
    const { live, sockets, pass, last } = setUp();
    last().onClose();
    live.reconnect();
    last().onOpen();
    await pass(500);
    expect(sockets).toHaveLength(2);
  });

  it('takes nothing from a socket that it has left', () => {
    const { live, sockets, messages, retries, hello } = setUp();
    live.reconnect();
    sockets[0].onText(JSON.stringify(hello));
    sockets[0].onClose();
    expect(messages).toEqual([]);
    expect(retries).toEqual([]);
  });

  it('leaves a probe of a socket that it has left without effect', async () => {
    const { live, sockets, retries, coordinator, pass, last } = setUp();
    last().onOpen();
    coordinator.answersProbes = false;
    const asked = pass(15_000);
    live.reconnect();
    await asked;
    expect(retries).toEqual([]);
    expect(sockets).toHaveLength(2);
  });
});

import { setMaxListeners } from 'node:events';
import {
  createChannel,
  createSendBudget,
  LIMITS,
  PROTOCOL_VERSION,
  ProtocolError,
  type Message,
  type MessageOf,
} from '@troupe/protocol';
import type { Connection } from '@troupe/transport';
import { createMemoryPair } from '@troupe/transport/memory';
import { beforeEach, describe, expect, it } from 'vitest';
import { createBanList, type BanList } from '../src/bans.js';
import { ControlServer } from '../src/control-server.js';
import type { ConductorEvent } from '../src/events.js';
import { createTokenGate, type Pass } from '../src/gate.js';
import { createRoster, updateRoster, type Roster } from '../src/roster.js';
import { CONFIG, createDeadlines, turn, type Deadlines } from './fixture.js';

const HASH = 'a'.repeat(16);
const HELLO: MessageOf<'hello'> = {
  type: 'hello',
  versions: [PROTOCOL_VERSION],
  token: 'open sesame',
  name: 'Ann',
  kind: 'browser',
  credited: false,
  team: '',
};
const READY: MessageOf<'ready'> = {
  type: 'ready',
  round: 0,
  layoutHash: HASH,
  parametersDigest: '0'.repeat(16),
  engine: 'wasm',
  device: 'cpu',
  charsPerSecond: 1000,
};

let events: ConductorEvent[];
/** Tickets admitted and dismissed at the all-reduce service. */
let tickets: string[];
let deadlines: Deadlines;
let roster: Roster;
let server: ControlServer;
let over: AbortController;
let bans: BanList;
let clockMs = 0;
let localSteps = 1;
/** What the gate says of everyone. */
let trusted = true;
/** Those that the gate has given. */
let passes: ReturnType<typeof createPasses>;
/** Addresses of links that were closed because too much was queued for all. */
let evicted: string[];
const QUEUED_BYTES = 100_000;

beforeEach(() => {
  [events, tickets, deadlines, roster, over] = [[], [], createDeadlines(), createRoster(0), new AbortController()];
  setMaxListeners(0, over.signal);
  [localSteps, trusted] = [1, true];
  let secrets = 0;
  [evicted, passes] = [[], createPasses()];
  server = new ControlServer({
    gate: { admit: (hello, link) => passes.admit(hello, link), addressOf: createTokenGate(HELLO.token).addressOf },
    bans: (bans = createBanList({ now: () => 1_000 })),
    layoutHash: HASH,
    welcome: {
      ...{ runId: 'run', layoutHash: HASH, reduceAddress: '/reduce' },
      get config() {
        return { ...CONFIG, localSteps, tracks: localSteps > 1 ? 3 : 0 };
      },
    },
    roster,
    reduce: {
      admit: (workerId, ticket) => tickets.push(`${workerId} in with ${ticket}`),
      dismiss: (workerId, reason) => tickets.push(`${workerId} out: ${reason}`),
    },
    put(event) {
      events.push(event);
      updateRoster(roster, event, 0);
    },
    nowMs: () => clockMs,
    deadline: deadlines.start,
    secret: (bytes) => `secret${secrets++}of${bytes}`,
    budget: createSendBudget({ bytes: QUEUED_BYTES, onEvicted: ({ remote }) => evicted.push(remote) }),
  });
});

/** A gate whose passes a test can end. */
function createPasses() {
  const gate = createTokenGate(HELLO.token);
  const given: { readonly ends: AbortController; readonly link: Connection; leases: number; released: boolean }[] = [];
  const admit = (...[hello, link]: Parameters<typeof gate.admit>): Pass => {
    gate.admit(hello, link);
    const pass = { ends: new AbortController(), link, leases: 0, released: false };
    given.push(pass);
    const countLease = (): void => void pass.leases++;
    return { ended: pass.ends.signal, trusted, tokenId: 'c0ffee', countLease, release: () => (pass.released = true) };
  };
  return { given, admit };
}

/** A peer with a link to the server. `wrap` changes the server's side of it. */
function connect(remote = '10.0.0.1:4242', wrap = (link: Connection): Connection => link) {
  const [near, far] = createMemoryPair(['coordinator', remote]);
  const served = server.serve(wrap(near), over.signal);
  const accepts = ['welcome', 'refuse', 'lease', 'stop'] as const;
  const channel = createChannel(far, { accepts, bodyBytes: ({ type }) => (type === 'lease' ? 3 : 0) });
  return {
    served,
    send: (message: Message) => channel.send(message),
    close: (reason: string) => channel.close(reason),
    breakLink: (reason: string) => far.breakLink(reason),
    /** The next message, or the error that ends the link. */
    next: () =>
      channel.receive().then(
        ({ message }): Partial<Message> & { readonly end?: string } => message,
        (error: Error) => ({ end: error.message }),
      ),
  };
}

/** A worker that has said hello and was welcomed. */
async function join({
  name = 'Ann',
  remote,
  wrap,
}: { name?: string; remote?: string; wrap?: (link: Connection) => Connection } = {}) {
  const peer = connect(remote, wrap);
  peer.send({ ...HELLO, name });
  const welcome = (await peer.next()) as Extract<Message, { type: 'welcome' }>;
  expect(welcome.type).toBe('welcome');
  return { ...peer, id: welcome.workerId };
}

const of = <T extends ConductorEvent['type']>(type: T) =>
  events.filter((event): event is Extract<ConductorEvent, { type: T }> => event.type === type);

/** The server's answer to a peer that sends `messages`, and the reason in the event. */
async function refusalOf(...messages: Message[]) {
  const peer = connect();
  for (const message of messages) peer.send(message);
  const answer = await peer.next();
  await peer.served;
  return { answer, heard: of('peerRefused').at(-1)?.reason };
}

describe('a hello', () => {
  it('is answered with a worker id, a ticket that is already admitted, and the run', async () => {
    const peer = connect();
    peer.send(HELLO);
    const ticket = 'secret1of24';
    expect(await peer.next()).toMatchObject({ type: 'welcome', workerId: 'w1-secret0of3', ticket, runId: 'run', config: CONFIG });
    expect(tickets).toEqual([`w1-secret0of3 in with ${ticket}`]);
    const worker = { id: 'w1-secret0of3', name: 'Ann', kind: 'browser', remote: '10.0.0.1:4242', trusted: true };
    expect(events).toMatchObject([{ type: 'workerJoined', worker }]);
    expect(roster.connected).toBe(1);
  });

  it('may lack a name: the address is then the name; control characters in names are replaced', async () => {
    await join({ name: '' });
    await join({ name: 'up\u001b[2J\u202edown' });
    expect(of('workerJoined').map(({ worker }) => worker.name)).toEqual(['10.0.0.1:4242', 'up\ufffd[2J\ufffddown']);
  });

  it('is refused if its token is wrong', async () => {
    const { answer, heard } = await refusalOf({ ...HELLO, token: 'open barley' });
    expect(answer).toMatchObject({ type: 'refuse', code: 'wrong_token' });
    expect(heard).toMatch(/^wrong_token: /);
    expect([of('workerJoined'), tickets, roster.connected]).toEqual([[], [], 0]);
  });

  it('is refused if its version is not supported', async () => {
    expect((await refusalOf({ ...HELLO, versions: [PROTOCOL_VERSION + 1] })).answer).toMatchObject({ code: 'version_mismatch' });
  });

  it('must be the first message', async () => {
    expect((await refusalOf(READY)).answer).toMatchObject({ code: 'unexpected_message' });
  });

  it('must arrive before the deadline', async () => {
    const peer = connect();
    deadlines.expire(LIMITS.helloMs);
    expect(await peer.next()).toMatchObject({ type: 'refuse', code: 'limit_exceeded' });
    await peer.served;
  });

  it('is refused when the run is full', async () => {
    roster.connected = LIMITS.workers;
    expect((await refusalOf(HELLO)).answer).toMatchObject({ code: 'run_full' });
    roster.connected--;
    await join();
  });

  it('is accepted however many links of another address are silent: the oldest of those makes room', async () => {
    const silent = Array.from({ length: LIMITS.unauthenticatedLinks - 1 }, (_, port) => connect(`10.0.0.9:${port}`));
    const patient = connect('10.0.0.2:1');
    const others = [await join(), await join({ name: 'Bob', remote: '10.0.0.3:1' })];
    expect(await silent[0].next()).toMatchObject({ type: 'refuse', code: 'run_full' });
    await silent[0].served;
    expect(of('peerRefused').map(({ reason }) => reason)).toEqual([expect.stringMatching(/^run_full: /)]);
    // The first to join left before the second came, and the one that waits at another address has not had to make room.
    patient.send({ ...HELLO, name: 'Eve' });
    expect(await patient.next()).toMatchObject({ type: 'welcome' });
    silent[1].send({ ...HELLO, name: 'Late' });
    expect(await silent[1].next()).toMatchObject({ type: 'welcome' });
    expect(roster.connected).toBe(others.length + 2);
  });

  it('is accepted from an address that has too many silent links itself', async () => {
    const silent = Array.from({ length: LIMITS.unauthenticatedLinks }, () => connect());
    await join();
    expect(await silent[0].next()).toMatchObject({ type: 'refuse', code: 'run_full' });
    // There is room again, so no other is closed.
    silent[1].close('bored');
    await silent[1].served;
    await join();
    silent[2].send(HELLO);
    expect(await silent[2].next()).toMatchObject({ type: 'welcome' });
  });

  it('no longer counts as unauthenticated once it is accepted', async () => {
    for (let i = 0; i <= LIMITS.unauthenticatedLinks; i++) await join();
    expect(roster.connected).toBe(LIMITS.unauthenticatedLinks + 1);
  });
});

describe('a welcomed worker', () => {
  it('has its messages delivered in order, with control characters replaced', async () => {
    const peer = await join();
    peer.send({ type: 'resync', reason: 'join\u0007ing', round: 0, fromPeers: false });
    peer.send({ ...READY, engine: 'wa\u001bsm', device: 'c\u009bpu' });
    peer.send({ type: 'decline', leaseId: 'l1', round: 0, code: 'engine', reason: 'lost\u202e' });
    await turn();
    expect(of('workerMessage').map(({ worker, message }) => [worker.id, message])).toMatchObject([
      [peer.id, { type: 'resync', reason: 'join\ufffding', round: 0, fromPeers: false }],
      [peer.id, { type: 'ready', engine: 'wa\ufffdsm', device: 'c\ufffdpu', charsPerSecond: 1000 }],
      [peer.id, { type: 'decline', leaseId: 'l1', code: 'engine', reason: 'lost\ufffd' }],
    ]);
  });

  it('is read no faster than its messages may cost, and everything is read in the end', async () => {
    const peer = await join();
    const resync: Message = { type: 'resync', reason: 'again', round: 0, fromPeers: false };
    for (let i = 0; i < LIMITS.controlBurst + 3; i++) peer.send(resync);
    await turn();
    expect(of('workerMessage')).toHaveLength(LIMITS.controlBurst + 1);
    const nextMs = 1000 / LIMITS.controlPerSecond;
    clockMs += nextMs;
    deadlines.expire(nextMs);
    await turn();
    expect(of('workerMessage')).toHaveLength(LIMITS.controlBurst + 2);
    peer.close('enough');
    await peer.served;
  });

  it('is never held up when it answers leases, however many it has', async () => {
    const peer = await join();
    const lease: Message = { type: 'lease', leaseId: 'l1', round: 0, streams: [0], states: 'z', deadlineMs: 1 };
    const count = LIMITS.controlPerLease * LIMITS.controlBurst;
    for (let i = 0; i < LIMITS.controlBurst; i++) server.send(peer.id, lease, new Uint8Array(3));
    for (let i = 0; i < count; i++) peer.send({ type: 'decline', leaseId: 'l1', round: 0, code: 'dropped', reason: 'late' });
    await turn();
    expect(of('workerMessage')).toHaveLength(count);
  });

  it('leaves with its own reason when it says bye, and its ticket is dismissed', async () => {
    const peer = await join();
    peer.send({ type: 'bye', reason: 'lunch\u0007' });
    await peer.served;
    expect(events.at(-1)).toMatchObject({ type: 'workerLeft', worker: { id: peer.id }, reason: 'lunch\ufffd' });
    expect(tickets.at(-1)).toBe(`${peer.id} out: lunch\ufffd`);
    expect(roster.connected).toBe(0);
  });

  it('leaves when its link breaks', async () => {
    const peer = await join();
    peer.breakLink('cable pulled');
    await peer.served;
    expect(events.at(-1)).toMatchObject({ type: 'workerLeft', reason: 'the connection was lost: cable pulled' });
    expect(of('peerRefused')).toEqual([]);
  });

  it('is refused when its parameter layout differs, before it counts as ready', async () => {
    const peer = await join();
    peer.send({ ...READY, layoutHash: 'b'.repeat(16) });
    expect(await peer.next()).toMatchObject({ type: 'refuse', code: 'layout_mismatch' });
    await peer.served;
    expect(events.map(({ type }) => type)).toEqual(['workerJoined', 'workerLeft', 'peerRefused']);
  });

  it('is refused when it reports more steps than a lease has, of which exact rounds have one', async () => {
    const progress = (steps: number): Message => ({ type: 'progress', leaseId: 'l1', steps });
    const exact = await join();
    exact.send(progress(1));
    expect(await exact.next()).toMatchObject({ type: 'refuse', code: 'invalid_message' });
    await exact.served;
    localSteps = 8;
    const local = await join();
    local.send(progress(7));
    local.send(progress(8));
    expect(await local.next()).toMatchObject({ type: 'refuse', code: 'invalid_message' });
    await local.served;
    expect(of('workerMessage').map(({ message }) => message)).toEqual([progress(7)]);
  });

  it('is refused when it says hello again or sends a message of a coordinator', async () => {
    for (const message of [HELLO, { type: 'stop', code: 'stopped', reason: 'mine now' } as const]) {
      const peer = await join();
      peer.send(message);
      expect(await peer.next()).toMatchObject({ type: 'refuse', code: 'unexpected_message' });
      await peer.served;
    }
    expect(roster.connected).toBe(0);
  });

  it('is disconnected when the run is over', async () => {
    const peer = await join();
    over.abort(new Error('the run is over'));
    await peer.served;
    expect(roster.connected).toBe(0);
    expect(await peer.next()).toMatchObject({ end: expect.stringContaining('closed this connection') });
  });
});

describe('a message to a worker', () => {
  const lease: MessageOf<'lease'> = { type: 'lease', leaseId: 'l1', round: 0, streams: [0], states: 'z', deadlineMs: 100 };

  it('reaches its worker', async () => {
    const [ann, bob] = [await join({ name: 'Ann' }), await join({ name: 'Bob' })];
    expect(server.send(bob.id, lease, new Uint8Array(3))).toBe(true);
    expect(await bob.next()).toEqual(lease);
    expect(server.send(ann.id, { ...lease, leaseId: 'l2' }, new Uint8Array(3))).toBe(true);
    expect(await ann.next()).toMatchObject({ leaseId: 'l2' });
  });

  it('is not sent when the worker has left or never joined', async () => {
    const peer = await join();
    peer.close('bye');
    await peer.served;
    expect([server.send(peer.id, lease), server.send('nobody', lease)]).toEqual([false, false]);
  });

  it('closes the link of a worker that has stopped reading', async () => {
    let stuck = false;
    const wrap = (link: Connection): Connection => ({
      ...link,
      get bufferedBytes() {
        return stuck ? LIMITS.bufferedBytes + 1 : 0;
      },
    });
    const peer = await join({ wrap });
    stuck = true;
    expect(server.send(peer.id, lease, new Uint8Array(3))).toBe(false);
    await peer.served;
    expect(events.at(-1)).toMatchObject({ type: 'workerLeft', reason: expect.stringContaining('does not read') });
  });
});

it('a worker that holds most of what is queued for all is disconnected', async () => {
  let buffered = 0;
  const slow = await join({
    wrap: (link) => ({
      ...link,
      get bufferedBytes() {
        return buffered;
      },
    }),
  });
  const other = await join({ name: 'Bob' });
  const lease: Message = { type: 'lease', leaseId: 'l', round: 0, streams: [0], states: 'z', deadlineMs: 1 };
  buffered = 2 * QUEUED_BYTES;
  server.send(slow.id, lease, new Uint8Array(QUEUED_BYTES));
  expect(evicted).toEqual([]);
  expect(server.send(other.id, lease, new Uint8Array(3))).toBe(true);
  expect(evicted).toEqual(['10.0.0.1:4242']);
  await slow.served;
  expect(events.at(-1)).toMatchObject({ type: 'workerLeft', reason: expect.stringContaining('too slow') });
});

describe('a worker whose link was too slow for a snapshot', () => {
  const MINUTE = 60_000;
  const HER = '10.0.0.1:4242';
  const tooSlow = { type: 'refuse', code: 'too_slow', message: expect.stringMatching(/again in \d+ min$/) };

  /** She joins, and is left out. @returns her rest, ms */
  async function leaveOut(): Promise<number> {
    const peer = await join({ remote: HER });
    const restMs = server.leaveOut(peer.id, 'its link is too slow');
    await peer.served;
    return restMs;
  }
  const answerTo = async (hello: object, remote = HER): Promise<unknown> => {
    const peer = connect(remote);
    peer.send({ ...HELLO, ...hello });
    const answer = await peer.next();
    peer.close('enough');
    await peer.served;
    return answer;
  };
  beforeEach(() => {
    clockMs = 0;
  });

  it('may join again after a minute, then after twice as long each time', async () => {
    await join({ name: 'Bob', remote: '10.0.0.2:1' });
    for (const minutes of [1, 2, 4]) {
      expect(await leaveOut()).toBe(minutes * MINUTE);
      clockMs += minutes * MINUTE - 1;
      expect(await answerTo({})).toMatchObject(tooSlow);
      clockMs += 1;
    }
    expect(await answerTo({})).toMatchObject({ type: 'welcome' });
    expect(of('peerRefused')).toEqual([]);
  });

  it('rests at each address of its machine', async () => {
    const there = await join({ name: 'Bob', remote: '10.0.0.2:1' });
    const slow = await join({ remote: '[2001:db8:1:2::1]:1' });
    server.leaveOut(slow.id, 'its link is too slow');
    await slow.served;
    const again = connect('[2001:db8:1:2::2]:1');
    again.send(HELLO);
    expect(await again.next()).toMatchObject({ type: 'refuse', code: 'too_slow' });
    there.close('bye');
  });

  it('is admitted at once when nobody else is there', async () => {
    await leaveOut();
    expect(await answerTo({})).toMatchObject({ type: 'welcome' });
  });

  it('keeps out nobody else: not those of its address, and not those of its address and name who are there', async () => {
    await join({ name: 'Bob', remote: '10.0.0.2:1' });
    await leaveOut();
    expect(await answerTo({ name: 'Carl' })).toMatchObject({ type: 'welcome' });
    clockMs += MINUTE;
    await join({ remote: HER });
    expect(await leaveOut()).toBe(0);
    expect(await answerTo({})).toMatchObject({ type: 'welcome' });
  });
});

describe('a pass', () => {
  const revoked = new ProtocolError('token_revoked', 'the token has been revoked', 'Ask for another.');

  it('that ends is told to the worker, which leaves; the others stay', async () => {
    const [ann, bob] = [await join({ name: 'Ann' }), await join({ name: 'Bob' })];
    passes.given[0].ends.abort(revoked);
    const { code, message, remedy } = revoked;
    expect(await ann.next()).toEqual({ type: 'refuse', code, message, remedy });
    await ann.served;
    expect(events.at(-1)).toMatchObject({ type: 'workerLeft', worker: { id: ann.id }, reason: 'the token has been revoked' });
    expect(tickets.at(-1)).toBe(`${ann.id} out: the token has been revoked`);
    expect(of('peerRefused')).toEqual([]);
    expect(roster.connected).toBe(1);
    expect(server.send(bob.id, { type: 'cancel', leaseId: 'l' })).toBe(true);
  });

  it('that ends after its worker has left has no effect', async () => {
    const peer = await join();
    peer.close('bye');
    await peer.served;
    const before = events.length;
    passes.given[0].ends.abort(revoked);
    expect(events).toHaveLength(before);
  });

  it('counts the leases that are sent, and nothing else', async () => {
    const peer = await join();
    const lease: Message = { type: 'lease', leaseId: 'l', round: 0, streams: [0], states: 'z', deadlineMs: 1 };
    server.send(peer.id, lease, new Uint8Array(3));
    server.send(peer.id, { type: 'cancel', leaseId: 'l' });
    expect(passes.given[0].leases).toBe(1);
  });

  it('is released however the link ends, also if the worker is not welcomed', async () => {
    const [left, lost] = [await join(), await join()];
    left.send({ type: 'bye', reason: 'lunch' });
    lost.breakLink('cable pulled');
    await Promise.all([left.served, lost.served]);
    roster.connected = LIMITS.workers;
    await refusalOf(HELLO);
    expect(passes.given.map(({ released }) => released)).toEqual([true, true, true]);
  });
});

it('no gate has an empty token', () => {
  expect(() => createTokenGate('')).toThrow(RangeError);
});

describe('removing a worker', () => {
  it('sends it the reason, closes its link, and lets it come back', async () => {
    const peer = await join();
    expect(server.remove(peer.id, 'sent away by an admin', false)).toBe('Ann');
    expect(await peer.next()).toEqual({ type: 'stop', code: 'dismissed', reason: 'sent away by an admin' });
    await peer.served;
    expect(events.at(-1)).toMatchObject({ type: 'workerLeft', reason: 'sent away by an admin' });
    await join();
  });

  it('with a ban refuses its name at its host, from any port, and nobody else', async () => {
    const peer = await join({ remote: '10.0.0.1:4242' });
    server.remove(peer.id, 'shut out', true);
    await peer.served;
    const again = connect('10.0.0.1:9999');
    again.send(HELLO);
    expect(await again.next()).toMatchObject({ type: 'refuse', code: 'banned' });
    await join({ name: 'Bob', remote: '10.0.0.1:4242' });
    await join({ remote: '10.0.0.2:4242' });
  });

  it('with a ban holds for all addresses of its machine, of which IPv6 gives it many', async () => {
    const peer = await join({ remote: '[2001:db8:1:2::1]:4242' });
    server.remove(peer.id, 'shut out', true);
    await peer.served;
    const again = connect('[2001:db8:1:2::2]:4242');
    again.send(HELLO);
    expect(await again.next()).toMatchObject({ type: 'refuse', code: 'banned' });
    await join({ remote: '[2001:db8:1:3::1]:4242' });
  });

  it('that lied bans its name there and makes its address suspect, also when it has left', async () => {
    const suspicions = () => of('workerJoined').map(({ worker }) => [worker.name, worker.suspect]);
    const liar = await join({ name: 'Eve', remote: '10.0.0.1:1' });
    expect(server.expose(liar.id, 'its gradient differs', 'test your memory')).toBe('Eve');
    await liar.served;
    expect(bans.list()).toEqual([
      expect.objectContaining({ by: 'audit', refused: true, held: true, reason: 'its gradient differs', tokenId: 'c0ffee' }),
    ]);
    expect(await liar.next()).toEqual({ type: 'stop', code: 'dismissed', reason: 'test your memory' });
    const again = connect('10.0.0.1:2');
    again.send({ ...HELLO, name: 'Eve' });
    expect(await again.next()).toMatchObject({ type: 'refuse', code: 'banned' });
    await join({ name: 'Bob', remote: '10.0.0.1:3' });
    const gone = await join({ name: 'Mallory', remote: '10.0.0.2:1' });
    gone.close('bye');
    await gone.served;
    expect(server.expose(gone.id, 'its gradient differs', 'test your memory')).toBe('Mallory');
    await join({ name: 'Cem', remote: '10.0.0.2:2' });
    expect(suspicions()).toEqual([
      ['Eve', false],
      ['Bob', true],
      ['Mallory', false],
      ['Cem', true],
    ]);
    expect(server.expose('nobody', 'why', 'test your memory')).toBeUndefined();
  });

  it('that lied is known although many have left since, whom the roster remembers instead', async () => {
    const liar = await join({ name: 'Eve', remote: '10.0.0.1:1' });
    liar.close('bye');
    await liar.served;
    for (let i = 0; i < 60; i++) {
      const other = await join({ name: `other ${i}`, remote: `10.0.1.${i}:1` });
      other.close('bye');
      await other.served;
    }
    expect(roster.workers.has(liar.id)).toBe(false);
    expect(server.expose(liar.id, 'its gradient differs', 'test your memory')).toBe('Eve');
    expect(bans.isHeld({ remote: '10.0.0.1:7' })).toBe(true);
  });

  it('that lied under a name that others at its address have bans none of them', async () => {
    const [liar] = [await join({ remote: '10.0.0.1:1' }), await join({ remote: '10.0.0.1:2' })];
    server.expose(liar.id, 'its gradient differs', 'test your memory');
    await liar.served;
    expect(bans.list()).toEqual([expect.objectContaining({ refused: false, held: true })]);
    await join({ remote: '10.0.0.1:3' });
  });

  it('that lied is banned although it was there before under the same name', async () => {
    const before = await join({ name: 'Eve', remote: '10.0.0.1:1' });
    before.close('bye');
    await before.served;
    const liar = await join({ name: 'Eve', remote: '10.0.0.1:2' });
    server.expose(liar.id, 'its gradient differs', 'test your memory');
    await liar.served;
    expect(bans.list()).toEqual([expect.objectContaining({ refused: true, held: true })]);
    const again = connect('10.0.0.1:3');
    again.send({ ...HELLO, name: 'Eve' });
    expect(await again.next()).toMatchObject({ type: 'refuse', code: 'banned' });
  });

  it('that lied and is there again by now joins once more as a suspect, like all volunteers at its address, once', async () => {
    trusted = false;
    const liar = await join({ name: 'Eve', remote: '10.0.0.1:1' });
    liar.close('bye');
    await liar.served;
    const again = await join({ name: 'Eve', remote: '10.0.0.1:2' });
    const pupil = await join({ name: 'Bob', remote: '10.0.0.1:3' });
    const elsewhere = await join({ name: 'Cem', remote: '10.0.0.2:1' });
    trusted = true;
    const teacher = await join({ name: 'Ann', remote: '10.0.0.1:4' });
    server.expose(liar.id, 'its gradient differs', 'test your memory');
    const ended = { end: expect.stringContaining('join again, and what comes from here is audited') };
    expect([await again.next(), await pupil.next()]).toEqual([ended, ended]);
    await Promise.all([again.served, pupil.served]);
    expect(of('workerLeft').at(-1)?.reason).toMatch(/^a worker at this address computed wrongly/);
    const isHere = (id: string): boolean => roster.workers.get(id)?.session !== undefined;
    expect([elsewhere, teacher].map(({ id }) => isHere(id))).toEqual([true, true]);
    trusted = false;
    const suspect = await join({ name: 'Eve', remote: '10.0.0.1:5' });
    expect(of('workerJoined').at(-1)?.worker.suspect).toBe(true);
    server.expose(liar.id, 'another gradient of it differs', 'test your memory');
    expect(isHere(suspect.id)).toBe(true);
  });

  it('does nothing when the worker is not connected', async () => {
    const peer = await join();
    peer.close('bye');
    await peer.served;
    expect([server.remove(peer.id, 'why', true), server.remove('nobody', 'why', true)]).toEqual([undefined, undefined]);
    await join();
  });
});

describe('the end of a run', () => {
  it('is sent to every worker, and waits until their links are closed', async () => {
    const peers = [await join(), await join()];
    await server.dismissAll('completed', 3_000);
    for (const peer of peers) {
      expect(await peer.next()).toEqual({ type: 'stop', code: 'completed', reason: 'the run is complete' });
      await peer.served;
    }
    expect(roster.connected).toBe(0);
    expect((await refusalOf(HELLO)).answer).toMatchObject({ code: 'run_over', message: 'the run is complete' });
  });

  it('does not wait past its deadline for a link that stays open', async () => {
    await join({ wrap: (link) => ({ ...link, bufferedBytes: 0, close: () => undefined, closed: new Promise(() => undefined) }) });
    let done = false;
    const dismissed = server.dismissAll('stopped', 3_000).then(() => (done = true));
    await turn();
    expect(done).toBe(false);
    deadlines.expire(3_000);
    await dismissed;
  });

  it('by a failure only closes links, and asks new workers to try again', async () => {
    const peer = await join();
    server.closeAll('the coordinator failed');
    expect(await peer.next()).toMatchObject({ end: expect.stringContaining('the coordinator failed') });
    await peer.served;
    expect((await refusalOf(HELLO)).answer).toMatchObject({ code: 'internal', message: 'the coordinator failed' });
  });
});

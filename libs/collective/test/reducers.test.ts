/** Reducers that are lost, in every phase of a round: it completes with the bits of the star. */
import { setMaxListeners } from 'node:events';
import { createChannel, PROTOCOL_VERSION, type Message } from '@troupe/protocol';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createRangeLayout, evenRanges } from '../src/index.js';
import { aMoment, ALL, expected, isChunk, isMessage, Network, Rounds, TENSORS } from './network.js';
import { LEASES, ORDER, RUN, soon } from './rounds.js';

const contains = (text: string): unknown => expect.stringContaining(text);

// As in the processes that run services.
setMaxListeners(0);

describe('a run with reducers', () => {
  let network: Network;
  let run: Rounds;

  const begin = async (reducers: number, direct?: boolean[]): Promise<void> => {
    network = new Network(reducers);
    run = new Rounds(network);
    await run.begin(direct);
  };

  afterEach(() => network.stop());

  /** Kills a reducer the first time that it sends this. */
  const killWhen = (name: string, matches: (client: string, frame: Uint8Array) => boolean): (() => boolean) => {
    let killed = false;
    network.onSent = (from, client, frame) => {
      if (killed || from !== name || !matches(client, frame)) return;
      killed = true;
      network.kill(name);
    };
    return () => killed;
  };

  /** Resolves when the service has found the reducer again. */
  const restart = async (name: string): Promise<void> => {
    const found = () => network.notes.filter(({ text }) => text.endsWith(`at ${name} is here`)).length;
    const before = found();
    network.start(name);
    await vi.waitUntil(() => found() > before, 5_000);
  };

  /** Names of the places that sent an update to this client. */
  const sendersTo = (client: string): Set<string> => {
    const senders = new Set<string>();
    network.onSent = (from, to, frame) => {
      if (to === client && isMessage(frame, 'updateRange')) senders.add(from);
    };
    return senders;
  };

  it.each([1, 2, 4])('with %d gives the bits of the star, whether or not workers reach them', async (reducers) => {
    await begin(reducers, [true, false, true]);
    const updates = await expected(3);
    for (let round = 0; round < 3; round++) expect(await run.round(round)).toEqual(updates[round]);
    const places = Array.from({ length: reducers }, (_, k) => `reducer${k}`);
    const [direct, through] = [sendersTo('w0'), new Set<string>()];
    expect(await run.round(3)).toBeDefined();
    expect(direct).toEqual(new Set(places));
    network.onSent = (from, to, frame) => {
      if (to === 'w1' && isMessage(frame, 'updateRange')) through.add(from);
    };
    await run.round(4);
    expect(through).toEqual(new Set(['service']));
  });

  const PHASES: readonly (readonly [phase: string, matches: (client: string, frame: Uint8Array) => boolean])[] = [
    ['when it has the first contribution', (_, frame) => isMessage(frame, 'held')],
    ['when its sum is complete', (_, frame) => isMessage(frame, 'measured')],
    ['when it begins to send the update to a worker', (to, frame) => to === 'w1' && isMessage(frame, 'updateRange')],
    ['when it begins to send the update to the service', (to, frame) => to === 'service' && isMessage(frame, 'updateRange')],
    ['while it sends the update', (to, frame) => to === 'w1' && isChunk(frame)],
    ['when all have its range of the update but the last', (to, frame) => to === 'w2' && isChunk(frame)],
  ];

  it.each(PHASES.flatMap(([phase, matches]) => ALL.map((lost) => ({ phase, matches, lost }))))(
    'loses reducer $lost $phase, and the round completes with the same bits',
    async ({ matches, lost }) => {
      await begin(3, [true, true, true]);
      const updates = await expected(5);
      expect(await run.round(0)).toEqual(updates[0]);
      const killed = killWhen(`reducer${lost}`, matches);
      expect(await run.round(1)).toEqual(updates[1]);
      expect(killed()).toBe(true);
      expect(await run.round(2)).toEqual(updates[2]);
      expect(network.notes).toContainEqual(
        expect.objectContaining({
          level: 'warn',
          text: expect.stringContaining(`reducer at reducer${lost} is lost`),
        }),
      );
      await restart(`reducer${lost}`);
      expect(await run.round(3)).toEqual(updates[3]);
      await aMoment();
      const senders = sendersTo('w0');
      expect(await run.round(4)).toEqual(updates[4]);
      expect(senders).toEqual(new Set(['reducer0', 'reducer1', 'reducer2']));
    },
  );

  it('loses a reducer between contributions, and one before the first', async () => {
    await begin(2);
    const updates = await expected(2);
    run.open(0);
    network.kill('reducer0');
    run.contribute(0, 0);
    await aMoment();
    network.kill('reducer1');
    for (const k of [1, 2]) run.contribute(0, k);
    expect(await run.updates(0)).toEqual(updates[0]);
    expect(await run.round(1)).toEqual(updates[1]);
  });

  it('gives up the audit of a contribution whose copy is lost with a reducer, and others compute its streams', async () => {
    await begin(2);
    const updates = await expected(1);
    run.host.openRound(ORDER);
    const [first, ...others] = LEASES.map((streams, k) => ({ round: 0, leaseId: `lease${k}`, workerId: `w${k}`, streams }));
    run.host.grant({ ...first, mostNorm: 1e-9 });
    for (const grant of others) run.host.grant(grant);
    // Before the bytes that follow.
    const killed = killWhen('reducer1', (_, frame) => isMessage(frame, 'copied'));
    run.contribute(0, 0);
    expect(await run.workers[0].until('result')).toMatchObject({
      result: 'not_audited',
      reason: contains('lost with its reducer'),
    });
    expect(killed()).toBe(true);
    run.host.grant({ ...first, leaseId: 'again' });
    run.contribute(0, 0, { leaseId: 'again' });
    for (const k of [1, 2]) run.contribute(0, k);
    expect(await run.updates(0)).toEqual(updates[0]);
  });

  it('sends a range through the service when a worker alone loses its link to the reducer', async () => {
    await begin(2);
    const updates = await expected(3);
    expect(await run.round(0)).toEqual(updates[0]);
    run.open(1);
    run.contribute(1, 0);
    network.blocked.add('w1 reducer1');
    network.cut('w1', 'reducer1');
    for (const k of [1, 2]) run.contribute(1, k);
    expect(await run.updates(1)).toEqual(updates[1]);
    const senders = sendersTo('w1');
    expect(await run.round(2)).toEqual(updates[2]);
    expect(senders).toEqual(new Set(['reducer0', 'service']));
  });

  it('opens the round again when a worker left whose range was lost with the reducer', async () => {
    await begin(2);
    const updates = await expected(1);
    run.open(0);
    run.contribute(0, 0);
    expect(await run.workers[0].until('result')).toMatchObject({ result: 'counted' });
    run.workers[0].member.close('gone');
    await aMoment();
    network.kill('reducer1');
    for (const k of [1, 2]) run.contribute(0, k);
    const ended = async (): Promise<never> => {
      for (;;) await run.host.receive(soon());
    };
    await expect(ended()).rejects.toMatchObject({ code: 'closed', message: expect.stringContaining('begins again') });
    await run.begin();
    expect(await run.round(0)).toEqual(updates[0]);
  });

  it('serves a worker that joins while a reducer is away, and tells it when the reducer is back', async () => {
    await begin(2);
    const updates = await expected(3);
    network.kill('reducer0');
    await aMoment();
    await run.join(2);
    expect(await run.round(0)).toEqual(updates[0]);
    await restart('reducer0');
    expect(await run.round(1)).toEqual(updates[1]);
    await aMoment();
    const senders = sendersTo('w2');
    expect(await run.round(2)).toEqual(updates[2]);
    expect(senders).toEqual(new Set(['reducer0', 'reducer1']));
  });

  it('sends no update to a parked worker from any place, and all from the round on that it is told', async () => {
    await begin(2);
    run.host.subscribe('w2', false);
    const senders = sendersTo('w2');
    run.open(0);
    for (const k of ALL) run.contribute(0, k);
    await run.updates(0, [0, 1]);
    expect(senders.size).toBe(0);
    run.host.subscribe('w2', true);
    await aMoment();
    await run.round(1);
    expect(senders).toEqual(new Set(['reducer0', 'reducer1']));
  });

  it('refuses what a worker sends wrongly to a reducer, and the round completes', async () => {
    await begin(2);
    const updates = await expected(2);
    run.host.admit('w9', 'ticket 9');
    expect(await run.round(0)).toEqual(updates[0]);
    run.open(1);
    const [other, own] = evenRanges(TENSORS, 2);
    const range = { type: 'gradientRange', round: 1, leaseId: 'x' } as const;
    const wrongs: readonly (readonly [message: Message, body: number, code: string])[] = [
      [{ ...range, ...own }, 8, 'invalid_message'],
      [{ ...range, from: 2, to: 7 }, 8, 'invalid_message'],
      [{ ...range, from: 3, to: 3 }, 0, 'invalid_message'],
      [{ ...range, ...other }, createRangeLayout(TENSORS).arrivingBytes(other), 'invalid_message'],
      [{ type: 'linked', reducers: [] }, 0, 'unexpected_message'],
    ];
    for (const [message, body, code] of wrongs) {
      const { rude } = await joinRudely('reducer1');
      rude.send(message, new Uint8Array(body));
      expect((await rude.receive(soon())).message).toMatchObject({ type: 'refuse', code });
    }
    for (const k of ALL) run.contribute(1, k);
    expect(await run.updates(1)).toEqual(updates[1]);
  });

  /** A link of worker 9 to the reducer, and the ticket that was for it. */
  const joinRudely = async (place: string) => {
    const entry = { type: 'join' as const, versions: [PROTOCOL_VERSION], runId: 'run-1', workerId: 'w9' };
    const service = createChannel(await network.connect('w9', 'service'), { accepts: ['joined', 'reducer'], bodyBytes: () => 0 });
    service.send({ ...entry, ticket: 'ticket 9' });
    for (;;) {
      const { message } = await service.receive(soon());
      if (message.type !== 'reducer' || !message.addresses.includes(place)) continue;
      const { ticket } = message;
      const rude = createChannel(await network.connect('w9', place), { accepts: ['joined', 'refuse'], bodyBytes: () => 0 });
      rude.send({ ...entry, ticket });
      expect((await rude.receive(soon())).message.type).toBe('joined');
      return { rude, ticket };
    }
  };

  it('lets a ticket in once, and only its own worker', async () => {
    await begin(2);
    run.host.admit('w9', 'ticket 9');
    const { ticket } = await joinRudely('reducer1');
    for (const workerId of ['w9', 'w1']) {
      const thief = createChannel(await network.connect('w9', 'reducer1'), { accepts: ['joined', 'refuse'], bodyBytes: () => 0 });
      thief.send({ type: 'join', versions: [PROTOCOL_VERSION], runId: 'run-1', workerId, ticket });
      expect((await thief.receive(soon())).message).toMatchObject({ type: 'refuse', code: 'wrong_token' });
    }
    expect(await run.round(0)).toEqual((await expected(1))[0]);
  });

  it('is refused by a service that another part of the run has', async () => {
    network = new Network(0);
    const host = network.collective('host').host({
      ...{ ...RUN, ...TENSORS, address: 'service', token: 'secret', signal: soon() },
      reducers: ['service', 'elsewhere'],
    });
    await host;
    await aMoment();
    const texts = network.notes.map(({ text }) => text);
    expect(texts).toContainEqual(expect.stringContaining('at service cannot be reached: it refused (taken)'));
    expect(texts).toContainEqual(expect.stringContaining('at elsewhere cannot be reached'));
  });
});

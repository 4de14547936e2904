/** Reducers that are lost, in every phase of a round: it completes with the bits of the star. */
import { setMaxListeners } from 'node:events';
import type { CodedPart } from '@troupe/optim';
import { createChannel, PROTOCOL_VERSION, type MessageType } from '@troupe/protocol';
import { tap, TransportError, type Connection } from '@troupe/transport';
import { createMemoryPair, type MemoryConnection } from '@troupe/transport/memory';
import { afterEach, describe, expect, it, vi } from 'vitest';
import {
  wholeUpdate,
  type ArrivingUpdate,
  type CollectiveHost,
  type CollectiveMember,
  type GradientShape,
  type MemberEvent,
  type ReduceUpdate,
} from '../src/index.js';
import { createStarCollective, createStarService, type ServiceNote, type StarService } from '../src/star/index.js';
import { contribution, openRound, RUN, SEED, SHAPE, SIZE, soon, untilUpdate } from './rounds.js';

// As in the processes that run services.
setMaxListeners(0);

/** Enough tensors for four ranges. */
const TENSORS: GradientShape = { ...SHAPE, tensorSizes: [90, 80, 91, 80] };

interface Place {
  service: StarService;
  stop: AbortController;
  /** The ends of the links to it that others hold. */
  readonly links: Set<MemoryConnection>;
}

/** A service, its reducers and all the links between them and their clients. */
class Network {
  readonly notes: ServiceNote[] = [];
  readonly places = new Map<string, Place>();
  /** Called when a place has sent a frame to a client; see `isMessage`. */
  onSent: (from: string, client: string, frame: Uint8Array) => void = () => undefined;
  /** Clients that cannot reach a place. */
  readonly blocked = new Set<string>();
  readonly #served: Promise<void>[] = [];
  readonly #reducers: readonly string[];

  constructor(reducers: number) {
    this.#reducers = Array.from({ length: reducers }, (_, k) => `reducer${k}`);
    this.start('service');
    for (const reducer of this.#reducers) this.start(reducer);
  }

  start(name: string): void {
    const stop = new AbortController();
    const service = createStarService({
      token: 'secret',
      log: (note) => this.notes.push(note),
      deadline: (ms) => AbortSignal.timeout(Math.min(ms, 400)),
      connect: (address) => this.connect('service', address),
      ...(name === 'service' && { reducers: this.#reducers.map((address) => ({ address, forWorkers: address })) }),
    });
    this.places.set(name, { service, stop, links: new Set() });
  }

  /** Like a process that is killed. */
  kill(name: string): void {
    const place = this.places.get(name)!;
    this.places.delete(name);
    for (const link of place.links) link.breakLink('killed');
  }

  async connect(client: string, name: string): Promise<Connection> {
    const place = this.places.get(name);
    if (!place || this.blocked.has(`${client} ${name}`)) throw new TransportError('unreachable', `${name} is away`, 'Wait.');
    const [near, far] = createMemoryPair([name, client]);
    place.links.add(near);
    const watched = tap(far, { sent: (frame) => this.onSent(name, client, frame) });
    this.#served.push(place.service.serve(watched, place.stop.signal));
    return near;
  }

  collective(client: string, direct = true) {
    return createStarCollective({ connect: (address) => this.connect(client, address), direct });
  }

  async stop(): Promise<void> {
    for (const { stop } of this.places.values()) stop.abort();
    await Promise.all(this.#served);
  }
}

/** Whether the frame begins a message of this type, whose name stands in its msgpack. */
const isMessage = (frame: Uint8Array, type: MessageType): boolean => Buffer.from(frame.subarray(0, 64)).includes(type);

/** Whether the frame is a chunk of a body. */
const isChunk = (frame: Uint8Array): boolean => frame[0] === 2;

const gradientOf = (round: number, k: number): Float32Array =>
  Float32Array.from({ length: SIZE }, (_, i) => Math.sin(i * (k + 1) + round) * 10 ** (i % 4));

const ALL = [0, 1, 2];

/** A worker that always listens, as real ones do. */
class Listener {
  readonly member: CollectiveMember;
  readonly #events: (ReduceUpdate | Exclude<MemberEvent, ArrivingUpdate>)[] = [];
  #ended: Error | undefined;
  #wake = (): void => undefined;

  constructor(member: CollectiveMember) {
    this.member = member;
    void this.#listen();
  }

  async #listen(): Promise<void> {
    try {
      for (;;) {
        const event = await this.member.receive();
        this.#events.push(event.kind === 'update' ? await wholeUpdate(event) : event);
        this.#wake();
      }
    } catch (error) {
      this.#ended = error as Error;
      this.#wake();
    }
  }

  async until<K extends MemberEvent['kind']>(kind: K): Promise<ReduceUpdate | Exclude<MemberEvent, ArrivingUpdate>> {
    for (;;) {
      const event = this.#events.shift();
      if (event?.kind === kind) return event;
      if (event) continue;
      if (this.#ended) throw this.#ended;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}

/** A run of three workers at a network. */
class Rounds {
  readonly network: Network;
  host!: CollectiveHost;
  readonly workers: Listener[] = [];

  constructor(network: Network) {
    this.network = network;
  }

  async begin(direct = [true, true, true]): Promise<void> {
    const options = { ...RUN, ...TENSORS, address: 'service', token: 'secret', signal: soon() };
    this.host = await this.network.collective('host').host(options);
    for (const k of ALL) await this.join(k, direct[k]);
    await aMoment();
  }

  async join(k: number, direct = true): Promise<void> {
    this.host.admit(`w${k}`, `ticket ${k}`);
    const entry = { runId: 'run-1', workerId: `w${k}`, ticket: `ticket ${k}` };
    const collective = this.network.collective(`w${k}`, direct);
    const member = await collective.join({ ...TENSORS, ...entry, seed: SEED, address: 'service', signal: soon() });
    this.workers[k] = new Listener(member);
  }

  open(round: number): void {
    openRound(this.host, { round });
  }

  contribute(round: number, k: number): void {
    this.workers[k].member.contribute(contribution(k, { round, gradient: gradientOf(round, k) }));
  }

  /** The update of the round, which all have received. */
  async updates(round: number, members = ALL): Promise<readonly CodedPart[]> {
    const update = await untilUpdate(this.host);
    expect(update.round).toBe(round);
    for (const k of members) expect(await this.workers[k].until('update')).toEqual(update);
    return update.parts;
  }

  async round(round: number): Promise<readonly CodedPart[]> {
    this.open(round);
    for (const k of ALL) this.contribute(round, k);
    return this.updates(round);
  }
}

/** Long enough for what needs no timer. */
const aMoment = () => new Promise((resolve) => setTimeout(resolve, 15));

/** What the star makes of the first rounds. */
async function expected(rounds: number): Promise<(readonly CodedPart[])[]> {
  const star = new Network(0);
  const run = new Rounds(star);
  await run.begin();
  const updates: (readonly CodedPart[])[] = [];
  for (let round = 0; round < rounds; round++) updates.push(await run.round(round));
  await star.stop();
  return updates;
}

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
          text: expect.stringContaining(`reducer of range ${lost} at reducer${lost} is lost`),
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

  it('sends a range through the service when a worker alone loses its link to the reducer', async () => {
    await begin(2);
    const updates = await expected(3);
    expect(await run.round(0)).toEqual(updates[0]);
    run.open(1);
    run.contribute(1, 0);
    network.blocked.add('w1 reducer1');
    for (const link of network.places.get('reducer1')!.links) if (link.remote === 'w1') link.breakLink('cable');
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
    const updates = await expected(1);
    run.host.admit('w9', 'ticket 9');
    for (const [message, body, code] of [
      [{ type: 'gradientRange', round: 0, leaseId: 'x', range: 0 }, 8, 'invalid_message'],
      [{ type: 'gradientRange', round: 0, leaseId: 'x', range: 1 }, 8, 'invalid_message'],
      [{ type: 'route', ranges: [] }, 0, 'unexpected_message'],
    ] as const) {
      await aMoment();
      const rude = createChannel(await network.connect('w9', 'reducer1'), { accepts: ['joined', 'refuse'], bodyBytes: () => 0 });
      rude.send({ type: 'join', versions: [PROTOCOL_VERSION], runId: 'run-1', workerId: 'w9', ticket: 'ticket 9' });
      expect((await rude.receive(soon())).message.type).toBe('joined');
      if (message.type === 'route') rude.send({ ...message, ranges: [...message.ranges] });
      else rude.send(message, new Uint8Array(body));
      expect((await rude.receive(soon())).message).toMatchObject({ type: 'refuse', code });
    }
    expect(await run.round(0)).toEqual(updates[0]);
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

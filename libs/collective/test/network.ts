/** A service, its reducers and its clients in one process, for tests of links that break and of peers that misbehave. */
import type { CodedPart } from '@troupe/optim';
import type { MessageType } from '@troupe/protocol';
import { tap, TransportError, type Connection } from '@troupe/transport';
import type { RtcLinks } from '@troupe/transport/webrtc';
import { createMemoryPair, type MemoryConnection } from '@troupe/transport/memory';
import { expect } from 'vitest';
import {
  wholeUpdate,
  type ArrivingUpdate,
  type CollectiveHost,
  type CollectiveMember,
  type Contribution,
  type GradientShape,
  type HostOptions,
  type JoinOptions,
  type MemberEvent,
  type ReduceUpdate,
} from '../src/index.js';
import { createStarCollective, createStarService, type ServiceNote, type StarPeer, type StarService } from '../src/star/index.js';
import { contribution, openRound, RUN, SEED, SHAPE, SIZE, soon, untilUpdate } from './rounds.js';

/** Enough tensors for four ranges. */
export const TENSORS: GradientShape = { ...SHAPE, tensorSizes: [90, 80, 91, 80] };

/** The workers of a run; worker k computes lease k. */
export const ALL = [0, 1, 2];

interface Place {
  service: Pick<StarService, 'serve'>;
  stop: AbortController;
  /** The ends of the links to it that others hold. */
  readonly links: Set<MemoryConnection>;
}

/** A service, its reducers and all the links between them and their clients. */
export class Network {
  readonly notes: ServiceNote[] = [];
  /** Of workers that sum for others. */
  readonly failures: unknown[] = [];
  readonly places = new Map<string, Place>();
  /** Called when a place has sent a frame to a client; see `isMessage`. */
  onSent: (from: string, client: string, frame: Uint8Array) => void = () => undefined;
  /** What the place uses instead of its end of a link to a client. */
  onLink: (place: string, client: string, link: Connection) => Connection = (_place, _client, link) => link;
  /** Clients that cannot reach a place. */
  readonly blocked = new Set<string>();
  /** Clients that reach a place when this has resolved. */
  readonly delayed = new Map<string, Promise<void>>();
  readonly #served: Promise<void>[] = [];
  readonly #reducers: readonly string[];
  readonly #deadline: (ms: number) => AbortSignal;
  #tickets = 0;

  /** @param deadline of the services; the default shortens long waits */
  constructor(reducers: number, deadline = (ms: number) => AbortSignal.timeout(Math.min(ms, 400))) {
    this.#reducers = Array.from({ length: reducers }, (_, k) => `reducer${k}`);
    this.#deadline = deadline;
    this.start('service');
    for (const reducer of this.#reducers) this.start(reducer);
  }

  start(name: string): void {
    const stop = new AbortController();
    const service = createStarService({
      token: 'secret',
      secret: () => `ticket ${this.#tickets++}`,
      log: (note) => this.notes.push(note),
      deadline: this.#deadline,
      nowMs: () => performance.now(),
      connect: (address) => this.connect('service', address),
      iceServers: (workerId) => [{ urls: ['turn:relay'], username: workerId, credential: 'secret' }],
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

  /** Breaks the links of one client to a place. */
  cut(client: string, name: string): void {
    for (const link of this.places.get(name)!.links) if (link.remote === client) link.breakLink('cable');
  }

  async connect(client: string, name: string): Promise<Connection> {
    await this.delayed.get(`${client} ${name}`);
    const place = this.places.get(name);
    if (!place || this.blocked.has(`${client} ${name}`)) throw new TransportError('unreachable', `${name} is away`, 'Wait.');
    return this.#open(client, name, place.service);
  }

  #open(client: string, name: string, service: Pick<StarService, 'serve'>): Connection {
    const { links, stop } = this.places.get(name)!;
    const [near, far] = createMemoryPair([client, name]);
    links.add(far);
    const watched = tap(this.onLink(name, client, far), { sent: (frame) => this.onSent(name, client, frame) });
    this.#served.push(service.serve(watched, stop.signal));
    return near;
  }

  /** @param rtc its links over WebRTC; see `RtcExchange` */
  collective(client: string, direct = true, peer?: StarPeer, rtc?: RtcLinks) {
    const connect = (address: string): Promise<Connection> => this.connect(client, address);
    return createStarCollective({ connect, direct, ...(peer && { peer }), ...(rtc && { rtc }) });
  }

  /** The part of a worker that sums for others, at the place "of CLIENT". */
  listen(client: string, addresses = [`of ${client}`], rtc?: RtcLinks): StarPeer {
    const name = `of ${client}`;
    const service = createStarService({
      token: 'unknown',
      secret: () => 'unused',
      log: (note) => this.notes.push(note),
      deadline: this.#deadline,
      ...(rtc && { rtc }),
    });
    const stop = new AbortController();
    this.places.set(name, { service, stop, links: new Set() });
    return {
      addresses,
      service,
      connect: () => this.#open(client, name, service),
      onFailed: (error) => this.failures.push(error),
    };
  }

  async stop(): Promise<void> {
    for (const { stop } of this.places.values()) stop.abort();
    await Promise.all(this.#served);
  }
}

/** Whether the frame begins a message of this type, whose name stands in its msgpack. */
export const isMessage = (frame: Uint8Array, type: MessageType): boolean => Buffer.from(frame.subarray(0, 64)).includes(type);

/** Whether the frame is a chunk of a body. */
export const isChunk = (frame: Uint8Array): boolean => frame[0] === 2;

/** Long enough for what needs no timer. */
export const aMoment = () => new Promise((resolve) => setTimeout(resolve, 15));

export const gradientOf = (round: number, k: number): Float32Array =>
  Float32Array.from({ length: SIZE }, (_, i) => Math.sin(i * (k + 1) + round) * 10 ** (i % 4));

type ListenerEvent = ReduceUpdate | Exclude<MemberEvent, ArrivingUpdate>;

/** A worker that always listens, as real ones do. */
export class Listener {
  readonly member: CollectiveMember;
  readonly #events: ListenerEvent[] = [];
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

  async until<K extends MemberEvent['kind']>(kind: K): Promise<ListenerEvent> {
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
export class Rounds {
  readonly network: Network;
  host!: CollectiveHost;
  readonly workers: Listener[] = [];

  constructor(network: Network) {
    this.network = network;
  }

  async begin(direct: readonly boolean[] = [true, true, true], changes: Partial<HostOptions> = {}): Promise<void> {
    await this.beginAlone(changes);
    for (const k of ALL) await this.join(k, direct[k]);
    await aMoment();
  }

  /** Without workers. */
  async beginAlone(changes: Partial<HostOptions> = {}): Promise<void> {
    const options = { ...RUN, ...TENSORS, address: 'service', token: 'secret', signal: soon(), ...changes };
    this.host = await this.network.collective('host').host(options);
  }

  async join(k: number, direct = true, changes: Partial<JoinOptions> = {}): Promise<void> {
    this.workers[k] = new Listener(await this.joinUnread(k, direct, changes));
  }

  /** A worker from which nobody receives. */
  joinUnread(k: number, direct = true, changes: Partial<JoinOptions> = {}): Promise<CollectiveMember> {
    this.host.admit(`w${k}`, `ticket ${k}`);
    const entry = { runId: 'run-1', workerId: `w${k}`, ticket: `ticket ${k}` };
    const collective = this.network.collective(`w${k}`, direct);
    return collective.join({ ...TENSORS, ...entry, seed: SEED, address: 'service', signal: soon(), ...changes });
  }

  open(round: number): void {
    openRound(this.host, { round });
  }

  contribute(round: number, k: number, changes: Partial<Contribution> = {}): void {
    this.workers[k].member.contribute(contribution(k, { round, gradient: gradientOf(round, k), ...changes }));
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

/** What the star makes of the first rounds. */
export async function expected(rounds: number): Promise<(readonly CodedPart[])[]> {
  const star = new Network(0);
  const run = new Rounds(star);
  await run.begin();
  const updates: (readonly CodedPart[])[] = [];
  for (let round = 0; round < rounds; round++) updates.push(await run.round(round));
  await star.stop();
  return updates;
}

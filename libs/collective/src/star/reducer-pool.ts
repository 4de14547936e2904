/** The reducers of a run: those of its service, those that its coordinator names, and workers that offered themselves. */
import { LIMITS, ProtocolError, type Message, type MessageOf } from '@troupe/protocol';
import type { Link, Links, Member } from './links.js';
import { keepReducer, RemoteReducer, type Assignment, type ReducerListener } from './remote-reducer.js';
import type { ReducerAddress, ServerOptions } from './run-server.js';

export interface PoolMember extends Member {
  /** Reducers to which it says it has a link. It may not know yet that one is lost; it then sends its range again. */
  linked: ReadonlySet<string>;
}

/** What the pool needs of the service that decides. */
export interface PoolPlace<M extends PoolMember> {
  readonly host: { readonly hello: MessageOf<'host'>; send(message: MessageOf<'peer'>): void };
  readonly options: ServerOptions;
  readonly links: Links<M>;
  /** The round that is open. */
  round(): number;
  bodyBytes(message: Message): number;
  listenerOf(remote: () => RemoteReducer): ReducerListener;
  /** The service cannot go on. */
  onFailed(error: unknown): void;
}

type Peers = Pick<MessageOf<'peers'>, 'candidates' | 'reducers'>;

export class ReducerPool<M extends PoolMember> {
  /** Of this service, and of its coordinator. */
  readonly own: readonly RemoteReducer[];
  readonly #place: PoolPlace<M>;
  /** Workers that offer to sum ranges. */
  readonly #peers = new Map<string, RemoteReducer>();
  #chosen: Peers = { candidates: [], reducers: [] };
  /** What the coordinator was told last of each worker. */
  readonly #reported = new Map<string, string>();
  readonly #assignment: Assignment;
  readonly #over = new AbortController();

  /** @throws ProtocolError `limit_exceeded`, `invalid_message` when the coordinator names reducers that cannot be used */
  constructor(place: PoolPlace<M>) {
    this.#place = place;
    const { runId, owner, streams, codec, tensorSizes } = place.host.hello;
    this.#assignment = { runId, owner, streams, codec, tensorSizes };
    const addresses = reducersOf(place.host.hello, place.options);
    this.own = addresses.map(({ forWorkers, address }, index) =>
      // Without a password, which no log repeats.
      this.#create(`reducer-${index}`, `the reducer at ${address.replace(/\/\/[^/@]*@/, '//')}`, forWorkers),
    );
    for (const [index, { address }] of addresses.entries()) this.#keep(this.own[index], address);
  }

  /** Workers that sum from the next round on, as long as they are there. */
  get peers(): string[] {
    return this.#chosen.reducers.filter((id) => this.#peers.get(id)?.channel);
  }

  find(id: string): RemoteReducer | undefined {
    return this.#peers.get(id) ?? this.own.find((remote) => remote.id === id);
  }

  /** To all reducers, whether or not they sum in this round. */
  tell(message: Message): void {
    for (const remote of this.#all()) this.send(remote, message);
  }

  send({ channel }: RemoteReducer, message: Message): void {
    if (channel) this.#place.links.deliver(channel, () => channel.send(message));
  }

  /** The reducers that workers shall link to. */
  #all(): RemoteReducer[] {
    const candidates = this.#chosen.candidates.flatMap((id) => this.#peers.get(id) ?? []);
    return [...this.own, ...candidates].filter(({ channel }) => channel);
  }

  #create(id: string, label: string, forWorkers: string): RemoteReducer {
    const remote: RemoteReducer = new RemoteReducer(
      id,
      label,
      forWorkers,
      this.#place.listenerOf(() => remote),
    );
    return remote;
  }

  #keep(remote: RemoteReducer, address: string): void {
    const { options, bodyBytes, onFailed } = this.#place;
    const { deadline, token, connect } = options;
    const onUnreachable = (reason: string): void => {
      const remedy = 'Check its address, and that it was started with the same token.';
      const text = `${remote.label} cannot be reached: ${reason}. The service sums its range meanwhile.`;
      options.log({ level: 'warn', text, remedy });
    };
    const assignment = this.#assignment;
    keepReducer(remote, {
      ...{ deadline, token, connect: connect!, address, assignment, bodyBytes, onUnreachable },
      over: this.#over.signal,
    }).catch(onFailed);
  }

  // ---- workers that offer themselves

  /** Rejects with what ends the link. */
  async serve({ channel, connection }: Link, { workerId, address }: MessageOf<'offer'>): Promise<void> {
    const remote = this.#create(workerId, `worker ${workerId}, which sums for others,`, addressFrom(connection.remote, address));
    // It may come back before the end of its old link is noticed.
    this.#peers.get(workerId)?.channel?.close('the same worker offered itself again');
    this.#peers.set(workerId, remote);
    try {
      await remote.serve(channel, this.#assignment, '', this.#place.options);
    } finally {
      if (this.#peers.get(workerId) === remote) this.#peers.delete(workerId);
      this.report();
    }
  }

  dismiss(order: MessageOf<'dismiss'>): void {
    this.tell(order);
    this.#peers.get(order.workerId)?.channel?.close(order.reason);
  }

  choose({ candidates, reducers }: MessageOf<'peers'>): void {
    const before = new Set(this.#chosen.candidates);
    this.#chosen = { candidates, reducers };
    for (const id of candidates) {
      const remote = this.#peers.get(id);
      if (remote?.channel && !before.has(id)) this.introduceToAll(remote);
    }
  }

  /**
   * Tells the coordinator which workers offer themselves, and how many can reach each, as far as that is news. It goes through all
   * members, so it is for once a round.
   */
  report(): void {
    const members = [...this.#place.links.members.values()].filter(({ wanted }) => wanted);
    for (const id of new Set([...this.#reported.keys(), ...this.#peers.keys()])) {
      const offered = this.#peers.get(id)?.channel !== undefined;
      const linked = members.filter((member) => member.linked.has(id)).length;
      const message: MessageOf<'peer'> = { type: 'peer', workerId: id, offered, members: members.length, linked };
      const text = JSON.stringify(message);
      if (this.#reported.get(id) === text) continue;
      if (offered) this.#reported.set(id, text);
      else this.#reported.delete(id);
      this.#place.host.send(message);
    }
  }

  // ---- introductions

  introduceToAll(remote: RemoteReducer): void {
    for (const member of this.#place.links.members.values()) this.#introduce(member, remote);
  }

  /** To all reducers that workers shall link to. */
  introduceAll(member: M): void {
    for (const remote of this.#all()) this.#introduce(member, remote);
  }

  /** The worker asks for another ticket. */
  introduceAgain(member: M, id: string): void {
    const remote = this.#all().find((each) => each.id === id);
    if (remote) this.#introduce(member, remote);
  }

  #introduce(member: M, remote: RemoteReducer): void {
    const { workerId, wanted, channel } = member;
    const { links, options, round } = this.#place;
    const ticket = options.secret();
    this.send(remote, { type: 'admit', workerId, ticket });
    // It may know an older state: it is only told changes while others link to it.
    this.send(remote, { type: 'subscribe', workerId, wanted });
    const { id: reducer, address } = remote;
    const message: MessageOf<'reducer'> = { type: 'reducer', reducer, address, ticket, round: Math.max(round(), 0) };
    links.deliver(channel, () => channel.send(message));
  }

  /** Workers send its ranges of this round again. */
  announceLoss({ id: reducer }: RemoteReducer): void {
    const { links, round } = this.#place;
    const message: MessageOf<'reducer'> = { type: 'reducer', reducer, address: '', ticket: '', round: Math.max(round(), 0) };
    for (const { channel } of links.members.values()) links.deliver(channel, () => channel.send(message));
  }

  isCandidate({ id }: RemoteReducer): boolean {
    return this.#chosen.candidates.includes(id) || this.own.some((remote) => remote.id === id);
  }

  end(reason: string): void {
    this.#over.abort(new Error(reason));
    for (const { channel } of this.#peers.values()) channel?.close(reason);
  }
}

/**
 * Of a run: those of the service, then those that its coordinator names.
 * @throws ProtocolError `limit_exceeded`, `invalid_message`
 */
function reducersOf({ reducers }: MessageOf<'host'>, options: ServerOptions): readonly ReducerAddress[] {
  const named = reducers.map((address) => ({ address, forWorkers: address }));
  const all = [...(options.reducers ?? []), ...named];
  if (all.length > LIMITS.reducers) {
    throw new ProtocolError('limit_exceeded', `${all.length} reducers`, `Name at most ${LIMITS.reducers} for a run.`);
  }
  if (all.length === 0 || options.connect) return all;
  throw new ProtocolError('invalid_message', 'this service cannot reach reducers', 'Name no reducers, or another service.');
}

/** The loopback and memory links: the worker is on the machine of the service. */
const HERE = /^(memory:|127\.|localhost|\[::1\]|\[::ffff:127\.)/;

/** Where others reach a worker whose link comes from `remote`, when it listens at `address`. */
function addressFrom(remote: string, address: string): string {
  const [, scheme = 'ws', port] = /^(?:(wss?):\/\/)?(:\d+)$/.exec(address) ?? [];
  if (port === undefined || HERE.test(remote)) return address;
  return `${scheme}://${remote.replace(/:\d+$/, '').replace(/^\[::ffff:([\d.]+)\]$/, '$1')}${port}`;
}

/** The reducers of a run: those of its service, those that its coordinator names, and workers that offered themselves. */
import { LIMITS, ProtocolError, type Message, type MessageOf } from '@troupe/protocol';
import { hostOf } from '@troupe/transport';
import type { Link, Links, Member } from './links.js';
import { SignalBudget } from './signal-budget.js';
import { RTC_ADDRESS } from './signals.js';
import { keepReducer, RemoteReducer, type Assignment, type ReducerIdentity, type ReducerListener } from './remote-reducer.js';
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
  /** Whether it has a range of this round or of the next. */
  isSumming(remote: RemoteReducer): boolean;
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
  /** Those that workers have been told of, and not of their end. */
  readonly #introduced = new Set<RemoteReducer>();
  /** When a worker was last introduced to a reducer, or offered itself, ms: "worker reducer". */
  readonly #introducedMs = new Map<string, number>();
  /** Ids of the reducers that a worker was ever introduced to. */
  readonly #introducedTo = new Map<string, Set<string>>();
  /** What the coordinator was told last of each worker. */
  readonly #reported = new Map<string, string>();
  readonly #assignment: Assignment;
  /** Of what workers signal, and of what reducers answer: "reducer worker". */
  readonly #signals: SignalBudget;
  readonly #answers: SignalBudget;
  readonly #over = new AbortController();

  /** @throws ProtocolError `limit_exceeded`, `invalid_message` when the coordinator names reducers that cannot be used */
  constructor(place: PoolPlace<M>) {
    this.#place = place;
    this.#signals = new SignalBudget(place.options.nowMs);
    this.#answers = new SignalBudget(place.options.nowMs);
    const { runId, owner, streams, codec, tensorSizes } = place.host.hello;
    this.#assignment = { runId, owner, streams, codec, tensorSizes };
    const addresses = reducersOf(place.host.hello, place.options);
    this.own = addresses.map(({ forWorkers, address }, index) =>
      // Without a password, which no log repeats.
      this.#create({
        ...{ id: `reducer-${index}`, isPeer: false, addresses: [forWorkers] },
        label: `the reducer at ${address.replace(/\/\/[^/@]*@/, '//')}`,
      }),
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

  /** To all reducers that workers know of, whether or not they sum in this round. */
  tell(message: Message): void {
    for (const remote of this.#introduced) this.send(remote, message);
  }

  send({ channel }: RemoteReducer, message: Message): void {
    if (channel) this.#place.links.deliver(channel, () => channel.send(message));
  }

  /** The reducers that workers shall link to. */
  #all(): RemoteReducer[] {
    const candidates = this.#chosen.candidates.flatMap((id) => this.#peers.get(id) ?? []);
    return [...this.own, ...candidates].filter(({ channel }) => channel);
  }

  #create(identity: ReducerIdentity): RemoteReducer {
    const remote: RemoteReducer = new RemoteReducer(
      identity,
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
  async serve({ channel, connection }: Link, { workerId, addresses: given }: MessageOf<'offer'>): Promise<void> {
    if (!this.#isDue(`${workerId} itself`)) throw tooOften('offers itself');
    const label = `worker ${workerId}, which sums for others,`;
    const addresses = given.map((address) => addressFrom(connection.remote, address));
    const remote = this.#create({ id: workerId, label, isPeer: true, addresses });
    // It may come back before the end of its old link is noticed.
    this.#peers.get(workerId)?.link?.close('the same worker offered itself again');
    this.#peers.set(workerId, remote);
    try {
      await remote.serve(channel, this.#assignment, '', this.#place.options);
    } finally {
      this.#introduced.delete(remote);
      if (this.#peers.get(workerId) === remote) this.#peers.delete(workerId);
      this.#report(workerId);
    }
  }

  /** Whether it may happen again. Without a clock it always may. */
  #isDue(what: string): boolean {
    const nowMs = this.#place.options.nowMs?.();
    if (nowMs === undefined) return true;
    const isDue = nowMs - (this.#introducedMs.get(what) ?? -Infinity) >= LIMITS.introduceMs;
    if (isDue) this.#introducedMs.set(what, nowMs);
    return isDue;
  }

  /** The worker has left. */
  forget(workerId: string): void {
    this.#signals.forget(workerId);
    for (const id of this.#introducedTo.get(workerId) ?? []) {
      this.#introducedMs.delete(`${workerId} ${id}`);
      this.#answers.forget(`${id} ${workerId}`);
    }
    this.#introducedTo.delete(workerId);
  }

  dismiss(order: MessageOf<'dismiss'>): void {
    // Also those that sum nothing now: they have admitted the worker, and may sum again.
    for (const remote of new Set([...this.#introduced, ...this.#peers.values()])) this.send(remote, order);
    this.#peers.get(order.workerId)?.link?.close(order.reason);
    this.#introducedMs.delete(`${order.workerId} itself`);
  }

  choose({ candidates, reducers }: MessageOf<'peers'>): void {
    const before = new Set(this.#chosen.candidates);
    this.#chosen = { candidates, reducers };
    for (const id of candidates) {
      const remote = this.#peers.get(id);
      if (remote?.channel && !before.has(id)) this.introduceToAll(remote);
    }
    this.retire();
  }

  /** Has workers end their links to peers that are no longer candidates, once they sum nothing. */
  retire(): void {
    for (const remote of this.#introduced) {
      if (remote.isPeer && !this.#chosen.candidates.includes(remote.id) && !this.#place.isSumming(remote))
        this.announceLoss(remote);
    }
  }

  /** Tells the coordinator how many workers reach each candidate. It goes through all members, so it is for once a round. */
  reportLinks(): void {
    for (const id of this.#chosen.candidates) this.#report(id);
  }

  /** As far as it is news. */
  #report(id: string): void {
    const offered = this.#peers.get(id)?.channel !== undefined;
    const wanted = offered ? [...this.#place.links.members.values()].filter((member) => member.wanted) : [];
    const linked = wanted.filter((member) => member.linked.has(id)).length;
    const message: MessageOf<'peer'> = { type: 'peer', workerId: id, offered, members: wanted.length, linked };
    const text = JSON.stringify(message);
    if (this.#reported.get(id) === text || (!offered && !this.#reported.has(id))) return;
    if (offered) this.#reported.set(id, text);
    else this.#reported.delete(id);
    this.#place.host.send(message);
  }

  // ---- introductions

  /** The reducer follows orders now. */
  begin(remote: RemoteReducer): void {
    if (remote.isPeer) this.#report(remote.id);
    if (!remote.isPeer || this.#chosen.candidates.includes(remote.id)) this.introduceToAll(remote);
  }

  introduceToAll(remote: RemoteReducer): void {
    this.#introduced.add(remote);
    for (const member of this.#place.links.members.values()) this.#introduce(member, remote);
  }

  /** To all reducers that workers shall link to. */
  introduceAll(member: M): void {
    for (const remote of this.#all()) this.#introduce(member, remote);
  }

  /** The worker asks for another ticket. */
  introduceAgain(member: M, id: string): void {
    const remote = this.#all().find((each) => each.id === id);
    if (remote && this.#isDue(`${member.workerId} ${id}`)) this.#introduce(member, remote);
  }

  #introduce(member: M, remote: RemoteReducer): void {
    const { workerId, wanted, channel } = member;
    const { links, options, round } = this.#place;
    const ticket = options.secret();
    this.send(remote, { type: 'admit', workerId, ticket });
    // It may know an older state: it is only told changes while others link to it.
    this.send(remote, { type: 'subscribe', workerId, wanted });
    const { id: reducer, addresses } = remote;
    this.#introducedTo.set(workerId, (this.#introducedTo.get(workerId) ?? new Set()).add(reducer));
    if (addresses.includes(RTC_ADDRESS)) this.#sendIceServers(remote, member);
    const message: MessageOf<'reducer'> = {
      ...{ type: 'reducer', reducer, addresses: [...addresses], ticket },
      round: Math.max(round(), 0),
    };
    links.deliver(channel, () => channel.send(message));
  }

  #sendIceServers(remote: RemoteReducer, { workerId, channel }: M): void {
    const { options, links } = this.#place;
    const { iceServers = () => [] } = options;
    this.send(remote, { type: 'iceServers', servers: iceServers(remote.id) });
    links.deliver(channel, () => channel.send({ type: 'iceServers', servers: iceServers(workerId) }));
  }

  // ---- signals of WebRTC links

  /** To a reducer that the worker was introduced to. */
  signalTo({ workerId }: M, { peer, link, signal }: MessageOf<'signal'>): void {
    const remote = this.#peers.get(peer);
    if (!remote || !this.#introduced.has(remote) || !this.#signals.allows(workerId, signal)) return;
    this.send(remote, { type: 'signal', peer: workerId, link, signal });
  }

  signalFrom({ id }: RemoteReducer, { peer, link, signal }: MessageOf<'signal'>): void {
    const { links } = this.#place;
    const member = links.members.get(peer);
    // For each pair: what one worker makes a reducer answer must cost no other worker its link.
    if (!member || !this.#answers.allows(`${id} ${peer}`, signal) || !links.isUnstuck(member)) return;
    const { channel } = member;
    links.deliver(channel, () => channel.send({ type: 'signal', peer: id, link, signal }));
  }

  /** Workers end their links to it, and send its ranges of this round again. */
  announceLoss(remote: RemoteReducer): void {
    if (!this.#introduced.delete(remote)) return;
    const { id: reducer } = remote;
    const { links, round } = this.#place;
    const message: MessageOf<'reducer'> = { type: 'reducer', reducer, addresses: [], ticket: '', round: Math.max(round(), 0) };
    for (const { channel } of links.members.values()) links.deliver(channel, () => channel.send(message));
  }

  end(reason: string): void {
    this.#over.abort(new Error(reason));
    for (const { link } of this.#peers.values()) link?.close(reason);
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

function tooOften(what: string): ProtocolError {
  return new ProtocolError('limit_exceeded', `a worker ${what} too often`, `Wait ${LIMITS.introduceMs / 1000} s in between.`);
}

/** The loopback and memory links: the worker is on the machine of the service. */
const HERE = /^(memory:|127\.|localhost|\[::1\]|\[::ffff:127\.)/;

/** Where others reach a worker whose link comes from `remote`, when it listens at `address`. */
function addressFrom(remote: string, address: string): string {
  const [, scheme = 'ws', port] = /^(?:(wss?):\/\/)?(:\d+)$/.exec(address) ?? [];
  if (port === undefined || HERE.test(remote)) return address;
  return `${scheme}://${hostOf(remote).replace(/^\[::ffff:([\d.]+)\]$/, '$1')}${port}`;
}

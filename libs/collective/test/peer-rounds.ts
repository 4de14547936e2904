/** Runs whose workers sum for each other, and peers for which a test speaks. */
import { createChannel, PROTOCOL_VERSION, type Channel, type Message, type MessageOf, type MessageType } from '@troupe/protocol';
import { expect } from 'vitest';
import { createRangeLayout, type Collective, type CollectiveHost, type HostEvent, type ReducePeer } from '../src/index.js';
import { aMoment, ALL, Listener, Rounds, TENSORS } from './network.js';
import { SEED, soon } from './rounds.js';

export const LAYOUT = createRangeLayout(TENSORS);
/** All segments of the model. */
export const WHOLE = { from: 0, to: 4 };

/** A run whose three workers sum for each other from round 1 on. */
export class PeerRounds extends Rounds {
  /** What the service said last of each worker that offers to sum, and how often it said something. */
  readonly peers = new Map<string, ReducePeer>();
  reports = 0;
  /** Lengths of the waits that workers began, ms; most are shorter here. */
  readonly waits: number[] = [];

  async beginListening(listening: readonly number[] = ALL): Promise<void> {
    await this.beginWatched();
    for (const k of ALL) await this.joinAs(k, listening.includes(k));
  }

  /** Without workers. */
  async beginWatched(): Promise<void> {
    await this.beginAlone();
    this.host = this.#watched(this.host);
  }

  async joinAs(k: number, listens: boolean): Promise<void> {
    await this.joinBy(k, this.network.collective(`w${k}`, true, listens ? this.network.listen(`w${k}`) : undefined));
  }

  async joinBy(k: number, collective: Pick<Collective, 'join'>): Promise<void> {
    const [workerId, ticket] = [`w${k}`, `ticket ${k}`];
    this.host.admit(workerId, ticket);
    const entry = { runId: 'run-1', workerId, ticket, address: 'service', signal: soon() };
    const deadline = (ms: number): AbortSignal => {
      this.waits.push(ms);
      // A minute without trouble does not become shorter: it would make each link a good one.
      return AbortSignal.timeout(ms < 60_000 ? Math.min(ms, 400) : ms);
    };
    this.workers[k] = new Listener(await collective.join({ ...TENSORS, ...entry, seed: SEED, deadline }));
  }

  /** Notes what the service says of peers, and returns the rest. */
  #watched(host: CollectiveHost): CollectiveHost {
    const next = async (signal?: AbortSignal): Promise<HostEvent> => {
      for (;;) {
        const event = await host.receive(signal);
        if (event.kind !== 'peer') return event;
        this.reports++;
        this.peers.set(event.workerId, event);
      }
    };
    return {
      receive: next,
      admit: (workerId, ticket) => host.admit(workerId, ticket),
      dismiss: (workerId, reason) => host.dismiss(workerId, reason),
      subscribe: (workerId, wanted) => host.subscribe(workerId, wanted),
      usePeers: (choice) => host.usePeers(choice),
      openRound: (order) => host.openRound(order),
      grant: (grant) => host.grant(grant),
      rule: (rule) => host.rule(rule),
      close: (reason) => host.close(reason),
    };
  }

  /** Like a process that is killed, but for the links of its worker to the service and to others. */
  killPeer(k: number): void {
    this.network.kill(`of w${k}`);
    this.breakOffer(k);
  }

  /** The link over which worker k sums for the service. */
  breakOffer(k: number): void {
    const links = [...this.network.places.get('service')!.links].filter(({ remote }) => remote === `w${k}`);
    // The first is that of its contributions.
    links.at(-1)!.breakLink('cable');
  }

  use(...workers: readonly number[]): void {
    const names = workers.map((k) => `w${k}`);
    this.host.usePeers({ candidates: names, reducers: names });
  }

  /** Round 0, in which all offers and links come about. */
  async first(...workers: readonly number[]): Promise<void> {
    await aMoment();
    this.use(...workers);
    await aMoment();
    await this.round(0);
  }
}

/** A worker that offers itself, and for which the test speaks. */
export class RudePeer {
  readonly channel: Channel;
  readonly #run: PeerRounds;

  private constructor(run: PeerRounds, channel: Channel) {
    this.#run = run;
    this.channel = channel;
  }

  static async connect(run: PeerRounds, addresses = ['of w9']): Promise<RudePeer> {
    run.host.admit('w9', 'ticket 9');
    const channel: Channel = createChannel(await run.network.connect('w9', 'service'), {
      accepts: [
        'refuse',
        'assign',
        'admit',
        'dismiss',
        'subscribe',
        'range',
        'openRound',
        'grant',
        'passedRange',
        'add',
        'drop',
        'finish',
        'iceServers',
        'signal',
      ],
      bodyBytes: (message: Message) => (message.type === 'passedRange' ? LAYOUT.arrivingBytes(message) : 0),
    });
    const peer = new RudePeer(run, channel);
    peer.send({ type: 'offer', versions: [PROTOCOL_VERSION], runId: 'run-1', workerId: 'w9', addresses, ticket: 'ticket 9' });
    return peer;
  }

  /** It is the only one that sums from round 1 on. */
  static async begin(run: PeerRounds): Promise<RudePeer> {
    await run.beginListening([]);
    const peer = await RudePeer.connect(run);
    await peer.until('assign');
    peer.send({ type: 'assigned', version: PROTOCOL_VERSION });
    await aMoment();
    run.host.usePeers({ candidates: ['w9'], reducers: ['w9'] });
    await aMoment();
    await run.round(0);
    run.open(1);
    await aMoment();
    return peer;
  }

  /** Does nothing when its link is closed. */
  send(message: Message, body?: Uint8Array): void {
    try {
      this.channel.send(message, body);
    } catch (error) {
      expect(error).toMatchObject({ name: 'TransportError' });
    }
  }

  async until<K extends MessageType>(type: K): Promise<MessageOf<K>> {
    for (;;) {
      const { message } = await this.channel.receive(soon());
      if (message.type === type) return message;
    }
  }

  /** All contribute to round 1. */
  contribute(): void {
    for (const k of ALL) this.#run.contribute(1, k);
  }

  /** It holds the next contribution, and says so. */
  async hold(changes: Partial<MessageOf<'held'>> = {}): Promise<void> {
    const { round, leaseId, workerId } = await this.until('passedRange');
    this.send({ type: 'held', round, leaseId, workerId, defect: '', serviceMs: 0, ...changes });
  }

  measure(): void {
    this.send({ type: 'measured', round: 1, ...WHOLE }, new Uint8Array(Float64Array.of(1, 1, 1, 1).buffer));
  }

  /** @param scale of each segment of its part of the update; its values are zeros */
  update(scale: number): void {
    const body = new Uint8Array(LAYOUT.leavingBytes(WHOLE));
    const view = new DataView(body.buffer);
    for (const { offset } of LAYOUT.leaving(WHOLE)) view.setFloat32(offset, scale, true);
    this.send({ type: 'updateRange', round: 1, ...WHOLE }, body);
  }

  get isClosed(): Promise<boolean> {
    return Promise.race([this.channel.closed.then(() => true), aMoment().then(() => false)]);
  }
}

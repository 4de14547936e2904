import { createVectorMemory } from '@troupe/optim';
import {
  createChannel,
  PROTOCOL_VERSION,
  ProtocolError,
  type Channel,
  type Message,
  type MessageOf,
  type MessageType,
} from '@troupe/protocol';
import type { Connection } from '@troupe/transport';
import { floatsAt } from '../codec.js';
import { contributionBytes } from '../contribution.js';
import type { Grant, RoundOrder } from '../grants.js';
import type { AuditRule } from '../ledger.js';
import type { CollectiveHost, HostEvent, HostOptions, PeerChoice } from '../port.js';
import { createRangeLayout, requireWhole, type RangeLayout } from '../ranges.js';
import { UpdateReader, wholeUpdate, type UpdateSource } from '../update.js';
import { readBody } from './body.js';
import { refused, shakeHands } from './handshake.js';
import { ServiceInbox } from './inbox.js';

/** From here on the host owns the connection. @throws what Collective.host does */
export async function hostStar(connection: Connection, options: HostOptions): Promise<CollectiveHost> {
  const {
    token,
    runId,
    owner,
    streams,
    window,
    codec,
    ordered = false,
    tensorSizes,
    stateFloats,
    largestState = 0,
    deadline,
  } = options;
  const { reducers = [] } = options;
  const layout = createRangeLayout(options);
  const channel = createChannel(connection, {
    accepts: ['hosted', 'refuse', 'counted', 'rejected', 'audit', 'peer', 'lagging', 'update', 'updateRange'],
    ...(deadline && { deadline }),
    bodyBytes(message: Message) {
      if (message.type === 'updateRange') return layout.leavingBytes(message);
      if (message.type === 'audit') return contributionBytes(options, message.streams.length);
      return message.type === 'counted' ? message.streams.length * stateFloats * 4 : 0;
    },
  });
  const hello: MessageOf<'host'> = {
    type: 'host',
    versions: [PROTOCOL_VERSION],
    token,
    runId,
    owner,
    streams,
    window,
    codec,
    ordered,
    tensorSizes: [...tensorSizes],
    stateFloats,
    largestState,
    reducers: [...reducers],
  };
  await shakeHands(channel, hello, 'hosted', options);
  return new StarHost(channel, options, layout);
}

class StarHost implements CollectiveHost {
  readonly #channel: Channel;
  readonly #inbox: ServiceInbox<MessageType>;
  readonly #layout: RangeLayout;
  readonly #reader: UpdateReader;

  constructor(channel: Channel, options: HostOptions, layout: RangeLayout) {
    this.#channel = channel;
    this.#layout = layout;
    this.#inbox = new ServiceInbox(channel);
    this.#reader = new UpdateReader(options.runId, options, layout, createVectorMemory(0));
  }

  readonly #source: UpdateSource = {
    range: (round, range, _, signal) => this.#inbox.range(round, range, signal),
  };

  admit(workerId: string, ticket: string): void {
    this.#channel.send({ type: 'admit', workerId, ticket });
  }

  dismiss(workerId: string, reason: string): void {
    this.#channel.send({ type: 'dismiss', workerId, reason });
  }

  subscribe(workerId: string, wanted: boolean): void {
    this.#channel.send({ type: 'subscribe', workerId, wanted });
  }

  usePeers({ candidates, reducers }: PeerChoice): void {
    this.#channel.send({ type: 'peers', candidates: [...candidates], reducers: [...reducers] });
  }

  openRound(order: RoundOrder): void {
    this.#channel.send({ type: 'openRound', ...order });
  }

  grant(grant: Grant): void {
    this.#channel.send({ type: 'grant', audit: 'none', ...grant });
  }

  rule(rule: AuditRule): void {
    this.#channel.send({ type: 'rule', ...rule });
  }

  async receive(signal?: AbortSignal): Promise<HostEvent> {
    const { message, body } = await this.#inbox.next(signal);
    switch (message.type) {
      case 'update':
        // The run proceeds before its replica steps, so every value is checked here.
        return wholeUpdate(this.#reader.read(message, requireWhole(message.ranges, this.#layout), this.#source, signal));
      case 'counted': {
        const { type, ...counted } = message;
        const states = await readBody(body, signal);
        return { kind: type, ...counted, endStates: floatsAt(states, 0, states.byteLength / 4) };
      }
      case 'audit': {
        const { type, ...audit } = message;
        return { kind: type, ...audit, bytes: await readBody(body, signal) };
      }
      case 'lagging':
        return { kind: 'lagging', workerId: message.workerId };
      case 'peer': {
        const { type: kind, ...peer } = message;
        return { kind, ...peer };
      }
      case 'rejected': {
        const { type, ...rejected } = message;
        return { kind: type, ...rejected };
      }
      case 'refuse':
        throw refused(message);
      default:
        throw new ProtocolError(
          'unexpected_message',
          `the all-reduce service sent ${message.type}`,
          'Run the same version of Troupe on all machines.',
        );
    }
  }

  close(reason: string): void {
    this.#channel.close(reason);
  }
}

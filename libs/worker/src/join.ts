/** How a worker joins a run: hello and welcome with the coordinator, then the all-reduce. */
import type { CollectiveMember } from '@troupe/collective';
import { createLayout, stateSize, type ParameterLayout } from '@troupe/model';
import { createReplica, snapshotBytes, type Replica } from '@troupe/optim';
import {
  createChannel,
  isLocal,
  leaseBodyBytes,
  LIMITS,
  PROTOCOL_VERSION,
  receiveWithin,
  roundOptimizer,
  type Channel,
  type Message,
  type MessageOf,
  type TrainingConfig,
} from '@troupe/protocol';
import type { Connection } from '@troupe/transport';
import { createExpectation, type Expectation } from './deadlines.js';
import { refusalError, unexpected, WorkerRefused } from './errors.js';
import { leaseShape } from './lease.js';
import { piecesOf, SHA256_BYTES } from './sources.js';
import type { WorkerOptions } from './ports.js';

export type Welcome = MessageOf<'welcome'>;
export type Deadline = (ms: number) => AbortSignal;

/** What a session has once the coordinator has welcomed it. */
export interface Membership {
  readonly control: Channel;
  readonly welcome: Welcome;
  readonly layout: ParameterLayout;
  readonly replica: Replica;
  /** The inner optimizer, in a local run. */
  readonly optimizer: Replica | undefined;
  /** Met by the first frame of a snapshot, and prolonged while others come first; the channel watches the rest. */
  readonly snapshot: Expectation;
}

/** @throws WorkerRefused, ProtocolError, TransportError, EngineError `out_of_memory` */
export async function joinRun(link: Connection, options: WorkerOptions, deadline: Deadline): Promise<Membership> {
  let bodies: (message: Message) => number = () => 0;
  const control = createChannel(link, {
    accepts: ['welcome', 'refuse', 'queued', 'snapshot', 'sources', 'seed', 'lease', 'cancel', 'parked', 'stop'],
    bodyBytes: (message) => bodies(message),
    deadline,
  });
  const welcome = await greet(control, options, deadline);
  const { config } = welcome;
  const layout = createLayout(config.model);
  const snapshot = createExpectation(
    () => deadline(LIMITS.snapshotMs),
    () => control.close('the requested snapshot did not come in time'),
  );
  bodies = (message) => {
    if (message.type === 'snapshot' || message.type === 'sources') snapshot.met();
    if (message.type === 'queued') snapshot.prolong();
    return bodyBytes(message, config, layout);
  };
  requireLayout(layout, welcome);
  options.ports.requireMemory?.(config);
  const replica = createReplica({ size: layout.size, optimizer: roundOptimizer(config) });
  const optimizer = isLocal(config) ? createReplica({ size: layout.size, optimizer: config.optimizer }) : undefined;
  return { control, welcome, layout, replica, optimizer, snapshot };
}

async function greet(control: Channel, options: WorkerOptions, deadline: Deadline): Promise<Welcome> {
  const { signal } = options;
  control.send(helloOf(options));
  const { message } = await receiveWithin(control, { deadline: deadline(LIMITS.answerMs), signal, what: 'a welcome' });
  if (message.type === 'refuse') throw refusalError(message, 'before the welcome');
  if (message.type === 'stop') throw new WorkerRefused('run_over', message.reason, 'Start a new run, or join another run.');
  if (message.type !== 'welcome') throw unexpected(message);
  return message;
}

function helloOf({ token, name, kind, credited }: WorkerOptions): MessageOf<'hello'> {
  const cut = (text: string): string => text.slice(0, LIMITS.nameLength);
  const credit = { credited: credited !== undefined, team: cut(credited?.team ?? '') };
  return { type: 'hello', versions: [PROTOCOL_VERSION], token, name: cut(name), kind, ...credit };
}

function bodyBytes(message: Message, config: TrainingConfig, layout: ParameterLayout): number {
  const bytes = snapshotBytes(layout.size, roundOptimizer(config));
  if (message.type === 'snapshot') return bytes;
  if (message.type === 'sources') return piecesOf(bytes) * SHA256_BYTES;
  return message.type === 'lease' ? leaseBodyBytes(leaseShape(message, config)) : 0;
}

function requireLayout(layout: ParameterLayout, { layoutHash }: Welcome): void {
  if (layout.hash === layoutHash) return;
  throw new WorkerRefused(
    'layout_mismatch',
    'the coordinator lays out the parameters in another way',
    'Install the same release of Troupe on both machines.',
  );
}

/** @throws what Collective.join does */
export function joinCollective(
  { welcome, layout }: Pick<Membership, 'welcome' | 'layout'>,
  { ports, signal, address }: WorkerOptions,
  deadline: Deadline,
): Promise<CollectiveMember> {
  const { config, runId, workerId, ticket, reduceAddress } = welcome;
  return ports.collective.join({
    address: resolveAddress(reduceAddress, address),
    runId,
    workerId,
    ticket,
    codec: config.codec,
    seed: config.seed,
    tensorSizes: layout.tensors.map((tensor) => tensor.size),
    stateFloats: stateSize(config.model),
    signal,
    deadline,
  });
}

/** A path such as "/reduce" is on the host of the coordinator. */
function resolveAddress(address: string, control: string): string {
  return address.startsWith('/') ? control.replace(/^(\w+:\/\/[^/]+).*$/, `$1${address}`) : address;
}

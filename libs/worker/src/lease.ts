import type { CollectiveMember, Contribution, OutgoingContribution } from '@troupe/collective';
import { dropoutKeyOf, EngineError, stateSize, type Batch, type GradientProgress } from '@troupe/model';
import {
  brief,
  decodeLeaseBody,
  sentence,
  type DeclineCode,
  type LeaseShape,
  type MessageOf,
  type TrainingConfig,
} from '@troupe/protocol';
import type { SlotEngine } from './engine-slot.js';

/** A lease as it arrived: `body` holds its tokens and the hidden states that travel with it. */
export interface LeaseOrder {
  readonly lease: MessageOf<'lease'>;
  readonly body: Uint8Array;
}

/** Hidden states [L, S, H] that this worker computed, by stream, with the round whose window they precede. */
export type HeldStates = Map<number, { readonly round: number; readonly state: Float32Array }>;

export interface LeaseContext {
  readonly config: TrainingConfig;
  readonly engine: SlotEngine;
  readonly member: CollectiveMember;
  readonly held: HeldStates;
  nowMs(): number;
  /** Whether the streams of the lease have been counted. */
  isOvertaken(): boolean;
}

export type LeaseOutcome =
  | { readonly kind: 'sent'; readonly computeMs: number; readonly characters: number }
  | { readonly kind: 'declined'; readonly code: DeclineCode; readonly reason: string };

/** An engine that takes this many times the lease's deadline will never answer; its streams were backed up long before. */
const TIMEOUT_FACTOR = 10;

/** How the body of a lease is laid out. */
export function leaseShape({ streams, states }: MessageOf<'lease'>, { model, window }: TrainingConfig): LeaseShape {
  const given = [...states].filter((kind) => kind === 'g').length;
  return { streams: streams.length, window, given, stateFloats: stateSize(model) };
}

/**
 * Computes the lease's gradient with the engine's parameters, sends the contribution and holds the end states. What an engine has finished
 * leaves while it computes the rest.
 */
export async function computeLease(context: LeaseContext, order: LeaseOrder, parametersDigest: string): Promise<LeaseOutcome> {
  const { lease } = order;
  if (context.isOvertaken()) return { kind: 'declined', code: 'cancelled', reason: 'its streams are counted' };
  const batch = assembleBatch(context, order);
  if (!batch) return { kind: 'declined', code: 'no_state', reason: `a hidden state for round ${lease.round} is not held here` };
  const outgoing = createOutgoing(context, lease);
  try {
    return await computeAndSend(context, { lease, batch, outgoing, parametersDigest });
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    const code = error.code === 'not_finite' ? 'not_finite' : 'engine';
    return { kind: 'declined', code, reason: brief(`${sentence(error.message)} ${error.remedy}`) };
  } finally {
    outgoing.end();
  }
}

/** What a lease takes until it is sent. */
interface Work {
  readonly lease: MessageOf<'lease'>;
  readonly batch: Batch;
  readonly outgoing: Outgoing;
  readonly parametersDigest: string;
}

async function computeAndSend(context: LeaseContext, { lease, batch, outgoing, ...work }: Work): Promise<LeaseOutcome> {
  const { engine, held, config } = context;
  const startMs = context.nowMs();
  const result = await engine.gradient(batch, outgoing.add, lease.deadlineMs * TIMEOUT_FACTOR);
  const computeMs = context.nowMs() - startMs;
  if (context.isOvertaken()) return { kind: 'declined', code: 'dropped', reason: 'its streams were counted meanwhile' };
  const { leaseId, round, streams } = lease;
  const { gradient, endStates, lossSum, tokens } = result;
  outgoing.finish({ leaseId, round, streams, tokens, lossSum, computeMs, ...work, gradient, endStates });
  const floats = stateSize(config.model);
  streams.forEach((stream, i) => held.set(stream, { round: round + 1, state: endStates.slice(i * floats, (i + 1) * floats) }));
  return { kind: 'sent', computeMs, characters: tokens };
}

/** A contribution that begins when there is something to send. */
interface Outgoing {
  readonly add: GradientProgress;
  finish(contribution: Contribution): void;
  /** Abandons what was not finished. */
  end(): void;
}

function createOutgoing({ member, isOvertaken }: LeaseContext, lease: MessageOf<'lease'>): Outgoing {
  let begun: OutgoingContribution | undefined;
  let ended = false;
  const begin = () => (begun ??= member.begin(lease));
  return {
    add(gradient, from) {
      // An engine that is given up may go on for a while.
      if (!ended && (begun || !isOvertaken())) begin().add(gradient, from);
    },
    finish: (contribution) => begin().finish(contribution),
    end() {
      ended = true;
      begun?.abandon();
    },
  };
}

/** @returns undefined when this worker does not hold a state that the lease counts on */
function assembleBatch({ config, held }: LeaseContext, { lease, body }: LeaseOrder): Batch | undefined {
  const shape = leaseShape(lease, config);
  const { streams, stateFloats: floats } = shape;
  const { tokens, states: sent } = decodeLeaseBody(shape, body);
  const states = new Float32Array(streams * floats);
  let next = 0;
  for (let i = 0; i < streams; i++) {
    if (lease.states[i] === 'g') states.set(sent.subarray(next * floats, ++next * floats), i * floats);
    if (lease.states[i] !== 'h') continue;
    const mine = held.get(lease.streams[i]);
    if (mine?.round !== lease.round) return undefined;
    states.set(mine.state, i * floats);
  }
  return { streams, window: config.window, tokens, states, ...dropoutKeyOf(config.model, { ...config, ...lease }) };
}

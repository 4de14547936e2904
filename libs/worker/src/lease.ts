import type { CollectiveMember, Contribution, OutgoingContribution } from '@troupe/collective';
import {
  dropoutKeyOf,
  EngineError,
  localLease,
  stateSize,
  takeLocalSteps,
  type Batch,
  type Gradient,
  type GradientProgress,
} from '@troupe/model';
import type { Replica } from '@troupe/optim';
import {
  brief,
  decodeLeaseBody,
  firstWindow,
  isLocal,
  ProtocolError,
  sentence,
  type DeclineCode,
  type LeaseContent,
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
  /** [P], which the engine has. They do not change meanwhile. */
  readonly parameters: Float32Array;
  readonly engine: SlotEngine;
  /** The optimizer of tracks, in a local run. */
  readonly optimizer: Replica | undefined;
  readonly member: CollectiveMember;
  readonly held: HeldStates;
  nowMs(): number;
  /** Whether the streams of the lease have been counted. */
  isOvertaken(): boolean;
  /** Called between two steps of a local lease. @returns whether to go on: a worker that leaves does not */
  onStep?(done: number): boolean;
}

export type LeaseOutcome =
  | { readonly kind: 'sent'; readonly computeMs: number; readonly characters: number }
  | { readonly kind: 'declined'; readonly code: DeclineCode; readonly reason: string };

/** An engine that takes this many times the lease's deadline will never answer; its streams were backed up long before. */
const TIMEOUT_FACTOR = 10;
/** What a step of a local lease may take of its deadline at least: one may be slower than the others. */
const LEAST_STEP_MS = 1_000;

/** How the body of a lease is laid out. */
export function leaseShape(
  { streams, states }: MessageOf<'lease'>,
  { model, window, localSteps: steps }: TrainingConfig,
): LeaseShape {
  const given = [...states].filter((kind) => kind === 'g').length;
  return { steps, streams: streams.length, window, given, stateFloats: stateSize(model) };
}

/**
 * Computes the lease's gradient with the engine's parameters, sends the contribution and holds the end states. What an engine has finished
 * leaves while it computes the rest.
 */
export async function computeLease(context: LeaseContext, order: LeaseOrder, parametersDigest: string): Promise<LeaseOutcome> {
  const { lease } = order;
  if (context.isOvertaken()) return { kind: 'declined', code: 'cancelled', reason: 'its streams are counted' };
  const content = readLease(context, order);
  if (!content) return { kind: 'declined', code: 'no_state', reason: `a hidden state for round ${lease.round} is not held here` };
  const outgoing = createOutgoing(context, lease);
  try {
    return await computeAndSend(context, { lease, content, outgoing, parametersDigest });
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
  readonly content: LeaseContent;
  readonly outgoing: Outgoing;
  readonly parametersDigest: string;
}

async function computeAndSend(context: LeaseContext, { lease, content, outgoing, ...work }: Work): Promise<LeaseOutcome> {
  const { held, config } = context;
  const startMs = context.nowMs();
  const result = await compute(context, lease, content, outgoing.add);
  const computeMs = context.nowMs() - startMs;
  if (!result || context.isOvertaken())
    return { kind: 'declined', code: 'dropped', reason: 'its streams were counted meanwhile' };
  const { leaseId, round, streams } = lease;
  const { gradient, endStates, lossSum, tokens } = result;
  outgoing.finish({ leaseId, round, streams, tokens, lossSum, computeMs, ...work, gradient, endStates });
  const floats = stateSize(config.model);
  streams.forEach((stream, i) => held.set(stream, { round: round + 1, state: endStates.slice(i * floats, (i + 1) * floats) }));
  return { kind: 'sent', computeMs, characters: tokens };
}

/** @returns undefined if it was overtaken meanwhile */
async function compute(
  context: LeaseContext,
  { round, streams, deadlineMs, local }: MessageOf<'lease'>,
  { tokens, states, learningRates }: LeaseContent,
  onProgress: GradientProgress,
): Promise<Gradient | undefined> {
  const { engine, optimizer, parameters, isOvertaken, onStep = () => true, config } = context;
  const { model, seed, window } = config;
  const first = firstWindow(config, round);
  const timeoutMs = Math.max(deadlineMs / config.localSteps, local ? LEAST_STEP_MS : 0) * TIMEOUT_FACTOR;
  if (!local || !optimizer) {
    const key = dropoutKeyOf(model, { seed, round: first, streams });
    return engine.gradient({ streams: streams.length, window, tokens, states, ...key }, onProgress, timeoutMs);
  }
  const lease = localLease(model, seed, { streams, window, first, tokens, states, learningRates, ...local });
  const steps = {
    setParameters: (values: Float32Array) => engine.setParameters(values),
    gradient: (batch: Batch) => engine.gradient(batch, undefined, timeoutMs),
  };
  try {
    const isGivenUp = (done: number): boolean => isOvertaken() || !onStep(done);
    return await takeLocalSteps(parameters, lease, { engine: steps, optimizer, isOvertaken: isGivenUp });
  } finally {
    // The next lease counts on them, also after one that was given up.
    engine.setParameters(parameters);
  }
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

/** @throws ProtocolError `invalid_message` */
function requireLocalParts(config: TrainingConfig, { local }: MessageOf<'lease'>, learningRates: Float32Array): void {
  const hasParts = (local !== undefined) === isLocal(config);
  if (hasParts && (local?.wrapStep ?? 0) < config.localSteps && learningRates.every((rate) => Number.isFinite(rate))) return;
  throw new ProtocolError(
    'invalid_message',
    'a lease does not fit the steps that tracks of this run take',
    'Check that the coordinator is of the same version.',
  );
}

/** @returns its content with the states of all streams; undefined when this worker does not hold a state that the lease counts on */
function readLease({ config, held }: LeaseContext, { lease, body }: LeaseOrder): LeaseContent | undefined {
  const shape = leaseShape(lease, config);
  const { streams, stateFloats: floats } = shape;
  const { states: sent, ...content } = decodeLeaseBody(shape, body);
  requireLocalParts(config, lease, content.learningRates);
  const states = new Float32Array(streams * floats);
  let next = 0;
  for (let i = 0; i < streams; i++) {
    if (lease.states[i] === 'g') states.set(sent.subarray(next * floats, ++next * floats), i * floats);
    if (lease.states[i] !== 'h') continue;
    const mine = held.get(lease.streams[i]);
    if (mine?.round !== lease.round) return undefined;
    states.set(mine.state, i * floats);
  }
  return { ...content, states };
}

/** Compares what a worker sent for a lease with what somebody else computes for it. */
import { createVectorMemory, decodeInt8, type CodedPart, type VectorMemory } from '@troupe/optim';
import { bytesOf, createSegmentReader, floatsAt, type GradientShape, type Segment } from './codec.js';
import { createContributionWriter, type CodedLease } from './contribution.js';
import { createRangeLayout } from './ranges.js';

/**
 * Engines sum in different orders and at different precisions: their gradients differ by up to 2e-4 of the norm, and int8 turns small
 * differences into steps of its own. A lie is much larger: a gradient with the sign flipped differs by 2. What hides below these limits
 * changes an update less than leaving out one stream.
 */
const OF_NORM = 0.02;
/** Of a tensor: a lie may be in a small one. Of its own norm, and of that of the whole. */
const OF_TENSOR = 0.05;
const OF_WHOLE = 0.002;
const OF_STATE = 0.01;
const OF_LOSS = 0.002;

export interface AuditShape extends GradientShape {
  /** Of the run; rounding to int8 depends on it. */
  readonly seed: number;
}

/** What a worker sent. */
export interface Claim extends CodedLease {
  /** Nats, summed over the characters. */
  readonly lossSum: number;
  /** The coded gradient, the last segment first, and then end states float32 [streams, stateFloats]. */
  readonly bytes: Uint8Array;
}

/** What the lease gives. */
export interface Recomputed {
  /** [P] */
  readonly gradient: Float32Array;
  /** [streams, stateFloats] */
  readonly endStates: Float32Array;
  readonly lossSum: number;
}

/**
 * @param exact both engines compute the same bits
 * @returns how they differ, for people; undefined when they agree
 */
export function differenceOf(shape: AuditShape, claim: Claim, computed: Recomputed, exact: boolean): string | undefined {
  const segments = segmentsAsSent(shape);
  const gradientBytes = bytesOf(segments);
  const memory = createVectorMemory(0);
  const coded = encoded(shape, segments, claim, computed.gradient, memory);
  const states = floatsAt(claim.bytes, gradientBytes, computed.endStates.length);
  if (exact) return exactDifference(coded, claim, computed, states);
  return (
    gradientDifference(shape, segments, claim.bytes, coded, memory) ??
    stateDifference(states, computed.endStates) ??
    lossDifference(claim.lossSum, computed.lossSum)
  );
}

/** What a worker that computes this would send. */
export function claimOf(shape: AuditShape, { round, streams }: CodedLease, { gradient, endStates, lossSum }: Recomputed): Claim {
  const segments = segmentsAsSent(shape);
  const coded = encoded(shape, segments, { round, streams }, gradient, createVectorMemory(0));
  const bytes = new Uint8Array(coded.byteLength + endStates.byteLength);
  bytes.set(coded);
  bytes.set(new Uint8Array(endStates.buffer, endStates.byteOffset, endStates.byteLength), coded.byteLength);
  return { round, streams, lossSum, bytes };
}

/** The last one first. */
function segmentsAsSent(shape: AuditShape): readonly Segment[] {
  const layout = createRangeLayout(shape);
  return layout.arriving({ from: 0, to: layout.segments });
}

function encoded(
  shape: AuditShape,
  segments: readonly Segment[],
  lease: CodedLease,
  gradient: Float32Array,
  memory: VectorMemory,
): Uint8Array {
  const coded = new Uint8Array(bytesOf(segments));
  const writer = createContributionWriter(shape, memory);
  for (const segment of segments) writer.encode(gradient, lease, segment, partOf(coded, segment));
  return coded;
}

function partOf(body: Uint8Array, { offset, bytes }: Segment): Uint8Array {
  return body.subarray(offset, offset + bytes);
}

function exactDifference(coded: Uint8Array, claim: Claim, computed: Recomputed, states: Float32Array): string | undefined {
  if (coded.some((byte, i) => byte !== claim.bytes[i])) return 'its gradient has other bits';
  if (computed.endStates.some((value, i) => !Object.is(value, states[i]))) return 'its hidden states have other bits';
  return claim.lossSum === computed.lossSum ? undefined : `its loss is ${claim.lossSum} and not ${computed.lossSum} nats`;
}

/**
 * How far two results of a lease are apart: the norm of the difference of their gradients, or of their end states, as a part of the norm of
 * what was computed; the larger of both.
 */
export function distanceOf(shape: AuditShape, claim: Claim, computed: Recomputed): number {
  const segments = segmentsAsSent(shape);
  const memory = createVectorMemory(0);
  const coded = encoded(shape, segments, claim, computed.gradient, memory);
  const squares = squaresOf(shape, segments, claim.bytes, coded, memory);
  const states = { difference: 0, own: 0 };
  addSquares(states, floatsAt(claim.bytes, bytesOf(segments), computed.endStates.length), computed.endStates);
  const most = Math.max(
    ...[total(squares), states].map(({ difference, own }) => (difference === 0 ? 0 : Math.sqrt(difference / own))),
  );
  return Number.isNaN(most) ? Infinity : most;
}

/** Sums of squares: of differences, and of what was computed. */
interface Squares {
  difference: number;
  own: number;
}

function total(squares: readonly Squares[]): Squares {
  return squares.reduce((sum, each) => ({ difference: sum.difference + each.difference, own: sum.own + each.own }));
}

/** Of what a track computes: engines drift apart over its steps, so that only gross differences are lies. */
const TRACK_SOUND = 0.25;
const TRACK_WRONG = 0.75;
/** Engines differ in every step, and the probe in the first one alone. */
const TRACK_FACTOR = 4;

/**
 * What an audit of a track says. The optimizer of a track amplifies rounding: where a gradient is near zero, its sign decides the step.
 * @param distance of the claim from what the coordinator computes
 * @param probe distance of what the coordinator computes from parameters that differ in the last bits
 */
export function trackVerdict(distance: number, probe: number): 'sound' | 'unknown' | 'wrong' {
  const drift = TRACK_FACTOR * probe;
  if (distance >= Math.max(TRACK_WRONG, drift)) return 'wrong';
  return distance <= Math.max(OF_NORM, Math.min(drift, TRACK_SOUND)) ? 'sound' : 'unknown';
}

/** Of each tensor. */
function squaresOf(
  shape: AuditShape,
  segments: readonly Segment[],
  claimed: Uint8Array,
  coded: Uint8Array,
  memory: VectorMemory,
): readonly Squares[] {
  const reader = createSegmentReader(shape, memory);
  const squares = Array.from(shape.tensorSizes, () => ({ difference: 0, own: 0 }));
  for (const segment of segments) {
    const [theirs, ours] = [claimed, coded].map((body) => decoded(reader.read(segment, partOf(body, segment)), memory));
    addSquares(squares[segment.tensor], theirs, ours);
  }
  return squares;
}

function gradientDifference(
  shape: AuditShape,
  segments: readonly Segment[],
  claimed: Uint8Array,
  coded: Uint8Array,
  memory: VectorMemory,
): string | undefined {
  const squares = squaresOf(shape, segments, claimed, coded, memory);
  const { difference, own } = total(squares);
  // A gradient of zeros differs from any other by infinitely much of its norm; rounding may make one of two tiny ones zero.
  const norm = Math.max(Math.sqrt(own), Number.MIN_VALUE);
  if (!(Math.sqrt(difference) <= OF_NORM * norm))
    return `its gradient is off by ${percent(Math.sqrt(difference) / norm)} of the norm`;
  const wrong = squares.findIndex((each) => !(Math.sqrt(each.difference) <= OF_TENSOR * Math.sqrt(each.own) + OF_WHOLE * norm));
  if (wrong < 0) return undefined;
  return `its gradient of tensor ${wrong} is off by ${percent(Math.sqrt(squares[wrong].difference / squares[wrong].own))} of the tensor's norm`;
}

function addSquares(squares: Squares, theirs: Float32Array, ours: Float32Array): void {
  let [difference, own] = [0, 0];
  for (let i = 0; i < ours.length; i++) {
    difference += (theirs[i] - ours[i]) ** 2;
    own += ours[i] ** 2;
  }
  squares.difference += difference;
  squares.own += own;
}

function decoded(part: CodedPart, memory: VectorMemory): Float32Array {
  if (part.exponents !== undefined) return decodeInt8(part);
  if (part.scale === undefined) return part.values;
  const values = new Float32Array(part.values.length);
  memory.decodeHalf(part.values, part.scale, values);
  return values;
}

function stateDifference(theirs: Float32Array, ours: Float32Array): string | undefined {
  const wrong = ours.findIndex((value, i) => !(Math.abs(theirs[i] - value) <= OF_STATE * (1 + Math.abs(value))));
  return wrong < 0 ? undefined : `a hidden state is ${theirs[wrong].toPrecision(4)} and not ${ours[wrong].toPrecision(4)}`;
}

function lossDifference(theirs: number, ours: number): string | undefined {
  if (Math.abs(theirs - ours) <= OF_LOSS * (1 + Math.abs(ours))) return undefined;
  return `its loss is ${theirs.toPrecision(6)} and not ${ours.toPrecision(6)} nats`;
}

function percent(part: number): string {
  return Number.isFinite(part) ? `${(part * 100).toPrecision(3)} %` : 'infinitely much';
}

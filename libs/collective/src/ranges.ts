/** How a run's gradients are cut into ranges of whole segments, each of which is summed in one place. */
import { LIMITS, ProtocolError, type MessageOf } from '@troupe/protocol';
import { parameterCount, segmentsOf, updateShape, type GradientShape, type Segment } from './codec.js';

type Shape = Pick<GradientShape, 'codec' | 'tensorSizes'>;

/** The segments [from, to), by their index in layout order; never empty. */
export interface SegmentRange {
  readonly from: number;
  readonly to: number;
}

/** A range, and the reducer that sums it; empty: the service does. */
export interface PartitionRange extends SegmentRange {
  readonly reducer: string;
}

/** The ranges of all parameters in layout order, from a round on. */
export interface Partition {
  readonly round: number;
  readonly ranges: readonly PartitionRange[];
}

export const nameOf = ({ from, to }: SegmentRange): string => `${from}-${to}`;

/** The ranges of one run, as bytes. */
export interface RangeLayout {
  /** Segments of all parameters. */
  readonly segments: number;
  /** Its segments as workers send them: the last one first, because the backward pass finishes it first. */
  arriving(range: SegmentRange): readonly Segment[];
  /** Its segments as workers receive them. */
  leaving(range: SegmentRange): readonly Segment[];
  /** Bytes of the range in a contribution. @throws ProtocolError `invalid_message` when there is no such range */
  arrivingBytes(range: SegmentRange): number;
  /** Bytes of the range in an update. @throws ProtocolError `invalid_message` when there is no such range */
  leavingBytes(range: SegmentRange): number;
}

export function createRangeLayout(shape: Shape): RangeLayout {
  const arriving = segmentsOf(shape);
  const leaving = segmentsOf(updateShape(shape));
  const { length: segments } = arriving;
  const bytesIn = (all: readonly Segment[], { from, to }: SegmentRange): number => {
    if (from >= to || to > segments) throw noSuchRange({ from, to }, segments);
    return all[to - 1].offset + all[to - 1].bytes - all[from].offset;
  };
  return {
    segments,
    arriving: remembered(({ from, to }) => placed(arriving.slice(from, to).reverse())),
    leaving: remembered(({ from, to }) => placed(leaving.slice(from, to))),
    arrivingBytes: (range) => bytesIn(arriving, range),
    leavingBytes: (range) => bytesIn(leaving, range),
  };
}

/** Every round asks for the same few ranges. */
function remembered(find: (range: SegmentRange) => readonly Segment[]): (range: SegmentRange) => readonly Segment[] {
  const known = new Map<string, readonly Segment[]>();
  return (range) => {
    const name = nameOf(range);
    const segments = known.get(name) ?? find(range);
    if (known.size > 2 * LIMITS.reducers) known.clear();
    known.set(name, segments);
    return segments;
  };
}

function noSuchRange({ from, to }: SegmentRange, segments: number): ProtocolError {
  return new ProtocolError(
    'invalid_message',
    `segments ${from} to ${to} of a model with ${segments}`,
    'Run the same version of Troupe on all machines.',
  );
}

/** The segments in this order in a body of their own. */
function placed(segments: readonly Segment[]): readonly Segment[] {
  const first = segments.reduce((least, { index }) => Math.min(least, index), Infinity);
  let offset = 0;
  return segments.map((segment) => {
    const at = offset;
    offset += segment.bytes;
    return { ...segment, index: segment.index - first, offset: at };
  });
}

/**
 * Cuts the segments into `count` ranges of about as many parameters, in layout order; into fewer when a range would have no segment. By the
 * middles of segments, so that the cuts depend on nothing but the layout.
 */
export function evenRanges(shape: Shape, count: number): readonly SegmentRange[] {
  const size = parameterCount(shape.tensorSizes);
  const ranges = new Map<number, { from: number; to: number }>();
  for (const { index, from, to } of segmentsOf(shape)) {
    const place = Math.floor((((from + to) / 2) * count) / size);
    const range = ranges.get(place);
    if (range) range.to = index + 1;
    else ranges.set(place, { from: index, to: index + 1 });
  }
  return [...ranges.values()];
}

/** As it stands in messages. */
export function describeRanges(ranges: readonly PartitionRange[]): MessageOf<'partition'>['ranges'] {
  return ranges.map(({ to, reducer }) => ({ to, reducer }));
}

/** @throws ProtocolError `invalid_message` when they are not all segments, one range after the other */
export function readRanges(ranges: MessageOf<'partition'>['ranges'], layout: RangeLayout): readonly PartitionRange[] {
  const read = ranges.map(({ to, reducer }, index) => ({ from: ranges[index - 1]?.to ?? 0, to, reducer }));
  return requireWhole(read, layout);
}

/** @throws ProtocolError `invalid_message` when they are not all segments, one range after the other */
export function requireWhole<R extends SegmentRange>(ranges: readonly R[], { segments }: RangeLayout): readonly R[] {
  const end = ranges.reduce((from, range) => (range.from === from && range.to > from ? range.to : NaN), 0);
  if (end === segments) return ranges;
  throw new ProtocolError(
    'invalid_message',
    `ranges that are not the ${segments} segments of the model`,
    'Run the same version of Troupe on all machines.',
  );
}

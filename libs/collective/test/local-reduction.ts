/** The all-reduce of a run in one place, without links: what decides and what sums, for tests of both. */
import type { KernelKind } from '@troupe/optim';
import type { MessageOf } from '@troupe/protocol';
import {
  createLedger,
  createRangeLayout,
  createRangeSum,
  evenRanges,
  keyOf,
  nameOf,
  segmentsOf,
  type Grant,
  type RangeSum,
  type SegmentRange,
  type ReductionConfig,
  type RoundOrder,
  type Verdict,
} from '../src/index.js';

export interface LocalConfig extends ReductionConfig {
  readonly kind?: KernelKind;
  /** Default: 1. */
  readonly ranges?: number;
}

export interface FinishedUpdate {
  readonly message: Omit<MessageOf<'update'>, 'type' | 'ranges'>;
  /** Of all ranges. */
  readonly body: Uint8Array<ArrayBuffer>;
}

export type LocalVerdict = Verdict & {
  /** Present when this contribution completed the round. */ readonly update?: FinishedUpdate;
};

export interface LocalReduction {
  openRound(order: RoundOrder): void;
  grant(grant: Grant): void;
  mayCome(round: number, leaseId: string): boolean;
  /** @param body the coded gradient in layout order, then the end states; it arrives in pieces of `pieceBytes` */
  add(workerId: string, message: MessageOf<'contribution'>, body: Uint8Array, pieceBytes?: number): LocalVerdict;
}

export function createLocalReduction(config: LocalConfig): LocalReduction {
  const ranges = evenRanges(config, config.ranges ?? 1);
  const ledger = createLedger(config);
  const layout = createRangeLayout(config);
  const sums = ranges.map((range) => createRangeSum({ ...config, layout, range }));
  const squares = new Map<RangeSum, readonly number[]>();
  return {
    openRound(order) {
      ledger.openRound(order, ranges.length);
      for (const sum of sums) sum.clear();
      squares.clear();
    },
    grant: (grant) => ledger.grant(grant),
    mayCome: (round, leaseId) => ledger.grants.mayCome({ round, leaseId }),
    add(workerId, message, body, pieceBytes = 1000) {
      const key = { ...message, workerId };
      const measured = (sum: RangeSum, measures: ReturnType<RangeSum['add']>) =>
        measures &&
        squares.set(
          sum,
          measures.map((each) => each.squares),
        );
      const rulings = sums.flatMap((sum, index) => {
        const intake = sum.intake();
        const bytes = rangeOf(config, ranges[index], body);
        for (let at = 0; at < bytes.length; at += pieceBytes) intake.take(bytes.slice(at, at + pieceBytes));
        measured(sum, sum.hold(keyOf(key), intake));
        return ledger.hold(nameOf(ranges[index]), key, intake.defect);
      });
      const endStates = body.slice(body.length - message.streams.length * config.stateFloats * 4);
      rulings.push(...ledger.offer({ workerId, message, endStates }));
      for (const ruling of rulings) {
        if (ruling.kind === 'add') for (const sum of sums) measured(sum, sum.add(keyOf(ruling), ruling.last));
        else if (ruling.kind === 'verdict' && ruling.result !== 'counted') for (const sum of sums) sum.drop(keyOf(key));
      }
      const verdict = rulings.find((ruling) => ruling.kind === 'verdict')!;
      const completed = rulings.some((ruling) => ruling.kind === 'add' && ruling.last);
      return completed ? { ...verdict, update: finished() } : verdict;
    },
  };

  function finished(): FinishedUpdate {
    const { head, factor } = ledger.finish(sums.flatMap((sum) => squares.get(sum) ?? []));
    const parts = sums.flatMap((sum) =>
      sum.chunks.flatMap((chunk) => {
        const payload = new Uint8Array(chunk.bytes);
        sum.encode(chunk, { round: head.round, factor }, payload);
        return [...payload];
      }),
    );
    return { message: head, body: Uint8Array.from(parts) };
  }
}

/** A range as it arrives, of a gradient in layout order. */
function rangeOf(config: ReductionConfig, range: SegmentRange, body: Uint8Array): Uint8Array {
  const whole = new Map(segmentsOf(config).map((segment) => [segment.from, segment]));
  const layout = createRangeLayout(config);
  const bytes = new Uint8Array(layout.arrivingBytes(range));
  for (const { from, offset, bytes: length } of layout.arriving(range)) {
    const at = whole.get(from)!.offset;
    bytes.set(body.subarray(at, at + length), offset);
  }
  return bytes;
}

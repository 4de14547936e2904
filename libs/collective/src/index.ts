export {
  createSegmentReader,
  createSegmentWriter,
  SEGMENT_PARAMETERS,
  contributionRanges,
  rangesOf,
  segmentsOf,
  updateBytes,
  updateRanges,
  updateShape,
  type GradientShape,
  type Segment,
  type SegmentChunk,
  type SegmentReader,
  type SegmentWriter,
  type UpdateCodec,
} from './codec.js';
export {
  contributionBytes,
  createContributionReader,
  createContributionWriter,
  type CodedLease,
  type ContributionWriter,
} from './contribution.js';
export { CollectiveError } from './errors.js';
export type {
  Collective,
  CollectiveHost,
  CollectiveMember,
  Contribution,
  ContributionLease,
  EntryOptions,
  HostOptions,
  JoinOptions,
  ReduceCounted,
  ReduceRejected,
  MemberEvent,
  OutgoingContribution,
  ReduceResult,
  ReduceSubscription,
} from './port.js';
export { keyOf, type ContributionKey, type Grant, type RoundOrder } from './grants.js';
export {
  createLedger,
  type Addition,
  type Ledger,
  type OfferedContribution,
  type ReductionConfig,
  type Ruling,
  type Verdict,
} from './ledger.js';
export { createRangeSum, type RangeOptions, type RangeSum } from './range-sum.js';
export { applyArriving, applyUpdate, wholeUpdate, type ArrivingUpdate, type ReduceUpdate, type UpdateHead } from './update.js';

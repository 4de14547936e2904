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
} from './codec.js';
export { contributionBytes, createContributionReader, createContributionWriter, type CodedLease } from './contribution.js';
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
export { keyOf, type Grant, type RoundOrder } from './grants.js';
export { createLedger, type ReductionConfig, type Verdict } from './ledger.js';
export { createRangeSum, type RangeSum } from './range-sum.js';
export { applyArriving, applyUpdate, wholeUpdate, type ArrivingUpdate, type ReduceUpdate } from './update.js';

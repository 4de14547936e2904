export {
  createSegmentReader,
  createSegmentWriter,
  SEGMENT_PARAMETERS,
  segmentsOf,
  updateBytes,
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
export { createIntake, type Intake } from './intake.js';
export type {
  Collective,
  CollectiveHost,
  CollectiveMember,
  Contribution,
  EntryOptions,
  HostOptions,
  JoinOptions,
  ReduceCounted,
  ReduceRejected,
  MemberEvent,
  ReduceResult,
  ReduceSubscription,
} from './port.js';
export {
  createReduction,
  type EncodedUpdate,
  type Grant,
  type Reduction,
  type ReductionConfig,
  type RoundOrder,
  type Verdict,
} from './reduction.js';
export { applyArriving, applyUpdate, wholeUpdate, type ArrivingUpdate, type ReduceUpdate, type UpdateHead } from './update.js';

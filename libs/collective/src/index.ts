export { claimOf, differenceOf, distanceOf, trackVerdict, type AuditShape, type Claim, type Recomputed } from './audit.js';
export {
  createSegmentReader,
  createSegmentWriter,
  SEGMENT_PARAMETERS,
  segmentsOf,
  updateBytes,
  updateShape,
  type GradientShape,
} from './codec.js';
export { contributionBytes, createContributionWriter, type CodedLease } from './contribution.js';
export { CollectiveError } from './errors.js';
export type {
  Collective,
  CollectiveHost,
  CollectiveMember,
  Contribution,
  ContributionLease,
  EntryOptions,
  HostEvent,
  HostOptions,
  JoinOptions,
  KeptSnapshot,
  PeerChoice,
  ReduceAudit,
  ReduceCounted,
  ReducePeer,
  ReduceRejected,
  MemberEvent,
  OutgoingContribution,
  ReduceResult,
  ReduceSubscription,
  SnapshotPiece,
  SnapshotSource,
} from './port.js';
export { keyOf, type Grant, type RoundOrder } from './grants.js';
export { createLedger, type AuditRule, type ReductionConfig, type Verdict } from './ledger.js';
export { createRangeSum, type RangeSum } from './range-sum.js';
export { createRangeLayout, evenRanges, nameOf, type RangeLayout, type SegmentRange } from './ranges.js';
export { applyArriving, applyUpdate, wholeUpdate, type ArrivingUpdate, type ReduceUpdate } from './update.js';

export {
  contributionBytes,
  createGradientReader,
  createGradientWriter,
  updateBytes,
  writerBytes,
  type GradientReader,
  type GradientShape,
  type GradientWriter,
} from './codec.js';
export { CollectiveError } from './errors.js';
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
export { applyUpdate, copyUpdate, type ReduceUpdate } from './update.js';

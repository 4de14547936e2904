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
export {
  createReduction,
  type EncodedUpdate,
  type Grant,
  type Reduction,
  type ReductionConfig,
  type RoundOrder,
  type Verdict,
} from './reduction.js';

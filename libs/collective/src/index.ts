export { contributionBytes, createGradientCoder, updateBytes, type GradientCoder, type GradientShape } from './codec.js';
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

export { type OptimizerConfig, type OptimizerState, type ScheduleConfig } from './config.js';
export { OptimError } from './errors.js';
export {
  decodeInt8,
  INT8_BLOCK,
  INT8_NOT_FINITE,
  int8Blocks,
  isInt8Exponent,
  MAX_INT8_EXPONENT,
  MIN_INT8_EXPONENT,
  type RoundingKey,
  type ScaledBytes,
} from './int8.js';
export { type KernelKind } from './kernels.js';
export {
  averageDecay,
  createReplica,
  optimizerStateBytes,
  snapshotBytes,
  type Replica,
  type ReplicaOptions,
  type ReplicaStep,
} from './replica.js';
export { clipScale, learningRateAt } from './schedule.js';
export {
  createVectorMemory,
  vectorMemoryBytes,
  type CodedPart,
  type CodedVector,
  type ScaledHalves,
  type SumMeasures,
  type VectorMemory,
  type VectorStep,
} from './vector-memory.js';

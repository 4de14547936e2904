export { type OptimizerConfig, type OptimizerState, type ScheduleConfig } from './config.js';
export { OptimError } from './errors.js';
export { type KernelKind } from './kernels.js';
export { createReplica, optimizerStateBytes, snapshotBytes, type Replica, type ReplicaOptions } from './replica.js';
export { clipScale, learningRateAt } from './schedule.js';
export {
  createVectorMemory,
  vectorMemoryBytes,
  type CodedVector,
  type ScaledHalves,
  type SumMeasures,
  type VectorMemory,
} from './vector-memory.js';

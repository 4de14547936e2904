export { CELLS, CELL_SHAPES, LAYER_NORM_EPSILON, type Cell, type CellShape, type ModelConfig } from './config.js';
export { dropoutKeyOf, dropoutMask, dropoutOf, dropoutScale, dropoutThreshold, usesDropout, type DropoutKey } from './dropout.js';
export { createLayout, largestState, parameterCount, stateSize, type ParameterLayout, type TensorSpec } from './layout.js';
export {
  EngineError,
  type Batch,
  type Engine,
  type EngineInfo,
  type EngineLimits,
  type Evaluation,
  type Gradient,
  type GradientProgress,
} from './engine.js';
export { checkBatch, checkDropoutKey, checkEngineConfig, checkParameters, checkStep } from './batch.js';
export {
  localLease,
  takeLocalSteps,
  type LocalLease,
  type LocalPorts,
  type LocalStep,
  type LocalWindows,
} from './local-steps.js';
export { createRandom, type Random } from './random.js';
export { initialParameters } from './init.js';
export { relativeDifference, smallProblem, takeTurn, type Clock, type Problem } from './trial.js';
export { sample, type SampleOptions } from './sample.js';
export { evaluateLoss, type EvaluateOptions, type EvaluationReport } from './evaluate.js';
export { evaluateBlocks, evaluateDynamically, gradientSizes, type BlocksOptions, type DynamicOptions } from './protocols.js';

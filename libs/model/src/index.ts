export { CELLS, type Cell, type ModelConfig } from './config.js';
export { createLayout, stateSize, type ParameterLayout, type TensorSpec } from './layout.js';
export {
  EngineError,
  type Batch,
  type Engine,
  type EngineInfo,
  type EngineLimits,
  type Evaluation,
  type Gradient,
} from './engine.js';

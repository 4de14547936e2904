export { type RunEvent } from './events.js';
export { CELL_NAMES, modelName, modelOptions } from './model-names.js';
export { RUN_OPTIONS, type RunOption } from './options.js';
export {
  createRunState,
  type Decision,
  type Lease,
  type RunEffect,
  type RunInput,
  type RunSettings,
  type RunState,
  type StreamRecord,
  type WorkerRecord,
} from './state.js';
export { step } from './step.js';

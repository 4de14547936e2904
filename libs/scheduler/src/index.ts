export { type Pace } from './pace.js';
export {
  createRunState,
  type Lease,
  type RunEffect,
  type RunInput,
  type RunSettings,
  type RunState,
  type WorkerRecord,
  type WorkUnit,
} from './state.js';
export { NO_WORKER, step } from './step.js';

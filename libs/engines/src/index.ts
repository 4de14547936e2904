export { MIN_SHARE, planEffort, restMs, type Effort } from './effort.js';
export {
  ENGINE_CHOICES,
  ENGINE_NAMES,
  ENGINES,
  GPU_ENGINES,
  isEngineChoice,
  takesThreads,
  type EngineChoice,
  type EngineName,
} from './names.js';
export {
  coordinatorBytes,
  lessMemory,
  memoryProblem,
  workerBytes,
  type Machine,
  type MemoryProblem,
  type Processes,
  type RunSize,
} from './memory.js';
export { REPRODUCIBLE_ENGINE, requireReproducible } from './reproducible.js';
export { createThrottledEngine, type ThrottleOptions, type Work } from './throttled-engine.js';
export { race, trialProblem, type RaceOptions, type RaceResult, type Runner } from './trial.js';

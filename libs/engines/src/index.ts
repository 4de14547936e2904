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
export { race, trialProblem, type RaceOptions, type RaceResult, type Runner } from './trial.js';

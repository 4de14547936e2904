export { ALLREDUCE_OPTIONS } from './allreduce-options.js';
export { VIEW_OPTIONS } from './view-options.js';
export {
  defaultInWords,
  describeOption,
  describeOptions,
  isOptionValue,
  JSON_OPTION,
  portOption,
  readOptions,
  tokenOption,
  type AppOption,
  type OptionProblem,
  type OptionValues,
} from './app-options.js';
export { OPTION_GROUPS, type OptionGroup } from './field.js';
export { saidOfRounds, withOtherRounds, type OtherRounds, type SaidOfRounds } from './changed-rounds.js';
export {
  configFromFlags,
  FLAG_FIELDS,
  localStepsIn,
  scaled,
  valueAt,
  type FlagField,
  type FlagText,
  type RunOption,
} from './flags.js';
export { ICE_SERVERS_OPTION, readIceServers, type IceAccess } from './ice-servers.js';
export { LIMITS, type Limits } from './limits.js';
export { retainedUpdates } from './retained-updates.js';
export { CELL_NAMES, CELLS, MODEL, modelName, modelOptions, type Cell, type FullModelConfig, type ModelConfig } from './model.js';
export { shellAssignment, shellQuote } from './shell.js';
export { negated, RUN_OPTIONS, STORED_OPTIONS, TOPOLOGIES, TUNABLE_OPTIONS, type Topology } from './run-options.js';
export { modelConfig, modelProblem, parseTrainingConfig, TrainingConfigSchema, type ConfigProblem } from './schema.js';
export {
  CODED_BYTES,
  charactersOf,
  firstWindow,
  GRADIENT_CODECS,
  isLocal,
  roundCharacters,
  roundOptimizer,
  roundsOfWindows,
  streamCharacters,
  TRAINING,
  unitStreams,
  type GradientCodec,
  type OptimizerConfig,
  type ScheduleConfig,
  type TrainingConfig,
} from './training.js';

export { type RunEvent } from './events.js';
export { createRunHistory, decodeEntry, encodeEntry, roundOf, type HistoryEntry, type RunHistory } from './history.js';
export { CELL_NAMES, modelName, modelOptions } from './model-names.js';
export { type Pace } from './pace.js';
export { RUN_OPTIONS, type RunOption } from './options.js';
export {
  createRunState,
  type Decision,
  type WorkUnit,
  type Lease,
  type RunEffect,
  type RunInput,
  type RunSettings,
  type RunState,
  type WorkerRecord,
} from './state.js';
export { NO_WORKER, step } from './step.js';
export {
  MAX_PLAY_CHARACTERS,
  MAX_PRIME_CHARACTERS,
  MAX_WORKERS_SHOWN,
  POINT_FIELDS,
  type Access,
  type ApiError,
  type ControlReply,
  type ControlRequest,
  type CorpusView,
  type EvaluationPoint,
  type EventKind,
  type EventsView,
  type FlowView,
  type GradientFlow,
  type HistoryView,
  type LiveHello,
  type LiveMessage,
  type LoggedEvent,
  type PastRun,
  type PlayMessage,
  type PlayRequest,
  type PointColumns,
  type PointField,
  type RoundPoint,
  type RoundTiming,
  type RunFacts,
  type RunHeader,
  type RunPhase,
  type RunStatus,
  type RunsView,
  type RunView,
  type SamplePoint,
  type SamplesView,
  type WorkerState,
  type WorkerView,
} from './view.js';

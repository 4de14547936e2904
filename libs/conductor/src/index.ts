export { createBanList, type BanList, type BanListOptions } from './bans.js';
export { writeInTurn, type CheckpointStore } from './checkpoint-writer.js';
export {
  createConductor,
  RunDiverged,
  type BackOrder,
  type Cadences,
  type StopRules,
  type Conductor,
  type ConductorStatus,
  type ConductorOptions,
} from './conduct.js';
export { RunReturns, RunRewound, RunTainted, type StandingOrders } from './returns.js';
export { createTokenGate, type Gate, type ImmediateGate, type Pass } from './gate.js';
export { savedBestOf, type SavedBest } from './best-model.js';
export { NotSaved, ValidationFailed } from './follow-ups.js';
export type {
  AuditFinding,
  AuditJob,
  Auditor,
  VerifyJob,
  CheckpointWriter,
  ConductorPorts,
  SampleRequest,
  SideJobs,
} from './ports.js';
export {
  batchOf,
  createTraining,
  currentModel,
  isAboveLimit,
  validationHistoryOf,
  isReproducible,
  ModelTooLarge,
  requireFittingModel,
  configNow,
  takeCheckpoint,
  type Evaluation,
  type ValidationHistory,
  type Knobs,
  type Training,
  type TrainingSource,
} from './training.js';

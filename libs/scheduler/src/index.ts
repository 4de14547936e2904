export { adviseLocalRounds } from './advice.js';
export { type AuditPolicy, type Audits, type Trust } from './audits.js';
export { type Decision, type Lent } from './decisions.js';
export { createNorms, FAR_BEYOND, largestExpected, noteNorm } from './norms.js';
export { type Pace } from './pace.js';
export {
  createRunState,
  type Lease,
  type RunEffect,
  type RunInput,
  type RunSettings,
  type RunState,
  type WaitReason,
  type WorkerRecord,
  type WorkUnit,
} from './state.js';
export { roundProgress } from './progress.js';
export { step } from './step.js';
export { TRIAL_SHARE, type TrialBudget } from './trials.js';
export { AUDIT_FLOOR, auditProbability, isOnProbation, oldestUnverified, PROBATION_AUDITS } from './trust.js';

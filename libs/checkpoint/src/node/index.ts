export { claimFolder, describeHolder, isLiving, LOCK, type FolderClaim, type Holder } from './claim.js';
export { prepareFolder, sweepTemporary, writeWhole } from './files.js';
export { readPrivateFile, writePrivateFile, type PrivateFile } from './private-file.js';
export { readRunSecrets, writeRunSecrets, type RunSecrets } from './secrets-file.js';
export { readRunFile, RUN_FILE, writeRunFile } from './run-file.js';
export {
  BEST,
  bestFile,
  checkpointFacts,
  checkpointName,
  checkpointRounds,
  hasCheckpoint,
  latestCheckpoint,
  leaveBehindAfter,
  pruneCheckpoints,
  setAsideAfter,
  readCheckpoint,
  sha256,
  writeCheckpoint,
  type CheckpointFacts,
  type StoredCheckpoint,
  type WrittenCheckpoint,
} from './store.js';

export { prepareFolder } from './files.js';
export {
  BEST,
  checkpointName,
  latestCheckpoint,
  pruneCheckpoints,
  readCheckpoint,
  sha256,
  writeCheckpoint,
  type StoredCheckpoint,
  type WrittenCheckpoint,
} from './store.js';

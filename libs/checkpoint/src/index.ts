export { asModel, trainedParameters, weightsOnly, type Checkpoint, type CorpusIdentity } from './checkpoint.js';
export { checkpointBlocks, decodeCheckpoint, encodeCheckpoint, type Sha256 } from './codec.js';
export { FORMAT_VERSION } from './description.js';
export { CheckpointError, type CheckpointErrorCode } from './errors.js';
export { transferParameters, type Transferred } from './transfer.js';

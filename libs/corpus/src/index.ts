export { CorpusError, type CorpusErrorCode } from './errors.js';
export { createVocabulary, type Vocabulary } from './vocabulary.js';
export { TRAIN_FRACTION, createStreams, splitCorpus, type CorpusSplit, type Streams } from './streams.js';

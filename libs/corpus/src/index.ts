export { CorpusError, type CorpusErrorCode } from './errors.js';
export { createNormalizer, normalizeText, type Normalizer } from './normalize.js';
export { encodePrime, knownForm, type Prime } from './prime.js';
export { TRAIN_FRACTION, createStreams, splitCorpus, type CorpusSplit, type Streams } from './streams.js';
export { createTokenizer, translateTokens, type Tokenizer, type Tokens } from './tokens.js';
export { createVocabulary, type Vocabulary } from './vocabulary.js';

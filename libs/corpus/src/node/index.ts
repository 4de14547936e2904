export { CATALOGUE, type CorpusEntry } from './catalogue.js';
export { defaultCacheDir, loadCorpus, type Corpus, type LoadOptions } from './load.js';

export { CATALOGUE, type CorpusEntry } from './catalogue.js';
export { loadCorpus, type Corpus, type LoadOptions } from './load.js';
export { defaultCacheDir } from './named.js';

/** The text of a run: which one it is, and its characters as ids. */
import type { Checkpoint } from '@troupe/checkpoint';
import { CorpusError, createVocabulary, translateTokens } from '@troupe/corpus';
import { loadCorpus, type Corpus, type LoadOptions } from '@troupe/corpus/node';
import { createFetch } from '@troupe/transport/websocket';
import { SettingsError, type Settings } from './settings.js';

type Wanted = Pick<Settings, 'corpus' | 'encoding' | 'given'>;

/** The text of a new run. @throws CorpusError */
export async function loadNewText(wanted: Wanted, env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<Corpus> {
  return loadCorpus(wanted.corpus, optionsFrom(wanted, env, signal));
}

/**
 * The text of a run that resumes, with the ids of its vocabulary. --corpus says where it is, given or
 * stored in the run's folder. A run of an older release has its path in the checkpoint.
 * @throws SettingsError if it is another text or not there, CorpusError
 */
export async function loadRunText(
  { corpus: identity, vocabulary: characters }: Checkpoint,
  wanted: Wanted,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<Corpus> {
  const place = wanted.given.has('--corpus') ? wanted.corpus : identity.name;
  const corpus = await loadCorpus(place, optionsFrom(wanted, env, signal)).catch((error: unknown) => {
    if (!(error instanceof CorpusError && error.code === 'not_found')) throw error;
    throw new SettingsError(
      `the text of this run is not at ${place}`,
      `Say where it is with --corpus PATH. It is ${identity.name}, with ${identity.characters} characters.`,
    );
  });
  if (corpus.sha256 !== identity.sha256) {
    throw new SettingsError(
      `the corpus ${place} is not the one this run was trained on (its SHA-256 differs)`,
      'Give the same text with --corpus PATH, or start a new run without --resume.',
    );
  }
  const vocabulary = createVocabulary(characters);
  return { ...corpus, vocabulary, tokens: translateTokens(corpus.tokens, corpus.vocabulary, vocabulary) };
}

function optionsFrom({ encoding }: Wanted, env: NodeJS.ProcessEnv, signal: AbortSignal): LoadOptions {
  return { corpusDir: env.TROUPE_CORPUS_DIR, encoding, signal, fetch: createFetch(env) };
}

/** Everything a run needs before its first socket opens: where its files are, and its training, new or from a checkpoint. */
import { createHash, randomBytes } from 'node:crypto';
import { createVocabulary, splitCorpus, TRAIN_FRACTION } from '@troupe/corpus';
import type { Checkpoint, CorpusIdentity } from '@troupe/checkpoint';
import { parseTrainingConfig, type TrainingConfig } from '@troupe/config';
import { createTraining, validationHistoryOf, isReproducible, type Training } from '@troupe/conductor';
import { loadCorpus } from '@troupe/corpus/node';
import { bestCheckpoint, folderForNewRun, runToResume } from './checkpoints.js';
import { resumeTraining, SettingsError, type Settings } from './settings.js';

export interface Preparation {
  readonly training: Training;
  /** Rounds between validations. */
  readonly evaluateEvery: number;
  readonly folder: string;
  /** The checkpoint gone on from; after a resume. */
  readonly resumedFrom: string | undefined;
  /** Where the best checkpoint so far is; after a resume. */
  readonly bestPath: string | undefined;
  /** Newer checkpoints that could not be read. */
  readonly warnings: readonly Error[];
}

/** @throws SettingsError, CorpusError, CheckpointError */
export async function prepare(settings: Settings, env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<Preparation> {
  const resumed = settings.resume ? await runToResume(settings) : undefined;
  const checkpoint = resumed?.stored.checkpoint;
  const name = checkpoint && !settings.given.has('--corpus') ? checkpoint.corpus.name : settings.corpus;
  const { text, sha256 } = await loadCorpus(name, { corpusDir: env.TROUPE_CORPUS_DIR, signal });
  if (checkpoint && checkpoint.corpus.sha256 !== sha256) {
    throw new SettingsError(
      `the corpus ${name} is not the one this run was trained on (its SHA-256 differs)`,
      'Give the same text with --corpus PATH, or start a new run without --resume.',
    );
  }
  const vocabulary = createVocabulary(checkpoint ? checkpoint.vocabulary : text);
  const tokens = vocabulary.encode(text);
  const split = splitCorpus(tokens);
  const config = checkpoint ? resumeTraining(storedConfig(checkpoint), settings) : settings.training(vocabulary.size);
  if (checkpoint && isFinished(checkpoint, config.rounds)) {
    throw new SettingsError(
      `the run in ${resumed.folder} has finished its ${config.rounds} rounds`,
      `Train longer with --resume --rounds ${config.rounds * 2}.`,
    );
  }
  const evaluateEvery = cadenceOf(checkpoint, settings);
  // Part of what a reproducible run writes, wherever the text lies now.
  const called = (isReproducible(config) && checkpoint?.corpus.name) || name;
  const corpus = { name: called, sha256, characters: tokens.length, trainFraction: TRAIN_FRACTION };
  const training = createTraining({
    runId: checkpoint?.runId ?? newRunId(config, corpus, evaluateEvery),
    config,
    vocabulary,
    corpus,
    split,
    checkpoint,
    evaluateEvery,
  });
  return {
    training,
    evaluateEvery,
    folder: resumed?.folder ?? (await folderForNewRun(settings)),
    resumedFrom: resumed?.stored.path,
    bestPath: resumed && (await rememberBest(training, resumed.folder)),
    warnings: resumed?.stored.warnings ?? [],
  };
}

/** Nothing is left to compute, and the last validation, which follows the last checkpoint, is done as well. */
function isFinished(checkpoint: Checkpoint, rounds: number): boolean {
  const { round } = checkpoint;
  return (
    round > rounds ||
    (round === rounds && validationHistoryOf(checkpoint).evaluations.some((evaluation) => evaluation.round === round))
  );
}

/** A reproducible run validates in the rounds in which it began to: its files hold what came out. @throws SettingsError */
function cadenceOf(checkpoint: Checkpoint | undefined, { given, evaluateEvery }: Settings): number {
  const stored = validationHistoryOf(checkpoint).evaluateEvery;
  if (stored === undefined) return evaluateEvery;
  if (!given.has('--eval-every') || evaluateEvery === stored) return stored;
  throw new SettingsError(
    `--eval-every ${evaluateEvery} differs from the reproducible run to resume, which has ${stored}`,
    'Leave --eval-every out to go on with that run.',
  );
}

/** What a reproducible run writes depends on its config, its corpus and the rounds of its validations alone, and so does its name. */
function newRunId(config: TrainingConfig, { sha256 }: CorpusIdentity, evaluateEvery: number): string {
  if (!isReproducible(config)) return randomBytes(6).toString('hex');
  return createHash('sha256')
    .update(JSON.stringify({ ...config, evaluateEvery }))
    .update(sha256)
    .digest('hex')
    .slice(0, 12);
}

function storedConfig(checkpoint: Checkpoint): TrainingConfig {
  const result = parseTrainingConfig(checkpoint.config);
  if (result.ok) return result.config;
  throw new SettingsError(
    `the checkpoint's training config is off at ${result.field}: ${result.problem}`,
    'It was written by another release of Troupe: resume with that one.',
  );
}

/**
 * The best one may be newer than the checkpoint gone on from: a validation takes time, and is written when it is done. A reproducible
 * run comes to it again.
 * @returns its path
 */
async function rememberBest({ config, history }: Training, folder: string): Promise<string | undefined> {
  const stored = await bestCheckpoint(folder);
  const { best } = validationHistoryOf(stored?.checkpoint);
  const better = best && (!history.best || best.validationLoss < history.best.validationLoss);
  if (better && !isReproducible(config)) history.best = best;
  return stored?.path;
}

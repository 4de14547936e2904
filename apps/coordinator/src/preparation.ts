/** What a run needs before its first socket opens: its folder, and its training, new or from a checkpoint. */
import { createHash, randomBytes } from 'node:crypto';
import { splitCorpus, TRAIN_FRACTION } from '@troupe/corpus';
import type { Checkpoint, CorpusIdentity } from '@troupe/checkpoint';
import { parseTrainingConfig, scaled, type TrainingConfig } from '@troupe/config';
import {
  createTraining,
  isAboveLimit,
  isReproducible,
  savedBestOf,
  validationHistoryOf,
  type Cadences,
  type SavedBest,
  type Training,
} from '@troupe/conductor';
import type { Corpus } from '@troupe/corpus/node';
import { lossOf } from '@troupe/run';
import { cadencesIn, cadencesOf, describeChanged, withStepsCounted, type Rounds } from './cadences.js';
import { bestCheckpoint, checkpointToResume, type ResumedFrom } from './checkpoints.js';
import { describeInitial, initialWeights, modelFlags, readInitialModel } from './initial-model.js';
import { flagsToStore, readRunFlags, type Flags, type FlagsInTurn } from './run-flags.js';
import { claimNewRun, claimToResume, type OnLost, type RunFolder } from './run-folder.js';
import { resumeTraining } from './resumed-config.js';
import { SettingsError, type Settings } from './settings.js';
import { loadNewText, loadRunText } from './training-text.js';

export interface Preparation {
  readonly training: Training;
  readonly cadences: Cadences;
  /** Claimed. The caller of prepare releases it. */
  readonly folder: RunFolder;
  /** What the folder is to say of the run's flags. */
  readonly flags: FlagsInTurn;
  /** The checkpoint from which the run continues; after a resume. */
  readonly resumedFrom: ResumedFrom | undefined;
  /** The best model on disk; after a resume. */
  readonly best: SavedBest | undefined;
  /** What people should know before the run starts. */
  readonly notes: readonly PreparationNote[];
}

export interface PreparationNote {
  readonly level: 'info' | 'warn';
  readonly text: string;
  readonly remedy?: string;
}

/** @throws SettingsError, CorpusError, CheckpointError */
export async function prepare(
  settings: Settings,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
  onLost: OnLost,
): Promise<Preparation> {
  if (settings.resume) {
    const folder = await claimToResume(settings, onLost);
    return keeping(folder, prepareResumed(settings, folder, env, signal));
  }
  return prepareNew(settings, await loadNewText(settings, env, signal), onLost);
}

async function prepareNew(settings: Settings, corpus: Corpus, onLost: OnLost): Promise<Preparation> {
  const text = textOf(corpus);
  const { config, origin, initial, note } = await startOf(settings, text.vocabulary);
  const cadences = cadencesOf(settings.given, config);
  const { evaluateEvery } = cadences;
  const identity = identityOf(corpus.name, text);
  const runId = newRunId(config, identity, evaluateEvery, origin);
  const training = createTraining({ runId, config, ...text, corpus: identity, evaluateEvery, initial });
  const folder = await claimNewRun(settings, onLost);
  return {
    training,
    cadences,
    folder,
    flags: flagsOf(new Map(), settings.given, corpus),
    resumedFrom: undefined,
    best: undefined,
    notes: [
      ...folder.notes.map((note) => ({ level: 'warn' as const, ...note })),
      ...notesOf(corpus),
      ...(note === undefined ? [] : [{ level: 'info' as const, text: note }]),
    ],
  };
}

interface Start {
  readonly config: TrainingConfig;
  /** Identifies the weights that the run starts from; '' = random ones. */
  readonly origin: string;
  /** [P]. */
  readonly initial?: Float32Array;
  readonly note?: string;
}

/** @throws SettingsError, CheckpointError */
async function startOf(settings: Settings, { size, characters }: Training['vocabulary']): Promise<Start> {
  if (settings.init === undefined) return { config: settings.training(size), origin: '' };
  const model = await readInitialModel(settings.init);
  const config = settings.training(size, modelFlags(model, settings.given));
  const { parameters, added } = initialWeights(model, config, characters);
  return { config, origin: model.sha256, initial: parameters, note: describeInitial(model, added) };
}

const INIT_IGNORED: PreparationNote = {
  level: 'info',
  text: '--init is for the start of a run; this one continues from its own checkpoint.',
};

/** Frees the folder if the rest of the preparation fails. */
async function keeping(folder: RunFolder, preparation: Promise<Preparation>): Promise<Preparation> {
  try {
    return await preparation;
  } catch (error) {
    await folder.release();
    throw error;
  }
}

async function prepareResumed(
  settings: Settings,
  folder: RunFolder,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<Preparation> {
  const { checkpoint, path, warnings } = await checkpointToResume(folder.path);
  const stored = await readRunFlags(folder.path);
  const corpus = await loadRunText(checkpoint, settings, env, signal);
  const before = storedConfig(checkpoint);
  const { said: saidBefore } = validationHistoryOf(checkpoint);
  const { config, notes, said } = resumeTraining(before, settings, checkpoint.round, stored, saidBefore);
  refuseIfFinished(checkpoint, config.rounds, folder.path, settings.given.has('--keep-serving'));
  const rounds = { before: before.localSteps, now: config.localSteps };
  const { cadences, changes } = resumedCadences(checkpoint, config, { given: settings.given, stored, rounds });
  const text = textOf(corpus);
  // Part of what a reproducible run writes, wherever the text lies now.
  const identity = identityOf(isReproducible(config) ? checkpoint.corpus.name : corpus.name, text);
  const run = { runId: checkpoint.runId, config, ...text, corpus: identity, evaluateEvery: cadences.evaluateEvery, said };
  const training = createTraining({ ...run, checkpoint });
  return {
    training,
    cadences,
    folder,
    flags: countedIn(config, flagsOf(stored, settings.given, corpus), stored, rounds),
    resumedFrom: { path, isAboveLimit: isAboveLimit(checkpoint) },
    best: await rememberBest(training, folder.path),
    notes: [
      ...folder.notes.map((note) => ({ level: 'warn' as const, ...note })),
      ...warnings.map(({ message }) => ({ level: 'warn' as const, text: `a damaged newer checkpoint was skipped: ${message}` })),
      ...notesOf(corpus),
      ...(settings.init === undefined ? [] : [INIT_IGNORED]),
      ...[...notes, ...changes].map((text) => ({ level: 'info' as const, text })),
    ],
  };
}

type Text = Pick<Training, 'vocabulary' | 'split'> & { readonly sha256: string; readonly characters: number };

function textOf({ vocabulary, tokens, sha256 }: Corpus): Text {
  return { vocabulary, split: splitCorpus(tokens), sha256, characters: tokens.length };
}

function notesOf({ skipped }: Corpus): PreparationNote[] {
  return skipped.map(({ why }) => ({ level: 'warn', text: `${why}; it is left out of the text` }));
}

function identityOf(name: string, { sha256, characters }: Text): CorpusIdentity {
  return { name, sha256, characters, trainFraction: TRAIN_FRACTION };
}

/** The path of a text of one's own is stored whole, so that the run finds it from another folder. */
function flagsOf(stored: Flags, given: Flags, { source, location }: Corpus): FlagsInTurn {
  const isFile = source.kind === 'file' || source.kind === 'list';
  return flagsToStore(stored, isFile ? new Map([...given, ['--corpus', location]]) : given);
}

/** Once a run has had other rounds, a cadence says of which it counts. */
function countedIn(config: TrainingConfig, { untilSaved, afterwards }: FlagsInTurn, stored: Flags, rounds: Rounds): FlagsInTurn {
  if (config.changedRound === 0) return { untilSaved, afterwards };
  return {
    untilSaved: withStepsCounted(untilSaved, stored, rounds),
    afterwards: withStepsCounted(afterwards, stored, rounds),
  };
}

/**
 * @param serves a finished run has nothing left to compute, but its pages open again
 * @throws SettingsError
 */
function refuseIfFinished(checkpoint: Checkpoint, rounds: number, folder: string, serves: boolean): void {
  const { round } = checkpoint;
  if (round < rounds || (round === rounds && (serves || !isFinished(checkpoint)))) return;
  const done = round === rounds ? `has finished its ${rounds} rounds` : `is at round ${round}, beyond --rounds ${rounds}`;
  throw new SettingsError(`the run in ${folder} ${done}`, `Train longer with --resume --rounds ${round * 2}.`);
}

/** The last validation, which follows the last checkpoint, is done as well. */
function isFinished(checkpoint: Checkpoint): boolean {
  return validationHistoryOf(checkpoint).evaluations.some(({ round }) => round === checkpoint.round);
}

interface CadenceFlags {
  readonly given: Flags;
  readonly stored: Flags;
  readonly rounds: Rounds;
}

/** @throws SettingsError */
function resumedCadences(
  checkpoint: Checkpoint,
  config: TrainingConfig,
  flags: CadenceFlags,
): { cadences: Cadences; changes: readonly string[] } {
  const { given, stored, rounds } = flags;
  const [were, are] = [rounds.before, rounds.now].map((steps) => cadencesIn(steps, given, stored, rounds));
  return {
    cadences: storedCadence(checkpoint, cadencesOf(are, config), { ...flags, were }),
    changes: describeChanged(were, are),
  };
}

/** The files of a reproducible run hold its validations, so their cadence is fixed. @throws SettingsError */
function storedCadence(
  checkpoint: Checkpoint,
  cadences: Cadences,
  { given, were, stored, rounds }: CadenceFlags & { readonly were: Flags },
): Cadences {
  const then = validationHistoryOf(checkpoint).evaluateEvery;
  if (then === undefined) return cadences;
  const flag = '--eval-every';
  const isOther = rounds.now !== rounds.before;
  const isStored = !isOther && given.get(flag) === stored.get(flag);
  const isTyped = given.has(flag) && !isStored && Number(were.get(flag)) !== then;
  // Other rounds may be validated at another cadence.
  if (isTyped && isOther) return cadences;
  if (!isTyped) return { ...cadences, evaluateEvery: scaled(then, 'count', rounds.now / rounds.before) };
  throw new SettingsError(
    `${flag} ${given.get(flag)} differs from the reproducible run to resume, which has ${then}`,
    `Leave ${flag} out to continue that run.`,
  );
}

/** A reproducible run's id follows from its config, its corpus, its validation cadence and the model that it starts from, like its files. */
function newRunId(config: TrainingConfig, { sha256 }: CorpusIdentity, evaluateEvery: number, origin: string): string {
  if (!isReproducible(config)) return randomBytes(6).toString('hex');
  return createHash('sha256')
    .update(JSON.stringify({ ...config, evaluateEvery }))
    .update(sha256)
    .update(origin)
    .digest('hex')
    .slice(0, 12);
}

function storedConfig(checkpoint: Checkpoint): TrainingConfig {
  const result = parseTrainingConfig(checkpoint.config);
  if (result.ok) return result.config;
  throw new SettingsError(
    `the field ${result.field} of the checkpoint's training config ${result.problem}`,
    'It was written by another release of Troupe: resume with that one.',
  );
}

/**
 * The best checkpoint may be newer than the one from which the run continues, because a validation takes time and is written when it
 * is done. A reproducible run computes it again.
 * @returns the one on disk
 */
async function rememberBest({ config, history }: Training, folder: string): Promise<SavedBest | undefined> {
  const stored = await bestCheckpoint(folder);
  const { best } = validationHistoryOf(stored?.checkpoint);
  const better = best && (!history.best || lossOf(best) < lossOf(history.best));
  if (better && !isReproducible(config)) history.best = best;
  return savedBestOf(stored);
}

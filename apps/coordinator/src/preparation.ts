/** Everything a run needs before its first socket opens: corpus, config, replica, stream states, new or from a checkpoint. */
import { randomBytes } from 'node:crypto';
import {
  createStreams,
  createVocabulary,
  splitCorpus,
  TRAIN_FRACTION,
  type CorpusSplit,
  type Streams,
  type Vocabulary,
} from '@troupe/corpus';
import type { Checkpoint, CorpusIdentity } from '@troupe/checkpoint';
import { loadCorpus } from '@troupe/corpus/node';
import { createLayout, initialParameters, stateSize, type ParameterLayout } from '@troupe/model';
import { createReplica, type Replica } from '@troupe/optim';
import { parseTrainingConfig, type TrainingConfig } from '@troupe/protocol';
import { bestCheckpoint, folderForNewRun, runToResume } from './checkpoints.js';
import { resumeTraining, SettingsError, type Settings } from './settings.js';
import { createStreamStates, type StreamStates } from './stream-states.js';

/** What a run remembers of its validations. */
export interface History {
  readonly evaluations: { round: number; validationLoss: number }[];
  best: { round: number; validationLoss: number } | undefined;
}

export interface Preparation {
  readonly runId: string;
  readonly folder: string;
  /** First round to compute. */
  readonly round: number;
  readonly config: TrainingConfig;
  readonly vocabulary: Vocabulary;
  readonly corpus: CorpusIdentity;
  readonly split: CorpusSplit;
  readonly streams: Streams;
  readonly layout: ParameterLayout;
  readonly stateFloats: number;
  readonly replica: Replica;
  readonly states: StreamStates;
  readonly history: History;
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
  if (checkpoint && checkpoint.round >= config.rounds) {
    throw new SettingsError(
      `the run in ${resumed.folder} has finished its ${config.rounds} rounds`,
      `Train longer with --resume --rounds ${config.rounds * 2}.`,
    );
  }
  const streams = createStreams(split.train, config);
  const layout = createLayout(config.model);
  const stateFloats = stateSize(config.model);
  return {
    runId: checkpoint?.runId ?? randomBytes(6).toString('hex'),
    folder: resumed?.folder ?? (await folderForNewRun(settings)),
    round: checkpoint?.round ?? 0,
    config,
    vocabulary,
    corpus: { name, sha256, characters: tokens.length, trainFraction: TRAIN_FRACTION },
    split,
    streams,
    layout,
    stateFloats,
    replica: startingReplica(config, layout, checkpoint),
    states: createStreamStates(config.streams, stateFloats, checkpoint?.streamStates),
    ...(await readHistory(resumed?.folder, checkpoint)),
    warnings: resumed?.stored.warnings ?? [],
  };
}

function storedConfig(checkpoint: Checkpoint): TrainingConfig {
  const result = parseTrainingConfig(checkpoint.config);
  if (result.ok) return result.config;
  throw new SettingsError(
    `the checkpoint's training config is off at ${result.field}: ${result.problem}`,
    'It was written by another release of Troupe: resume with that one.',
  );
}

function startingReplica(config: TrainingConfig, layout: ParameterLayout, checkpoint: Checkpoint | undefined): Replica {
  const replica = createReplica({ size: layout.size, optimizer: config.optimizer });
  replica.setParameters(checkpoint?.parameters ?? initialParameters(config.model, layout, config.seed, config.forgetBias));
  if (checkpoint) replica.importState(checkpoint.optimizer);
  return replica;
}

/** The best one may be newer than the checkpoint gone on from: a validation takes time, and is written when it is done. */
async function readHistory(
  folder: string | undefined,
  checkpoint: Checkpoint | undefined,
): Promise<Pick<Preparation, 'history' | 'bestPath'>> {
  const best = folder === undefined ? undefined : await bestCheckpoint(folder);
  const then = historyOf(checkpoint);
  const bests = [then.best, historyOf(best?.checkpoint).best].filter((candidate) => candidate !== undefined);
  bests.sort((a, b) => a.validationLoss - b.validationLoss);
  return { history: { evaluations: then.evaluations, best: bests[0] }, bestPath: best?.path };
}

function historyOf(checkpoint: Checkpoint | undefined): History {
  const { evaluations, best } = (checkpoint?.history ?? {}) as Partial<History>;
  return { evaluations: Array.isArray(evaluations) ? [...evaluations] : [], best };
}

/** The run as it stands between two rounds; the arrays are copies. */
export function takeCheckpoint(prepared: Preparation, round: number, savedAt: string): Checkpoint {
  const { runId, config, vocabulary, corpus, replica, states, streams, history } = prepared;
  return {
    runId,
    round,
    model: config.model,
    config,
    vocabulary: vocabulary.characters,
    corpus,
    parameters: replica.parameters.slice(),
    parametersDigest: replica.digest(),
    optimizer: replica.exportState(),
    streamStates: states.current.slice(),
    cursors: Array.from({ length: config.streams }, (_, stream) => streams.cursor(stream, round)),
    // Nothing random happens after the start: parameters and samples follow from the seed and the round.
    rng: { seed: config.seed },
    history: { evaluations: [...history.evaluations], best: history.best },
    savedAt,
  };
}

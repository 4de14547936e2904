/** Everything that the next round of a run depends on, new or from a checkpoint. */
import { CheckpointError, trainedParameters, type Checkpoint, type CorpusIdentity } from '@troupe/checkpoint';
import { contributionBytes } from '@troupe/collective';
import { CorpusError, createStreams, type CorpusSplit, type Streams, type Vocabulary } from '@troupe/corpus';
import {
  createLayout,
  dropoutKeyOf,
  initialParameters,
  localLease,
  stateSize,
  type Batch,
  type LocalLease,
  type ParameterLayout,
} from '@troupe/model';
import { createReplica, learningRateAt, snapshotBytes, type OptimizerState, type Replica } from '@troupe/optim';
import {
  firstWindow,
  isLocal,
  leaseBodyBytes,
  LIMITS,
  roundOptimizer,
  unitStreams,
  type SaidOfRounds,
  type TrainingConfig,
} from '@troupe/protocol';
import { isAverageBetter, lossOf, type EvaluationPoint } from '@troupe/run';
import { createStreamStates, type StreamStates } from './stream-states.js';

/** A validation: nats/char after `round` rounds. */
export type Evaluation = EvaluationPoint;

/** The validations of a run. */
export interface ValidationHistory {
  /** Rounds between validations. Only in a reproducible run, whose files depend on it. */
  readonly evaluateEvery?: number;
  /** Of a run whose rounds a resume has changed. */
  readonly said?: SaidOfRounds;
  readonly evaluations: Evaluation[];
  best: Evaluation | undefined;
}

/** The history in a checkpoint. */
export interface SavedHistory extends ValidationHistory {
  /**
   * Rounds in a row, up to that of the checkpoint, whose training loss was above the limit. Only if
   * it is not 0: such a checkpoint is saved by hand or at a stop, and is no good one.
   */
  readonly roundsAboveLimit?: number;
}

/** What an admin may change during the run. The rest of the config never changes. */
export interface Knobs {
  /** The peak, which the schedule scales. */
  learningRate: number;
  /** 0 = never. */
  clip: number;
}

export interface Training {
  readonly runId: string;
  /** First round to compute. */
  readonly round: number;
  /** See SavedHistory. */
  readonly roundsAboveLimit: number;
  /** The config with which the run started or resumed. `knobs` overrides it. */
  readonly config: TrainingConfig;
  readonly knobs: Knobs;
  /** The knobs of the round that was asked for last; see knobsOf. */
  readonly held: Knobs & { round: number };
  readonly vocabulary: Vocabulary;
  readonly corpus: CorpusIdentity;
  readonly split: CorpusSplit;
  readonly streams: Streams;
  readonly layout: ParameterLayout;
  readonly stateFloats: number;
  readonly replica: Replica;
  readonly states: StreamStates;
  readonly history: ValidationHistory;
}

export type TrainingSource = Pick<Training, 'runId' | 'config' | 'vocabulary' | 'corpus' | 'split'> & {
  /** Where to resume; absent in a new run. */
  readonly checkpoint?: Checkpoint | undefined;
  /** Parameters [P] of a new run; absent: random ones. */
  readonly initial?: Float32Array | undefined;
  /** Rounds between validations. */
  readonly evaluateEvery: number;
  readonly said?: SaidOfRounds | undefined;
};

/** Whether the run gives the same bits whichever workers compute it. */
export function isReproducible({ leaseStreams }: TrainingConfig): boolean {
  return leaseStreams > 0;
}

/**
 * A training, new or from a checkpoint.
 * @throws ModelTooLarge; CorpusError `too_short`; CheckpointError `mismatch` when the checkpoint does not belong to the text
 * and the config, or its parameters are not those that were saved
 */
export function createTraining({ checkpoint, initial, evaluateEvery, said, ...source }: TrainingSource): Training {
  const { config, split } = source;
  requireFittingModel(config);
  const layout = createLayout(config.model);
  const stateFloats = stateSize(config.model);
  const streams = createStreams(split.train, config);
  requireLongEnough(config, streams);
  const replica = startingReplica(config, layout, checkpoint, initial);
  if (checkpoint) requireSameRun(checkpoint, source, streams, replica);
  return {
    ...source,
    knobs: { learningRate: config.learningRate, clip: config.clip },
    held: { round: -1, learningRate: config.learningRate, clip: config.clip },
    round: checkpoint?.round ?? 0,
    // A run that may continue with another learning rate gets all the rounds again.
    roundsAboveLimit: isReproducible(config) ? roundsAboveLimitOf(checkpoint) : 0,
    streams,
    layout,
    stateFloats,
    replica,
    states: createStreamStates(config.streams, stateFloats, checkpoint?.streamStates),
    history: { ...validationHistoryOf(checkpoint), ...(isReproducible(config) && { evaluateEvery }), ...(said && { said }) },
  };
}

/** The knobs that all leases of `round` have, whatever changes during the round: as they were when it was first asked for. */
function knobsOf({ held, knobs }: Pick<Training, 'held' | 'knobs'>, round: number): Knobs {
  if (held.round !== round) Object.assign(held, { round, ...knobs });
  return held;
}

type Position = Pick<Training, 'config' | 'streams' | 'states' | 'stateFloats'>;

/**
 * The first window of these streams in `round`, which must be the round that comes next: `training` holds the hidden states of no other.
 * Where the streams wrap, they are zeros.
 */
export function batchOf(training: Position, round: number, ids: readonly number[]): Batch {
  const { window, model, seed } = training.config;
  const first = firstWindow(training.config, round);
  const tokens = joined(ids.map((stream) => training.streams.streamWindow(stream, first)));
  const states = statesBefore(training, first, ids);
  return { streams: ids.length, window, tokens, states, ...dropoutKeyOf(model, { seed, round: first, streams: ids }) };
}

/** The hidden states [B, L, S, H] before the window `first`. */
function statesBefore({ streams, states, stateFloats }: Position, first: number, ids: readonly number[]): Float32Array {
  const before = new Float32Array(ids.length * stateFloats);
  const wraps = first % streams.windowsPerPass === 0;
  if (!wraps) ids.forEach((stream, i) => before.set(states.of(stream), i * stateFloats));
  return before;
}

function joined(windows: readonly Uint16Array[]): Uint16Array {
  const tokens = new Uint16Array(windows.reduce((length, window) => length + window.length, 0));
  windows.forEach((window, i) => tokens.set(window, i * window.length));
  return tokens;
}

/** What a lease of these streams holds beside their states. */
export interface LeaseWindows {
  /** One window [T+1] per step and stream; step by step. */
  readonly windows: readonly Uint16Array[];
  /** [H] in a local round, otherwise empty. */
  readonly learningRates: readonly number[];
  readonly local?: { readonly clip: number; readonly wrapStep?: number };
}

export function leaseWindows(
  training: Pick<Training, 'config' | 'streams' | 'knobs' | 'held'>,
  round: number,
  ids: readonly number[],
): LeaseWindows {
  const { config, streams } = training;
  const knobs = knobsOf(training, round);
  const first = firstWindow(config, round);
  const steps = Array.from({ length: config.localSteps }, (_, step) => step);
  const windows = steps.flatMap((step) => ids.map((stream) => streams.streamWindow(stream, first + step)));
  if (!isLocal(config)) return { windows, learningRates: [] };
  const wrapStep = steps.find((step) => step > 0 && (first + step) % streams.windowsPerPass === 0);
  const local = { clip: knobs.clip, ...(wrapStep !== undefined && { wrapStep }) };
  return { windows, learningRates: localRates(config, knobs, round), local };
}

/** What a track does in `round`; see batchOf. */
export function localLeaseOf(
  training: Position & Pick<Training, 'knobs' | 'held'>,
  round: number,
  ids: readonly number[],
): LocalLease {
  const { model, seed, window } = training.config;
  const { windows, learningRates, local } = leaseWindows(training, round, ids);
  const first = firstWindow(training.config, round);
  return localLease(model, seed, {
    streams: ids,
    window,
    first,
    tokens: joined(windows),
    states: statesBefore(training, first, ids),
    learningRates: Float32Array.from(learningRates),
    ...local!,
  });
}

/** What the schedule makes of the peak in `round`. */
export function roundRate(
  config: Pick<TrainingConfig, 'schedule' | 'rounds' | 'localSteps' | 'changedRound' | 'changedWindow'>,
  { learningRate: peak }: Pick<Knobs, 'learningRate'>,
  round: number,
): number {
  const { schedule, rounds, changedRound } = config;
  const [at, end] = changedRound === 0 ? [round, rounds] : [firstWindow(config, round), firstWindow(config, rounds)];
  return learningRateAt(schedule, peak, at, end);
}

/** The inner optimizer starts afresh in every round, and its first steps would be too long: their directions are of single gradients. */
const LOCAL_WARMUP_STEPS = 10;

/** The learning rate of each step [H] of a local round: that of the round, after a short warm-up. */
function localRates(config: TrainingConfig, knobs: Knobs, round: number): number[] {
  const { localSteps } = config;
  const rate = roundRate(config, knobs, round);
  const warmup = Math.min(LOCAL_WARMUP_STEPS, Math.ceil(localSteps / 4));
  return Array.from({ length: localSteps }, (_, step) => Math.fround(rate * Math.min(1, (step + 1) / warmup)));
}

/** How replicas step with the update of `round`. */
export function stepOf(training: Pick<Training, 'config' | 'knobs' | 'held'>, round: number): Knobs {
  const { config } = training;
  const knobs = knobsOf(training, round);
  // Steps of tracks are clipped, and their mean is no longer than the longest.
  if (isLocal(config)) return { learningRate: Math.fround(config.outerLearningRate), clip: 0 };
  // A float32, because the last bit of a cosine may differ between releases of V8 and would show in every parameter.
  return { learningRate: Math.fround(roundRate(config, knobs, round)), clip: knobs.clip };
}

/**
 * The parts of a run travel as bodies of messages, of which the largest must fit.
 * @throws ModelTooLarge
 */
export function requireFittingModel(config: TrainingConfig): void {
  const { model, codec, streams } = config;
  const optimizer = roundOptimizer(config);
  const { size, tensors } = createLayout(model);
  const stateFloats = stateSize(model);
  const shape = { codec, tensorSizes: tensors.map((tensor) => tensor.size), stateFloats };
  if (snapshotBytes(size, optimizer) > LIMITS.bodyBytes) {
    const perParameter = snapshotBytes(1, optimizer) - snapshotBytes(0, optimizer);
    const most = Math.floor((LIMITS.bodyBytes - snapshotBytes(0, optimizer)) / perParameter);
    const sgdFits = snapshotBytes(size, { kind: 'sgd', momentum: 0, weightDecay: 0, nesterov: false }) <= LIMITS.bodyBytes;
    throw new ModelTooLarge(
      `the model has ${millions(size)} parameters, and with ${optimizer.kind} at most ${millions(most)} fit into a snapshot`,
      `Use a smaller --hidden or --embedding, or fewer --layers${sgdFits ? ', or --optimizer sgd, for which this model fits' : ''}.`,
    );
  }
  requireFittingLease(config, stateFloats);
  if (contributionBytes(shape, streams) <= LIMITS.bodyBytes) return;
  throw new ModelTooLarge(
    `the gradient and the hidden states of ${streams} streams do not fit into a message of ${LIMITS.bodyBytes} bytes`,
    'Use a smaller --batch, a smaller --hidden or fewer --layers.',
  );
}

/** Of a track. */
function requireFittingLease(config: TrainingConfig, stateFloats: number): void {
  if (!isLocal(config)) return;
  const { localSteps: steps, window } = config;
  const streams = unitStreams(config);
  if (leaseBodyBytes({ steps, streams, window, given: streams, stateFloats }) <= LIMITS.bodyBytes) return;
  throw new ModelTooLarge(
    `${steps} windows of the ${streams} streams of a track do not fit into a message of ${LIMITS.bodyBytes} bytes`,
    'Use a smaller --local-steps or --window, or more --tracks.',
  );
}

/** The streams of a lease start over at most once. */
function requireLongEnough({ localSteps }: TrainingConfig, { windowsPerPass }: Streams): void {
  if (localSteps <= windowsPerPass) return;
  throw new CorpusError(
    'too_short',
    `each stream has ${windowsPerPass} windows, fewer than the ${localSteps} steps of a round`,
    `Use --local-steps ${windowsPerPass} or less, a smaller --batch or --window, or a longer text.`,
  );
}

function millions(count: number): string {
  return `${(count / 1e6).toFixed(1)} million`;
}

/** A model that no worker could receive. */
export class ModelTooLarge extends Error {
  override readonly name = 'ModelTooLarge';
  readonly code = 'model_too_large';
  readonly remedy: string;
  constructor(message: string, remedy: string) {
    super(message);
    this.remedy = remedy;
  }
}

function requireSameRun(
  { round, cursors, corpus, parametersDigest }: Checkpoint,
  { config, ...source }: Pick<TrainingSource, 'corpus' | 'config'>,
  streams: Streams,
  replica: Replica,
): void {
  const refuse = (what: string, remedy: string): never => {
    throw new CheckpointError('mismatch', `the checkpoint does not continue this run: ${what}`, remedy);
  };
  if (replica.digest() !== parametersDigest) {
    refuse('its parameters are not those that were saved', 'Continue from another checkpoint, or start a new run.');
  }
  const { trainFraction } = source.corpus;
  if (corpus.trainFraction !== trainFraction) {
    const parts = `it trains on ${corpus.trainFraction} of the text, and this release on ${trainFraction}`;
    refuse(parts, 'Continue it with the release of Troupe that wrote it.');
  }
  if (cursors.some((cursor, stream) => cursor !== streams.cursor(stream, firstWindow(config, round)))) {
    refuse('its streams are at other positions of the text', 'Give the same text with --corpus PATH and the same --batch.');
  }
}

function startingReplica(
  config: TrainingConfig,
  layout: ParameterLayout,
  checkpoint: Checkpoint | undefined,
  initial: Float32Array | undefined,
): Replica {
  const replica = createReplica({ size: layout.size, optimizer: roundOptimizer(config), averageDecay: config.ema });
  const saved = checkpoint && trainedParameters(checkpoint);
  const start = saved?.parameters ?? initial ?? initialParameters(config.model, layout, config.seed, config.forgetBias);
  replica.setParameters(start, saved?.average);
  if (checkpoint) replica.importState(isOfOtherKind(checkpoint, config) ? restarted(replica, checkpoint) : checkpoint.optimizer);
  return replica;
}

/** Whether its optimizer stepped with gradients and will step with differences, or the other way round. */
function isOfOtherKind(checkpoint: Checkpoint, config: TrainingConfig): boolean {
  return isLocal(checkpoint.config as Partial<TrainingConfig>) !== isLocal(config);
}

/** The state of a new optimizer. Its steps are counted on: the average of the parameters, which goes on, depends on them. */
function restarted(replica: Replica, { optimizer }: Checkpoint): OptimizerState {
  const { slots, scalars } = replica.exportState();
  const steps = optimizer.scalars.find(({ name }) => name === 'steps');
  return { slots, scalars: scalars.map((scalar) => (scalar.name === 'steps' && steps ? steps : scalar)) };
}

export function validationHistoryOf(checkpoint: Checkpoint | undefined): ValidationHistory {
  const { evaluations, best, evaluateEvery, said } = (checkpoint?.history ?? {}) as Partial<ValidationHistory>;
  return {
    ...(typeof evaluateEvery === 'number' && { evaluateEvery }),
    ...(isSaid(said) && { said }),
    evaluations: Array.isArray(evaluations) ? [...evaluations] : [],
    best,
  };
}

/** An older release lacks it. */
function isSaid(said: Partial<SaidOfRounds> | undefined): said is SaidOfRounds {
  const isNumber = (value: unknown): boolean => typeof value === 'number' && Number.isFinite(value);
  const { localSteps, rounds, ema, decayRounds = 0 } = said ?? {};
  return [localSteps, rounds, ema, decayRounds].every(isNumber);
}

function roundsAboveLimitOf(checkpoint: Checkpoint | undefined): number {
  const { roundsAboveLimit: rounds } = (checkpoint?.history ?? {}) as Partial<SavedHistory>;
  return typeof rounds === 'number' && Number.isInteger(rounds) && rounds > 0 ? rounds : 0;
}

/** Whether the training loss was above the limit when the checkpoint was taken. */
export function isAboveLimit(checkpoint: Checkpoint): boolean {
  return roundsAboveLimitOf(checkpoint) > 0;
}

/** The checkpoint with these validations. What else is in its history stays. */
export function withValidationHistory(checkpoint: Checkpoint, history: ValidationHistory): Checkpoint {
  const rounds = roundsAboveLimitOf(checkpoint);
  return { ...checkpoint, history: { ...history, ...(rounds > 0 && { roundsAboveLimit: rounds }) } };
}

export function isValidated({ evaluations }: ValidationHistory, round: number): boolean {
  return evaluations.some((evaluation) => evaluation.round === round);
}

/**
 * Whether a validation that a reproducible run owes up to `round` is not in its history. What was
 * due before it resumed is in its checkpoint. The validation of the last round follows its
 * checkpoint.
 */
export function lacksValidations({ round: first, config, history }: Training, round: number): boolean {
  const every = history.evaluateEvery ?? 0;
  if (every === 0) return false;
  const last = Math.min(round, config.rounds - 1);
  for (let due = (Math.floor(first / every) + 1) * every; due <= last; due += every) {
    if (!isValidated(history, due)) return true;
  }
  return false;
}

/** The loss of guessing among all characters, nats/char. A model that is not better is no model. */
export function chanceLoss({ model }: Pick<TrainingConfig, 'model'>): number {
  return Math.log(model.vocabulary);
}

/** The best of the evaluations that are better than guessing; the first of equals. */
export function bestOf(evaluations: readonly Evaluation[], config: Pick<TrainingConfig, 'model'>): Evaluation | undefined {
  let best: Evaluation | undefined;
  for (const evaluation of evaluations) {
    if (lossOf(evaluation) < (best ? lossOf(best) : chanceLoss(config))) best = evaluation;
  }
  return best;
}

/** Whether the last `patience` validations were all not better than one before them; 0 = never. */
export function isOutOfPatience(evaluations: readonly Evaluation[], patience: number): boolean {
  let best = 0;
  evaluations.forEach((evaluation, i) => {
    if (lossOf(evaluation) < lossOf(evaluations[best])) best = i;
  });
  return patience > 0 && evaluations.length - 1 - best >= patience;
}

/** The history as of `round`. */
export function validationHistoryUpTo(
  { history, config }: Pick<Training, 'history' | 'config'>,
  round: number,
): ValidationHistory {
  const { evaluations, ...rest } = history;
  const then = evaluations.filter((evaluation) => evaluation.round <= round);
  return { ...rest, evaluations: then, best: bestOf(then, config) };
}

/** The config with the changes made during the run. A resumed run continues with it. */
export function configNow({ config, knobs }: Pick<Training, 'config' | 'knobs'>): TrainingConfig {
  return { ...config, ...knobs };
}

/** The parts of a checkpoint that are as large as the model. */
export type CheckpointVectors = Pick<Checkpoint, 'parameters' | 'twin' | 'optimizer' | 'streamStates'>;

export function copyVectors({ replica, states }: Pick<Training, 'replica' | 'states'>): CheckpointVectors {
  return {
    parameters: replica.parameters.slice(),
    ...(replica.average && { twin: replica.average.slice() }),
    optimizer: replica.exportState(),
    streamStates: states.current.slice(),
  };
}

/** The parameters [P] that were better in the last validation; valid until the run goes on. */
export function currentModel({ replica, history }: Pick<Training, 'replica' | 'history'>): Float32Array {
  const last = history.evaluations.at(-1);
  return replica.average && last && isAverageBetter(last) ? replica.average : replica.parameters;
}

/** Their order in createVectorCopies. */
function vectorsOf(parts: readonly object[]): CheckpointVectors {
  const [parameters, optimizer, streamStates, twin] = parts as [Float32Array, OptimizerState, Float32Array, Float32Array?];
  return { parameters, optimizer, streamStates, ...(twin && { twin }) };
}

/**
 * Copies the vectors of a run once a round: checkpoints of the same round share them while anybody
 * holds one. Nobody may change them.
 */
export function createVectorCopies(training: Pick<Training, 'replica' | 'states'>): (round: number) => CheckpointVectors {
  let last: { readonly round: number; readonly parts: readonly WeakRef<object>[] } | undefined;
  return (round) => {
    const parts = last?.round === round ? last.parts.map((part) => part.deref()) : [];
    if (parts.length > 0 && parts.every((part) => part !== undefined)) return vectorsOf(parts);
    const copy = copyVectors(training);
    const { parameters, optimizer, streamStates, twin } = copy;
    last = { round, parts: [parameters, optimizer, streamStates, ...(twin ? [twin] : [])].map((part) => new WeakRef(part)) };
    return copy;
  };
}

/**
 * A copy of the run after `round` rounds. A reproducible run has no `savedAt`, because its files
 * must not depend on a clock. `roundsAboveLimit`: see SavedHistory. `vectors`: a copy that exists already.
 */
export function takeCheckpoint(
  training: Training,
  round: number,
  timestamp: string,
  roundsAboveLimit = 0,
  vectors = copyVectors(training),
): Checkpoint {
  const { runId, vocabulary, corpus, replica, streams, history } = training;
  const config = configNow(training);
  return {
    runId,
    round,
    model: config.model,
    config,
    vocabulary: vocabulary.characters,
    corpus,
    ...vectors,
    parametersDigest: replica.digest(),
    cursors: Array.from({ length: config.streams }, (_, stream) => streams.cursor(stream, firstWindow(config, round))),
    // Nothing random happens after the start: parameters and samples follow from the seed and the
    // round.
    rng: { seed: config.seed },
    history: {
      ...history,
      evaluations: [...history.evaluations],
      ...(roundsAboveLimit > 0 && { roundsAboveLimit }),
    },
    ...(isReproducible(config) ? {} : { savedAt: timestamp }),
  };
}

/** What is wrong with a run: a pure function of what it has reported. */
import { isLocal, roundsOfWindows } from '@troupe/config';
import { adviseLocalRounds } from '@troupe/scheduler';
import { lossOf, type EvaluationPoint, type PointColumns, type RunView } from './view.js';

/** What the findings depend on. */
export interface Symptoms {
  readonly view:
    | (Pick<RunView, 'phase' | 'round' | 'rounds' | 'workerCount' | 'config' | 'checkpoint' | 'best'> &
        Partial<Pick<RunView, 'corpus'>>)
    | undefined;
  /** At least the last rounds, and those around the best validation. */
  readonly points: PointColumns;
  readonly evaluations: readonly EvaluationPoint[];
}

/** The most urgent problem. Losses are in nats per character. */
export type Finding =
  | { readonly kind: 'none' }
  /** The run stopped because its loss grew. `checkpoint`: the round from which it can continue, if that is known. */
  | { readonly kind: 'diverged'; readonly checkpoint: number | undefined; readonly rate: number }
  /** The model is worse than guessing. `rate`: half of the present peak. */
  | {
      readonly kind: 'aboveChance';
      readonly loss: number;
      readonly chance: number;
      readonly rate: number;
      /** The round of a checkpoint from before the loss rose, if that is known. */
      readonly checkpoint: number | undefined;
    }
  | { readonly kind: 'noWorker' }
  /** Since `round`, the validation loss rises while the training loss falls. */
  | { readonly kind: 'overfitting'; readonly round: number; readonly best: number; readonly now: number }
  /**
   * The fraction of a round that is spent on links instead of in engines. `local`: the local rounds with which workers compute for `busy` of
   * the time, where those are worth it.
   */
  | {
      readonly kind: 'network';
      readonly fraction: number;
      readonly local?: { readonly steps: number; readonly tracks: number; readonly busy: number };
    };

/** Windows. A new run begins at chance; in the rounds of these a loss above it means nothing. */
const FIRST_WINDOWS = 30;
/** Windows whose rounds have to agree. */
const WINDOWS = 20;
/** Rounds, however many windows they have. */
const LEAST_ROUNDS = 3;
/** This many times the loss of chance: a little above it is noise. */
const ABOVE = 1.05;
/** After a divergence, the last losses are above this many times that of chance. */
const DIVERGED = 1.5;
/** Validations after the best one, and how much worse the last has to be. */
const WORSE_VALIDATIONS = 3;
const WORSE = 1.01;
/** A larger part of a round on links than this is worth a change. */
const ON_LINKS = 0.5;

type Check = (symptoms: Symptoms) => Finding | undefined;

/** In the order of urgency. */
const CHECKS: readonly Check[] = [diverged, noWorker, aboveChance, overfitting, network];

/** The most urgent problem. */
export function findProblem(symptoms: Symptoms): Finding {
  for (const check of CHECKS) {
    const found = check(symptoms);
    if (found) return found;
  }
  return { kind: 'none' };
}

const chanceOf = ({ view }: Symptoms): number => Math.log(view!.config.model.vocabulary);
const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] ?? NaN;
const half = ({ view }: Symptoms): number => Number((view!.config.learningRate / 2).toPrecision(3));

function diverged(symptoms: Symptoms): Finding | undefined {
  const { view, points } = symptoms;
  if (view?.phase !== 'over' || view.round >= view.rounds) return undefined;
  // NaN counts as high.
  if (points.trainLoss.length === 0 || median(points.trainLoss.slice(-5)) <= DIVERGED * chanceOf(symptoms)) return undefined;
  return { kind: 'diverged', checkpoint: view.checkpoint?.round, rate: half(symptoms) };
}

function noWorker({ view }: Symptoms): Finding | undefined {
  if (!view || view.workerCount > 0 || view.phase === 'over' || view.phase === 'paused') return undefined;
  return { kind: 'noWorker' };
}

function aboveChance(symptoms: Symptoms): Finding | undefined {
  const { view, points } = symptoms;
  if (!view || view.phase === 'over') return undefined;
  const first = roundsOfWindows(view.config, FIRST_WINDOWS, LEAST_ROUNDS);
  if (points.round.length < first || view.round < first) return undefined;
  const last = roundsOfWindows(view.config, WINDOWS, LEAST_ROUNDS);
  const [loss, chance, rate] = [median(points.trainLoss.slice(-last)), chanceOf(symptoms), half(symptoms)];
  if (loss <= ABOVE * chance) return undefined;
  return { kind: 'aboveChance', loss, chance, rate, checkpoint: checkpointBelow(symptoms, ABOVE * chance) };
}

/** The round of the newest checkpoint, if the training loss was below `limit` in the rounds up to it. */
function checkpointBelow({ view, points }: Symptoms, limit: number): number | undefined {
  const round = view?.checkpoint?.round;
  if (round === undefined || round >= view!.round) return undefined;
  const losses = points.trainLoss.filter((_, i) => points.round[i] <= round);
  return losses.length > 0 && median(losses.slice(-5)) <= limit ? round : undefined;
}

function overfitting({ view, evaluations, points }: Symptoms): Finding | undefined {
  const [last, best] = [evaluations.at(-1), view?.best];
  if (!view || !last || !best) return undefined;
  const after = evaluations.filter(({ round }) => round > best.round);
  if (after.length < WORSE_VALIDATIONS || lossOf(last) <= WORSE * lossOf(best)) return undefined;
  const then = points.smoothedLoss[points.round.findIndex((round) => round >= best.round)];
  if (!((points.smoothedLoss.at(-1) ?? Infinity) < (then ?? -Infinity))) return undefined;
  return { kind: 'overfitting', round: best.round, best: lossOf(best), now: lossOf(last) };
}

function network({ view, points }: Symptoms): Finding | undefined {
  if (view?.phase !== 'running') return undefined;
  const rounds = roundsOfWindows(view.config, WINDOWS, LEAST_ROUNDS);
  if (points.round.length < rounds) return undefined;
  const sum = (column: readonly number[]): number => column.slice(-rounds).reduce((total, ms) => total + ms, 0);
  const links = sum(points.transferMs) + sum(points.reduceMs);
  const compute = sum(points.computeMs);
  const fraction = links / (links + compute);
  if (!(fraction > ON_LINKS)) return undefined;
  const local = localRounds(view, compute / rounds, links / rounds);
  return { kind: 'network', fraction, ...(local && { local }) };
}

/** As if all workers were like the last one of each round. */
function localRounds({ config, corpus, workerCount }: NonNullable<Symptoms['view']>, computeMs: number, transferMs: number) {
  const { streams, window, codec, leaseStreams } = config;
  if (!corpus || leaseStreams > 0 || isLocal(config)) return undefined;
  const charsPerSecond = (streams * window * 1_000) / (workerCount * computeMs);
  const workers = Array.from({ length: workerCount }, () => ({ workerId: '', charsPerSecond, transferMs, held: 0 }));
  const windowsPerPass = Math.floor((corpus.train - 1) / (streams * window));
  const advice = adviseLocalRounds(workers, { streams, window, serviceMs: 0, codec, windowsPerPass });
  return advice && { steps: advice.localSteps, tracks: advice.tracks, busy: advice.localUtilisation };
}

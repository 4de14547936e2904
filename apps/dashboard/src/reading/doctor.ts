/** What is wrong with a run, and what to do about it: a pure function of what the page knows. */
import { lossOf, type ControlRequest } from '@troupe/run';
import { isAdmin, type DashboardState } from '../state/state.js';

/** The most urgent problem. Losses are in nats per character. */
export type Finding =
  | { readonly kind: 'none' }
  /** The run stopped because its loss grew. `checkpoint`: the round from which it can continue, if that is known. */
  | { readonly kind: 'diverged'; readonly checkpoint: number | undefined; readonly rate: number }
  /** The model is worse than guessing. `rate`: half of the present peak. */
  | { readonly kind: 'aboveChance'; readonly loss: number; readonly chance: number; readonly rate: number }
  | { readonly kind: 'noWorker' }
  /** Since `round`, the validation loss rises while the training loss falls. */
  | { readonly kind: 'overfitting'; readonly round: number; readonly best: number; readonly now: number }
  /** The fraction of a round that is spent on links instead of in engines. */
  | { readonly kind: 'network'; readonly fraction: number };

/** One click: an order that the page can give; or that the invitation link is copied. */
export type Treatment = ControlRequest | { readonly action: 'invite' };

export interface Diagnosis {
  readonly finding: Finding;
  /** Absent: the page can only say what to type. */
  readonly treatment?: Treatment;
}

/** A new run begins at chance; in these rounds a loss above it means nothing. */
const FIRST_ROUNDS = 30;
/** Rounds that have to agree. */
const ROUNDS = 20;
/** This many times the loss of chance: a little above it is noise. */
const ABOVE = 1.05;
/** After a divergence, the last losses are above this many times that of chance. */
const DIVERGED = 1.5;
/** Validations after the best one, and how much worse the last has to be. */
const WORSE_VALIDATIONS = 3;
const WORSE = 1.01;
/** A larger part of a round on links than this is worth a change. */
const ON_LINKS = 0.5;

type Check = (state: DashboardState) => Diagnosis | undefined;

/** In the order of urgency. */
const CHECKS: readonly Check[] = [diverged, noWorker, aboveChance, overfitting, network];

export function diagnose(state: DashboardState): Diagnosis {
  for (const check of CHECKS) {
    const found = check(state);
    if (found) return found;
  }
  return { finding: { kind: 'none' } };
}

const chanceOf = ({ view }: DashboardState): number => Math.log(view!.config.model.vocabulary);
const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] ?? NaN;
const half = ({ view }: DashboardState): number => Number((view!.config.learningRate / 2).toPrecision(3));

/** Settings of a reproducible run cannot be changed. */
const canSet = (state: DashboardState): boolean => isAdmin(state) && state.view!.config.leaseStreams === 0;

function diverged(state: DashboardState): Diagnosis | undefined {
  const { view, points } = state;
  if (view?.phase !== 'over' || view.round >= view.rounds) return undefined;
  // NaN counts as high.
  if (points.trainLoss.length === 0 || median(points.trainLoss.slice(-5)) <= DIVERGED * chanceOf(state)) return undefined;
  return { finding: { kind: 'diverged', checkpoint: view.checkpoint?.round, rate: half(state) } };
}

function noWorker(state: DashboardState): Diagnosis | undefined {
  const { view } = state;
  if (!view || view.workerCount > 0 || view.phase === 'over' || view.phase === 'paused') return undefined;
  return { finding: { kind: 'noWorker' }, ...(view.joinLink !== undefined && { treatment: { action: 'invite' } }) };
}

function aboveChance(state: DashboardState): Diagnosis | undefined {
  const { view, points } = state;
  if (!view || view.phase === 'over' || points.round.length < FIRST_ROUNDS || view.round < FIRST_ROUNDS) return undefined;
  const [loss, chance, rate] = [median(points.trainLoss.slice(-ROUNDS)), chanceOf(state), half(state)];
  if (loss <= ABOVE * chance) return undefined;
  const treatment = { action: 'set', learningRate: rate } as const;
  return { finding: { kind: 'aboveChance', loss, chance, rate }, ...(canSet(state) && { treatment }) };
}

function overfitting(state: DashboardState): Diagnosis | undefined {
  const { view, evaluations, points } = state;
  const [last, best] = [evaluations.at(-1), view?.best];
  if (!view || !last || !best) return undefined;
  const after = evaluations.filter(({ round }) => round > best.round);
  if (after.length < WORSE_VALIDATIONS || lossOf(last) <= WORSE * lossOf(best)) return undefined;
  const then = points.smoothedLoss[points.round.findIndex((round) => round >= best.round)];
  if (!((points.smoothedLoss.at(-1) ?? Infinity) < (then ?? -Infinity))) return undefined;
  const finding = { kind: 'overfitting', round: best.round, best: lossOf(best), now: lossOf(last) } as const;
  return { finding, ...(isAdmin(state) && view.phase !== 'over' && { treatment: { action: 'stop' } }) };
}

function network(state: DashboardState): Diagnosis | undefined {
  const { view, points } = state;
  if (view?.phase !== 'running' || points.round.length < ROUNDS) return undefined;
  const sum = (column: readonly number[]): number => column.slice(-ROUNDS).reduce((total, ms) => total + ms, 0);
  const links = sum(points.transferMs) + sum(points.reduceMs);
  const fraction = links / (links + sum(points.computeMs));
  return fraction > ON_LINKS ? { finding: { kind: 'network', fraction } } : undefined;
}

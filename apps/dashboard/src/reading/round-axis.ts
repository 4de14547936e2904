/** What the x axis of the training charts counts: rounds, characters, or the time since the start. */
import { charactersOf } from '@troupe/protocol';
import type { LoggedEvent, PointColumns } from '@troupe/run';

export const X_KINDS = ['rounds', 'characters', 'clock'] as const;
export type XKind = (typeof X_KINDS)[number];

/** Both ways between rounds completed and x values. Between known values both are linear. */
export interface RoundAxis {
  toX(round: number): number;
  toRound(x: number): number;
}

export const ROUND_AXIS: RoundAxis = { toX: (round) => round, toRound: (x) => x };

/** Characters that the run has trained on. */
export function characterAxis(config: Parameters<typeof charactersOf>[0]): RoundAxis {
  const { changedRound = 0 } = config;
  const knots = [0, changedRound, changedRound + 1].map((round): Knot => [round, charactersOf(config, round)]);
  return axisOf(changedRound === 0 ? knots.slice(1) : knots);
}

/** A round and its x value, for example the time since the start of the run, ms, at which it was complete. */
type Knot = readonly [round: number, x: number];

/** Two knots of one round would make the axis ambiguous there. */
const AFTER_ROUND = 0.001;

/**
 * The time since the run started, ms. The log says when; after its last entry, rounds take as long as they report. Points do not hold a
 * moment, and adding up their durations would be wrong where rounds were left out.
 * @param events oldest first
 * @param startedAt ms since 1970
 */
export function clockAxis({ round, roundMs }: PointColumns, events: readonly LoggedEvent[], startedAt: number): RoundAxis {
  const knots: Knot[] = [[0, 0]];
  for (const event of events) addKnot(knots, event.round, Math.max(event.at - startedAt, 0));
  const [lastRound, lastMs] = knots[knots.length - 1];
  const rest = roundMs.filter((_, i) => round[i] > lastRound);
  const last = round.at(-1) ?? 0;
  if (rest.length > 0 && last > lastRound) {
    const mean = rest.reduce((sum, ms) => sum + ms, 0) / rest.length;
    knots.push([last, lastMs + mean * (last - lastRound)]);
  }
  return axisOf(knots);
}

function axisOf(knots: readonly Knot[]): RoundAxis {
  const back = knots.map(([at, x]): Knot => [x, at]);
  return { toX: (at) => interpolate(knots, at), toRound: (x) => interpolate(back, x) };
}

/** The first event of a round marks its end, and the last one what follows, for example the end of a pause. */
function addKnot(knots: Knot[], round: number, ms: number): void {
  // The run went back to a checkpoint and computes these rounds again.
  while (knots.length > 1 && knots[knots.length - 1][0] > round + AFTER_ROUND) knots.pop();
  const [lastRound, lastMs] = knots[knots.length - 1];
  if (ms <= lastMs) return;
  if (round > lastRound) return void knots.push([round, ms]);
  if (round + AFTER_ROUND > lastRound) knots.push([round + AFTER_ROUND, ms]);
  else knots[knots.length - 1] = [round + AFTER_ROUND, ms];
}

/** Linear between knots whose first numbers ascend; the outer pieces go on beyond the ends. */
function interpolate(knots: readonly Knot[], at: number): number {
  if (knots.length < 2) return at;
  let i = 1;
  while (i < knots.length - 1 && knots[i][0] < at) i++;
  const [[x0, y0], [x1, y1]] = [knots[i - 1], knots[i]];
  return x1 > x0 ? y0 + ((at - x0) * (y1 - y0)) / (x1 - x0) : y1;
}

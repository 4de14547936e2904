/** The losses of runs as one SVG file. */
import { CURVE_COLOURS, drawChart, lossOf, PRINTED } from '@troupe/run';
import type { Curves } from './curves.js';

/** @throws RangeError if no run has a point */
export function drawSvg(runs: readonly Curves[]): string {
  const coloured = runs.map((run, i) => ({ ...run, colour: CURVE_COLOURS[i % CURVE_COLOURS.length] }));
  return drawChart({
    ...{ title: 'Loss by round', unit: 'loss, nats/char', width: 800, height: 480, palette: PRINTED },
    curves: coloured.flatMap(({ colour, rounds, losses, evaluations }) => [
      { colour, points: rounds.map((round, i) => [round, losses[i]] as const) },
      { colour, points: evaluations.map((evaluation) => [evaluation.round, lossOf(evaluation)] as const), dashed: true },
    ]),
    legend: coloured.map(({ folder, model, colour }) => ({
      text: `${folder} (${model}): training; dashed: validation`,
      colour,
    })),
  });
}

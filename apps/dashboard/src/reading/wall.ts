/** The picture of a run for a screen on a wall: workers on a ring, and the curve of the loss. */
import type { PointColumns, WorkerState, WorkerView } from '@troupe/run';

export interface Dot {
  /** In a square of 100, centred at 50. */
  readonly x: number;
  readonly y: number;
  readonly state: WorkerState;
}

/** Outer radius of the ring, and what the next ring inside it is smaller by. */
const RADIUS = 46;
const RING_GAP = 5;
/** Dots on one ring; more workers need a second one. */
const DOTS = 80;
const MAX_RINGS = 3;

/** Workers that are connected, in their order, so that nobody changes places while others only change states. */
export function ringOf(workers: readonly WorkerView[]): Dot[] {
  const present = workers.filter(({ state }) => state !== 'left').slice(0, DOTS * MAX_RINGS);
  return present.map(({ state }, i) => {
    const ring = Math.floor(i / DOTS);
    const count = Math.min(DOTS, present.length - ring * DOTS);
    const angle = (2 * Math.PI * (i % DOTS)) / count - Math.PI / 2;
    const radius = RADIUS - ring * RING_GAP;
    return { x: 50 + radius * Math.cos(angle), y: 50 + radius * Math.sin(angle), state };
  });
}

/** Points of the curve at most. */
const CURVE_POINTS = 200;

/** The smoothed loss as an SVG path in a box of 100 by 30; empty with fewer than two rounds. */
export function lossPath({ round, smoothedLoss }: PointColumns): string {
  if (round.length < 2) return '';
  const stride = Math.ceil(round.length / CURVE_POINTS);
  const rows = round.flatMap((_, i) => (i % stride === 0 || i === round.length - 1 ? [i] : []));
  const finite = rows.map((row) => smoothedLoss[row]).filter(Number.isFinite);
  const [low, high] = [Math.min(...finite), Math.max(...finite)];
  const [first, last] = [round[0], round[round.length - 1]];
  const at = rows
    .filter((row) => Number.isFinite(smoothedLoss[row]))
    .map((row) => {
      const x = (100 * (round[row] - first)) / (last - first);
      const y = 29 - (28 * (smoothedLoss[row] - low)) / (high - low || 1);
      return `${x.toFixed(2)} ${y.toFixed(2)}`;
    });
  return `M${at.join('L')}`;
}

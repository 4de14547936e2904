import type { WorkerState, WorkerView } from '@troupe/run';
import { describe, expect, it } from 'vitest';
import { lossPath, ringOf } from '../src/reading/wall.js';
import { NO_POINTS } from '../src/state/columns.js';
import { points } from './points.js';

const workers = (...states: WorkerState[]): WorkerView[] => states.map((state, i) => ({ id: `${i}`, state }) as WorkerView);
const radius = ({ x, y }: { x: number; y: number }): number => Math.hypot(x - 50, y - 50);

describe('the ring of workers', () => {
  it('has a dot for each worker that is connected, the first at the top', () => {
    const dots = ringOf(workers('computing', 'left', 'late'));
    expect(dots.map(({ state }) => state)).toEqual(['computing', 'late']);
    expect(dots[0]).toMatchObject({ x: expect.closeTo(50, 6), y: expect.closeTo(4, 6) });
    expect(dots[1]).toMatchObject({ x: expect.closeTo(50, 6), y: expect.closeTo(96, 6) });
  });

  it('becomes several rings inside each other, and no two dots lie on each other', () => {
    const dots = ringOf(workers(...new Array<WorkerState>(200).fill('ready')));
    expect(new Set(dots.map((dot) => Math.round(radius(dot)))).size).toBe(3);
    expect(new Set(dots.map(({ x, y }) => `${x.toFixed(1)} ${y.toFixed(1)}`)).size).toBe(200);
  });
});

describe('the curve of the loss on a wall', () => {
  it('goes from the left to the right of its box, high losses at the top', () => {
    const path = lossPath(points(1, 3, { smoothedLoss: (round) => 5 - round }));
    expect(path).toBe('M0.00 1.00L50.00 15.00L100.00 29.00');
  });

  it('leaves out losses that are not numbers, and is empty before the second round', () => {
    expect(lossPath(points(1, 3, { smoothedLoss: (round) => (round === 2 ? NaN : 1) }))).not.toContain('NaN');
    expect(lossPath(points(1, 1))).toBe('');
    expect(lossPath(NO_POINTS)).toBe('');
  });
});

import type { LoggedEvent } from '@troupe/run';
import { describe, expect, it } from 'vitest';
import { toCsv, toSvg } from '../src/chart/export.js';
import type { ChartSpec, Shown } from '../src/chart/spec.js';
import { markersOf } from '../src/reading/markers.js';
import { characterAxis, clockAxis } from '../src/reading/round-axis.js';
import { smoothed } from '../src/reading/smoothing.js';
import { NO_POINTS } from '../src/state/columns.js';
import { points } from './points.js';

const event = (round: number, at: number, kind: LoggedEvent['kind'] = 'note', text = ''): LoggedEvent => ({
  ...{ id: at, at, round, kind, level: 'info', text },
});

describe('the x axis', () => {
  it('counts the characters of all streams', () => {
    const { toX, toRound } = characterAxis({ streams: 32, window: 64 });
    expect([toX(10), toRound(20_480)]).toEqual([20_480, 10]);
  });

  it('of the clock goes through what the log says, and from there by the durations of rounds', () => {
    const { toX, toRound } = clockAxis(points(1, 30, { roundMs: () => 50 }), [event(0, 1_000), event(20, 3_000)], 1_000);
    expect([0, 10, 20, 30].map(toX)).toEqual([0, 1_000, 2_000, 2_500]);
    expect(toRound(1_000)).toBeCloseTo(10, 6);
  });

  it('of the clock puts a pause between its round and the next', () => {
    const { toX } = clockAxis(NO_POINTS, [event(10, 1_000), event(10, 61_000), event(20, 62_000)], 0);
    expect(toX(10)).toBe(1_000);
    expect(toX(11)).toBeCloseTo(61_100, -2);
    expect(toX(20)).toBe(62_000);
  });

  it('of the clock goes on after the run went back to a checkpoint', () => {
    const { toX } = clockAxis(NO_POINTS, [event(10, 1_000), event(30, 3_000), event(10, 10_000), event(20, 11_000)], 0);
    expect(toX(20)).toBe(11_000);
    expect(toX(15)).toBeGreaterThan(10_000);
  });
});

describe('markers', () => {
  it('tell joins, pauses, resumes, changed rates and continued runs, each once a round', () => {
    const events = [
      event(0, 1, 'worker', 'Ada joined: native'),
      event(0, 2, 'worker', 'Grace joined: wasm'),
      event(0, 3, 'worker', 'Ada ready: measured'),
      event(5, 4, 'decision', 'paused by admin: open leases still count, no new ones are dealt'),
      event(5, 5, 'decision', 'resumed by admin; 8 streams lent to 1 worker'),
      event(7, 6, 'control', 'learning rate 0.005'),
      event(3, 7, 'note', 'the run continues from round 3'),
      event(9, 8, 'control', 'clip 1'),
    ];
    expect(markersOf(events).map(({ round, kind }) => `${kind} ${round}`)).toEqual([
      ...['joined 0', 'paused 5', 'resumed 5', 'rate 7', 'continued 3'],
    ]);
  });
});

describe('smoothing', () => {
  it('keeps a constant, and has no bias at its start', () => {
    expect(smoothed([1, 2, 3], [2, 2, 2], 50)).toEqual([2, 2, 2]);
    expect(smoothed([1, 2], [1, 3], 1)).toEqual([1, 3]);
  });

  it('weighs a point after a gap for the rounds that were left out', () => {
    const [, near] = smoothed([1, 2], [0, 1], 50);
    const [, far] = smoothed([1, 100], [0, 1], 50);
    expect(far).toBeGreaterThan(near);
  });
});

describe('a chart as a file', () => {
  const spec: ChartSpec = {
    ...{ title: () => 'Loss', unit: () => 'nats', xLabel: () => 'round', height: 300, series: [], format: String },
  };
  const shown: Shown = {
    series: [
      { label: () => 'training, raw', colour: '--a', format: String },
      { label: () => 'a<b', colour: '--b', style: 'dashed', format: String },
    ],
    plot: {
      x: [1, 2, 3],
      curves: [
        [3, 2.5, 2],
        [null, 2.75, null],
      ],
    },
    ...{ from: 1, to: 2 },
  };

  it('of values has the rounds that are shown, exact values and empty gaps', () => {
    expect(toCsv(spec, shown)).toBe('round,"training, raw",a<b\n1,3,\n2,2.5,2.75\n');
  });

  it('of vectors is a picture of its own, whose texts are escaped', () => {
    const svg = toSvg(spec, shown, { width: 640, log: false, low: 2, high: 3, colour: (name) => name });
    expect(svg).toMatch(/^<svg xmlns="http:\/\/www.w3.org\/2000\/svg"/);
    expect(svg).toContain('a&#60;b');
    expect(svg.match(/stroke-dasharray/g)).toHaveLength(1);
    expect(svg).not.toMatch(/NaN|Infinity|href|var\(/);
  });
});

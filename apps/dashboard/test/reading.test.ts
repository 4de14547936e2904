import type { RoundTiming, WorkerView } from '@troupe/run';
import { describe, expect, it } from 'vitest';
import {
  align,
  chanceInView,
  clippedFraction,
  computeFraction,
  gradientPlot,
  stepNorms,
  logMarks,
  lossPlot,
  nearest,
  positive,
  stacked,
  tableRows,
  timePlot,
  usualMax,
  valueAt,
} from '../src/reading/curves.js';
import { createEventStream } from '../src/reading/event-stream.js';
import { reachOf, readFlow, relative } from '../src/reading/flow.js';
import { createFormat } from '../src/reading/format.js';
import { firstDirection, ordered, SORT_KEYS, type SortKey } from '../src/reading/table.js';
import { chooseLanguage, TEXTS } from '../src/texts.js';
import { points } from './points.js';

describe('numbers', () => {
  const { figure, duration, compact, loss, percent } = createFormat('en');

  it('are short', () => {
    expect([0, 0.012345, 3.14159, 5_123].map(figure)).toEqual(['0', '0.0123', '3.14', '5,120']);
    expect([5.53e-6, 1e-6, 2e7].map(figure)).toEqual(['5.5×10⁻⁶', '10⁻⁶', '2×10⁷']);
    expect([999, 12_345, 1_115_394].map(compact)).toEqual(['999', '12.3k', '1.12m']);
    expect(loss(1.5)).toBe('1.500');
    expect(percent(0.173)).toBe('17%');
  });

  it('that are unknown are shown as a dash', () => {
    expect([NaN, Infinity].map(figure)).toEqual(['–', '–']);
    expect(duration(NaN)).toBe('–');
  });

  it('of time have a unit that fits', () => {
    expect([0.5, 247, 3_210, 42_000].map(duration)).toEqual(['0.5ms', '247ms', '3.2s', '42s']);
    expect([59_600, 904_000, 3_599_900, 4_320_000, 183_600_000].map(duration)).toEqual(['1m', '15m 4s', '1h', '1h 12m', '2d 3h']);
  });

  it('of a fraction keep one digit below one per cent, and are never shown as none', () => {
    expect([0, 0.00001, 0.0034, 0.01, 0.999, 1].map(percent)).toEqual(['0%', '<0.01%', '0.3%', '1%', '100%', '100%']);
  });

  it('of a time that makes no sense are not shown', () => {
    expect([-1, Infinity].map(duration)).toEqual(['–', '–']);
  });

  it('of a moment are hours, minutes and seconds', () => {
    expect(createFormat('en').clock(new Date(2024, 0, 2, 3, 4, 5).getTime())).toBe('03:04:05');
    expect(createFormat('en').date(new Date(2024, 0, 2, 3, 4).getTime())).toMatch(/2 Jan 2024.*03:04/);
  });

  it('follow the language', () => {
    expect(createFormat('zh').duration(904_000)).toMatch(/15分钟\s?4秒/);
    expect(createFormat('zh').compact(1_115_394)).toContain('万');
  });
});

describe('curves', () => {
  it('of different rounds are drawn over all rounds, with gaps', () => {
    const plot = align([
      { x: [1, 2, 4], curves: [[10, 20, 40]] },
      { x: [2, 3], curves: [[2, 3]] },
    ]);
    expect(plot.x).toEqual([1, 2, 3, 4]);
    expect(plot.curves).toEqual([
      [10, 20, null, 40],
      [null, 2, 3, null],
    ]);
  });

  it('of loss have validation only at the rounds in which it was measured, with the average of the parameters if there is one', () => {
    const plot = lossPlot(points(1, 3), [
      { round: 2, validationLoss: 7 },
      { round: 3, validationLoss: 6, averageLoss: 5 },
    ]);
    expect(plot.curves).toEqual([
      [1, 2, 3],
      [1, 2, 3],
      [null, 7, 6],
      [null, null, null],
      [null, null, 5],
    ]);
  });

  it('of loss have the line of chance, ln V, while a loss in view is near it', () => {
    const falling = points(1, 4, { trainLoss: (r) => 5 - r });
    const chance = chanceInView(falling, 1, 4, 65)!;
    expect(chance).toBeCloseTo(4.174, 3);
    expect(lossPlot(falling, [], chance).curves[3]).toEqual([chance, chance, chance, chance]);
    expect(chanceInView(falling, 2, 4, 65)).toBeUndefined();
    expect(chanceInView(points(1, 4, { trainLoss: () => 429_581 }), 1, 4, 65)).toBe(chance);
    expect(chanceInView(falling, 1, 4, undefined)).toBeUndefined();
  });

  it('of the gradient mark clipped rounds and the clip norm', () => {
    const some = points(1, 3, { gradientNorm: (r) => r, clipScale: (r) => (r > 2 ? 0.5 : 1) });
    expect(gradientPlot(some, 2).curves.slice(1)).toEqual([
      [null, null, 3],
      [2, 2, 2],
    ]);
    expect(gradientPlot(some, 0).curves[2]).toEqual([null, null, null]);
    expect(clippedFraction(some)).toBeCloseTo(1 / 3);
  });

  it('of a local run are norms of differences, which the clip norm of its steps does not limit', () => {
    expect(stepNorms({ clip: 2, localSteps: 1 })).toEqual({ ofDifference: false, clip: 2 });
    expect(stepNorms({ clip: 2, localSteps: 32 })).toEqual({ ofDifference: true, clip: 0 });
    expect(stepNorms(undefined)).toEqual({ ofDifference: false, clip: 0 });
  });

  it('of time have the four parts of a round', () => {
    const some = points(1, 2, { computeMs: () => 1, transferMs: () => 2, reduceMs: () => 3, waitingMs: () => 4 });
    expect(timePlot(some)).toEqual({
      x: [1, 2],
      curves: [
        [1, 1],
        [2, 2],
        [3, 3],
        [4, 4],
      ],
    });
  });

  it('of the same rounds need no gaps', () => {
    const x = [1, 2];
    expect(
      align([
        { x, curves: [[1, 2]] },
        { x, curves: [[3, 4]] },
      ]),
    ).toEqual({
      x,
      curves: [
        [1, 2],
        [3, 4],
      ],
    });
  });

  it('can be stacked', () => {
    expect(
      stacked([
        [1, 2],
        [10, null],
        [100, 200],
      ]),
    ).toEqual([
      [1, 2],
      [11, 2],
      [111, 202],
    ]);
  });

  it('have a gap at zero on a logarithmic axis', () => {
    expect(positive([1, 0, -1, null])).toEqual([1, null, null, null]);
  });

  it('have the last value before a gap as the value in it', () => {
    expect([0, 1, 2, 9].map((index) => valueAt([null, 5, null], index))).toEqual([null, 5, 5, 5]);
  });

  it('are read at the nearest point', () => {
    expect([-5, 1, 2.9, 3.1, 99].map((x) => nearest([1, 5, 9], x))).toEqual([0, 0, 0, 1, 2]);
  });

  it('have an upper end that ignores rare peaks', () => {
    expect(usualMax([...Array<number>(99).fill(10), 150_000])).toBe(15);
    expect(usualMax([null])).toBe(0);
  });

  it('have few grid lines on a logarithmic axis of any length', () => {
    expect(logMarks(1, 100)).toEqual([1, 2, 5, 10, 20, 50, 100]);
    expect(logMarks(1e-6, 10)).toEqual([1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10]);
    expect(logMarks(1e-30, 1).length).toBeLessThanOrEqual(11);
    expect(logMarks(2, 2.5)).toEqual([2]);
  });

  it('have a table of a few rows, with the first and the last point', () => {
    expect(tableRows(3, 12)).toEqual([0, 1, 2]);
    expect(tableRows(100, 4)).toEqual([0, 33, 66, 99]);
  });
});

it('the part of a round that goes into computing is one of its four parts', () => {
  const timing = { computeMs: 30, transferMs: 10, reduceMs: 5, waitingMs: 15 } as RoundTiming;
  expect(computeFraction(timing)).toBe(0.5);
  expect(computeFraction({ ...timing, computeMs: 0, transferMs: 0, reduceMs: 0, waitingMs: 0 })).toBeUndefined();
  expect(computeFraction(undefined)).toBeUndefined();
});

const RNN = { cell: 'rnn-tanh', state: 'h' } as const;

describe('gradient flow', () => {
  const geometric = (factor: number, length = 64): number[] => Array.from({ length }, (_, i) => factor ** i);

  it('that falls is vanishing, with its reach', () => {
    // 0.8^20 = 0.0115, 0.8^21 = 0.0092
    expect(readFlow(geometric(0.8), RNN)).toEqual({ kind: 'vanishing', reach: 21 });
  });

  it('that grows is exploding, with its factor', () => {
    expect(readFlow(geometric(1.1), RNN)).toEqual({ kind: 'exploding', factor: expect.closeTo(1.1 ** 63, 6) });
  });

  it('that stays is steady, with what is left', () => {
    expect(readFlow(geometric(0.99), RNN)).toEqual({ kind: 'steady', left: expect.closeTo(0.99 ** 63, 6), steps: 63 });
  });

  it('that dips and recovers is not vanishing', () => {
    expect(readFlow([1, 0.5, 0.001, 0.4, 0.3], RNN).kind).toBe('steady');
  });

  it('does not call the flow through gates vanishing, and says when only h of an LSTM was measured', () => {
    expect(readFlow(geometric(0.8), { cell: 'lstm', state: undefined })).toEqual({ kind: 'hidden' });
    expect(readFlow(geometric(0.8), { cell: 'lstm', state: 'hc' })).toEqual({ kind: 'fading', reach: 21 });
    expect(readFlow(geometric(0.8), { cell: 'gru', state: 'h' }).kind).toBe('fading');
    expect(readFlow(geometric(0.99), { cell: 'lstm', state: 'h' }).kind).toBe('steady');
  });

  it('grows ten times or more before it counts as exploding', () => {
    expect(readFlow([1, 2, 4, 9.9], RNN).kind).toBe('steady');
    expect(readFlow([1, 2, 4, 10], RNN).kind).toBe('exploding');
  });

  it('reaches as far back as a hundredth of it is left', () => {
    expect(reachOf([100, 10, 1, 0.9, 0.5])).toBe(3);
    expect(reachOf([100, 10, 1, 1, 1])).toBeUndefined();
    expect(reachOf([100, 0.5, 2, 0.5, 0.5])).toBe(3);
  });

  it('without a gradient, or with too few steps, is unknown', () => {
    expect([[], [1, 2], [0, 0, 0, 0, 0], [1, NaN, 1, 1, 1]].map((norms) => readFlow(norms, RNN).kind)).toEqual(
      Array(4).fill('unknown'),
    );
  });

  it('is compared on a scale that starts at 1', () => {
    expect(relative([4, 2, 0])).toEqual([1, 0.5, null]);
    expect(relative([0, 1])).toEqual([null, null]);
  });
});

it('an event stream can be cut anywhere', () => {
  const stream = createEventStream();
  const whole = 'data: {"a":1}\n\n: comment\n\ndata: two\ndata: lines\n\nevent: x\r\ndata: last\r\n\r\n';
  expect([...whole].flatMap((letter) => stream.feed(letter))).toEqual(['{"a":1}', 'two\nlines', 'last']);
  expect(createEventStream().feed(whole)).toEqual(['{"a":1}', 'two\nlines', 'last']);
});

describe('the table of workers', () => {
  const worker = (id: string, change: Partial<WorkerView>): WorkerView =>
    ({ id, name: id, charsPerSecond: 1, state: 'ready', ...change }) as WorkerView;
  const workers = [
    worker('w1', { name: 'local-10', charsPerSecond: 5 }),
    worker('w2', { name: 'local-9', charsPerSecond: 7, state: 'left' }),
    worker('w3', { name: 'local-2', charsPerSecond: 5, state: 'late' }),
  ];
  const ids = (list: readonly WorkerView[]): string[] => list.map(({ id }) => id);

  it('is ordered by name, with numbers in their order; workers that left come last', () => {
    expect(ids(ordered(workers, { by: 'name', ascending: true }))).toEqual(['w3', 'w1', 'w2']);
    expect(ids(ordered(workers, { by: 'name', ascending: false }))).toEqual(['w1', 'w3', 'w2']);
  });

  it('keeps equal rows in one order', () => {
    expect(ids(ordered([...workers].reverse(), { by: 'speed', ascending: false }))).toEqual(['w1', 'w3', 'w2']);
  });

  it.each<[SortKey, Partial<WorkerView>, Partial<WorkerView>]>([
    ['kind', { kind: 'browser' }, { kind: 'node' }],
    ['engine', { engine: 'native' }, { engine: 'wasm' }],
    ['device', {}, { device: 'cpu' }],
    ['speed', { charsPerSecond: 9 }, { charsPerSecond: 10 }],
    ['share', { streams: 9 }, { streams: 10 }],
    ['latency', { latencyMs: 9 }, {}],
    ['rounds', { rounds: 9 }, { rounds: 10 }],
    ['seen', { lastSeenMs: 9 }, { lastSeenMs: 10 }],
    ['state', { state: 'computing' }, { state: 'paused' }],
  ])('is ordered by %s', (by, first, second) => {
    const two = [worker('a', second), worker('b', first)];
    expect(ids(ordered(two, { by, ascending: true }))).toEqual(['b', 'a']);
    expect(ids(ordered(two, { by, ascending: false }))).toEqual(['a', 'b']);
  });

  it('begins at A for texts, with the shortest for times, and with the largest for other numbers', () => {
    expect(SORT_KEYS.filter(firstDirection)).toEqual(['name', 'state', 'latency', 'seen', 'engine', 'device', 'kind']);
  });

  it('puts late workers on top when ordered by state', () => {
    expect(ids(ordered(workers, { by: 'state', ascending: true }))[0]).toBe('w3');
  });
});

describe('texts', () => {
  /** The paths of all texts. */
  const paths = (part: object, before = ''): string[] =>
    Object.entries(part).flatMap(([key, value]) =>
      typeof value === 'object' ? paths(value as object, `${before}${key}.`) : [`${before}${key}`],
    );

  it('exist in every language, and none is empty', () => {
    expect(paths(TEXTS.zh)).toEqual(paths(TEXTS.en));
    for (const texts of [TEXTS.en, TEXTS.zh]) {
      const flat = JSON.stringify(texts, (_, value: unknown) => (typeof value === 'function' ? 'text' : value));
      expect(flat).not.toContain('""');
    }
  });

  it('are in the chosen language, else in one that the browser prefers, else in English', () => {
    expect(chooseLanguage('en', ['zh-CN'])).toBe('en');
    expect(chooseLanguage(null, ['fr', 'zh-TW', 'en'])).toBe('zh');
    expect(chooseLanguage('xx', ['de'])).toBe('en');
  });
});

import { describe, expect, it } from 'vitest';
import {
  createRunHistory,
  decodeEntry,
  encodeEntry,
  POINT_FIELDS,
  roundOf,
  type HistoryEntry,
  type RoundPoint,
} from '../src/index.js';

function point(round: number, over: Partial<RoundPoint> = {}): RoundPoint {
  return {
    round,
    trainLoss: 2,
    smoothedLoss: 2,
    gradientNorm: 1,
    clipScale: 1,
    learningRate: 0.01,
    roundMs: 10,
    computeMs: 6,
    transferMs: 2,
    reduceMs: 1,
    waitingMs: 1,
    charsPerSecond: 1000,
    workers: 2,
    ...over,
  };
}

function historyOf(rounds: number, over: (round: number) => Partial<RoundPoint> = () => ({})) {
  const history = createRunHistory();
  for (let round = 1; round <= rounds; round++) history.addRound(point(round, over(round)));
  return history;
}

describe('a history in memory', () => {
  it('returns the requested rounds by column', () => {
    const history = historyOf(20, (round) => ({ trainLoss: round / 10 }));
    const { points, thinned } = history.points(5, 8, 100);
    expect(points.round).toEqual([5, 6, 7, 8]);
    expect(points.trainLoss).toEqual([0.5, 0.6, 0.7, 0.8]);
    expect(Object.keys(points)).toEqual([...POINT_FIELDS]);
    expect(thinned).toBe(false);
    expect([history.firstRound, history.lastRound]).toEqual([1, 20]);
  });

  it('returns nothing before the first round and outside the stored rounds', () => {
    expect(createRunHistory().points(0, 100, 100).points.round).toEqual([]);
    expect(createRunHistory().latest).toBeUndefined();
    expect(historyOf(5).points(6, 9, 100).points.round).toEqual([]);
    expect(historyOf(5).points(4, 2, 100).points.round).toEqual([]);
  });

  it('keeps every spike when it drops rounds, and never returns more than requested', () => {
    const spikes = new Map<number, Partial<RoundPoint>>([
      [3_333, { trainLoss: 9 }],
      [50_001, { gradientNorm: 500 }],
      [70_707, { roundMs: 9_999 }],
      [90_000, { trainLoss: 0.1 }],
    ]);
    const history = historyOf(100_000, (round) => spikes.get(round) ?? { trainLoss: 2 + Math.sin(round) / 10 });
    for (const most of [8, 100, 2_000]) {
      const { points, thinned } = history.points(0, 100_000, most);
      expect(thinned).toBe(true);
      expect(points.round.length).toBeLessThanOrEqual(most);
      expect(points.round[0]).toBe(1);
      expect(points.round.at(-1)).toBe(100_000);
      expect(points.round).toEqual([...new Set(points.round)].sort((a, b) => a - b));
      expect([...spikes.keys()].filter((round) => !points.round.includes(round))).toEqual([]);
    }
  });

  it('stays within its bounds in long runs and keeps spikes', () => {
    const history = historyOf(300_000, (round) => ({ trainLoss: round === 1_234 ? 7 : 2 }));
    const { points, thinned } = history.points(0, Infinity, Infinity);
    expect(points.round.length).toBeLessThanOrEqual(131_072);
    expect(points.trainLoss).toContain(7);
    expect([points.round[0], points.round.at(-1), thinned]).toEqual([1, 300_000, true]);
  });

  it('stores fewer gradient flows of a large model', () => {
    const history = createRunHistory();
    const layers = [new Array<number>(100_000).fill(0)];
    for (let round = 1; round <= 50; round++) history.add({ type: 'flow', flow: { round, layers } });
    expect(history.flows.length).toBeLessThanOrEqual(10);
    expect(history.flows.at(-1)?.round).toBe(50);
  });

  it('bounds events, samples and flows, and keeps the newest', () => {
    const history = createRunHistory();
    for (let i = 1; i <= 5_000; i++) {
      history.addEvent({ at: i, round: i, kind: 'note', level: 'info', text: 'x' });
      history.add({ type: 'sample', sample: { round: i, text: 'x' } });
      history.add({ type: 'flow', flow: { round: i, layers: [[1]] } });
      history.add({ type: 'evaluation', evaluation: { round: i, validationLoss: 1 } });
    }
    expect(history.events.length).toBeLessThanOrEqual(2_000);
    expect(history.lastEvent).toBe(5_000);
    expect(history.events.at(-1)!.id).toBe(5_000);
    expect(history.samples.length).toBeLessThanOrEqual(512);
    expect([history.samples[0].round, history.samples.at(-1)!.round]).toEqual([1, 5_000]);
    expect(history.flows.length).toBeLessThanOrEqual(128);
    expect(history.evaluations).toHaveLength(5_000);
  });

  it('smooths the loss over as many windows in a local run, whose rounds have many', () => {
    const smoothedAfter = (localSteps: number): number => {
      const history = createRunHistory();
      history.add({ type: 'run', run: { config: { localSteps } } } as HistoryEntry);
      for (let round = 1; round <= 40; round++) history.addRound(point(round, { trainLoss: round <= 30 ? 4 : 1 }));
      return history.latest!.smoothedLoss;
    };
    expect(smoothedAfter(1)).toBeGreaterThan(2.5);
    expect(smoothedAfter(32)).toBeLessThan(1.1);
  });

  it('smooths the loss without bias towards the first rounds', () => {
    const level = historyOf(500, () => ({ trainLoss: 3 })).points(0, 500, 1000).points.smoothedLoss;
    expect(Math.max(...level) - Math.min(...level)).toBeLessThan(1e-9);
    const fallen = historyOf(500, (round) => ({ trainLoss: round <= 250 ? 4 : 1 })).points(0, 500, 1000).points.smoothedLoss;
    expect(fallen[274]).toBeGreaterThan(1.5);
    expect(fallen[499]).toBeLessThan(1.01);
  });

  it('ignores a round that it already has', () => {
    const history = historyOf(5);
    history.add({ type: 'round', point: point(3, { trainLoss: 9 }) });
    history.add({ type: 'round', point: point(6) });
    expect(history.points(0, 9, 100).points.round).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it('continues the numbers of events that were read from disk', () => {
    const history = createRunHistory();
    const event = { at: 1, round: 0, kind: 'note', level: 'info', text: 'before' } as const;
    history.add({ type: 'event', event: { ...event, id: 41 } });
    expect(history.addEvent({ ...event, text: 'after' }).id).toBe(42);
  });
});

describe('a line of a history', () => {
  const entries: HistoryEntry[] = [
    { type: 'round', point: point(7) },
    { type: 'evaluation', evaluation: { round: 8, validationLoss: 1.5 } },
    { type: 'evaluation', evaluation: { round: 8, validationLoss: 1.5, averageLoss: 1.25 } },
    { type: 'sample', sample: { round: 9, text: 'two\nlines "quoted"' } },
    { type: 'flow', flow: { round: 10, layers: [[1, 0.5]] } },
    { type: 'event', event: { id: 1, at: 5, round: 11, kind: 'decision', level: 'info', text: 'late' } },
  ];

  it.each(entries)('round-trips an entry of type $type', (entry) => {
    const line = encodeEntry(entry);
    expect(line).not.toContain('\n');
    expect(decodeEntry(line)).toEqual(entry);
  });

  it('has the round of its entry', () => {
    expect(entries.map(roundOf)).toEqual([7, 8, 8, 9, 10, 11]);
  });

  it.each([
    '',
    '{"type":"sample","sample":{"rou',
    '[1,2,3]',
    '[1,2,3,4,5,6,7,8,9,10,11,12,"x"]',
    '[1,null,3,4,5,6,7,8,9,10,11,12,13]',
    'null',
    '7',
    '{}',
    '{"type":"evaluation","evaluation":{"round":1,"validationLoss":2,"averageLoss":"1"}}',
    '{"type":"evaluation","evaluation":{"round":1,"validationLoss":2,"averageLoss":null}}',
    '{"type":"sample"}',
    '{"type":"sample","sample":{"round":1,"text":5}}',
    '{"type":"sample","sample":{"round":-1,"text":"x"}}',
    '{"type":"flow","flow":{"round":1,"layers":[1]}}',
    '{"type":"run","run":{"runId":"r","name":"n","model":"m","config":[]}}',
    '{"type":"run","run":{"runId":"r","name":1,"model":"m","config":{}}}',
    '{"type":"event","event":{"id":1,"round":1,"text":"when"}}',
    '{"type":"of another release"}',
  ])('that is incomplete or of an unknown type decodes to nothing: %s', (line) => {
    expect(decodeEntry(line)).toBeUndefined();
  });
});

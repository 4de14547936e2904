import { createRunHistory, type RunHistory } from '@troupe/run';
import { describe, expect, it } from 'vitest';
import { newestPlace, newsSince, type Place } from '../../src/web/news.js';

const START: Place = { round: 0, event: 0, evaluation: -1, sample: -1, flow: -1 };

function historyOf(rounds: number): RunHistory {
  const history = createRunHistory();
  const figures = { trainLoss: 2, gradientNorm: 1, clipScale: 1, learningRate: 1, charsPerSecond: 1, workers: 1 };
  const times = { roundMs: 1, computeMs: 1, transferMs: 0, reduceMs: 0, waitingMs: 0 };
  for (let round = 1; round <= rounds; round++) history.addRound({ round, ...figures, ...times });
  return history;
}
const event = (history: RunHistory, kind: 'note' | 'control'): void =>
  void history.addEvent({ at: 0, round: history.lastRound, kind, level: 'info', text: 'a note' });
const parsed = (history: RunHistory, place: Place) => JSON.parse(newsSince(history, place, ['read', 'admin']).text ?? '{}');

describe('the news of a run', () => {
  it('is empty for a viewer that has been sent everything', () => {
    const history = historyOf(3);
    expect(newsSince(history, newestPlace(history), ['read'])).toEqual({ text: undefined, urgent: false });
  });

  it('has the entries of each kind after the place of the viewer', () => {
    const history = historyOf(2);
    const place = newestPlace(history);
    history.add({ type: 'evaluation', evaluation: { round: 2, validationLoss: 1.5 } });
    history.add({ type: 'sample', sample: { round: 2, text: 'Shall I' } });
    history.add({ type: 'flow', flow: { round: 2, layers: [[1]] } });
    event(history, 'note');
    expect(parsed(history, place)).toEqual({
      type: 'update',
      evaluations: [{ round: 2, validationLoss: 1.5 }],
      samples: [{ round: 2, text: 'Shall I' }],
      flow: { round: 2, layers: [[1]] },
      events: [expect.objectContaining({ text: 'a note' })],
    });
    expect(parsed(history, { ...place, round: 1 }).points.round).toEqual([2]);
  });

  it('is urgent if it reports an order', () => {
    const history = historyOf(1);
    event(history, 'note');
    expect(newsSince(history, START, ['read']).urgent).toBe(false);
    event(history, 'control');
    expect(newsSince(history, START, ['read']).urgent).toBe(true);
  });

  it('is a selection if the viewer is far behind', () => {
    const history = historyOf(5_000);
    for (let i = 0; i < 300; i++) event(history, 'note');
    const { points, events } = parsed(history, START);
    expect(points.round.length).toBeLessThanOrEqual(500);
    expect([points.round[0], points.round.at(-1)]).toEqual([1, 5_000]);
    expect(events).toHaveLength(200);
    expect(events.at(-1).id).toBe(history.lastEvent);
  });
});

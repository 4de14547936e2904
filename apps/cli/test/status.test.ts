import type { RunEvent } from '@troupe/run';
import { describe, expect, it } from 'vitest';
import { advance, initialProgress, renderBar, renderLogLine, renderStatus, type Progress } from '../src/terminal/status.js';
import { plainStyle, type Style } from '../src/terminal/style.js';

const progress: Progress = {
  round: 420,
  rounds: 1200,
  workers: 2,
  trainLoss: 1.6234,
  validationLoss: 1.7142,
  charsPerSecond: 61_234,
  gradientNorm: 0.8412,
  etaMs: 41_000,
};

describe('renderStatus', () => {
  it('shows everything when there is room', () => {
    expect(renderStatus(progress, 120, plainStyle)).toBe(
      '[=======>                ]  420/1200  train 1.62  val 1.71  nats/char  61.2k chars/s  |g| 0.84  2 workers  ETA 0:41',
    );
  });

  it('keeps the bar, losses, rate, norm and remaining time at 80 columns', () => {
    expect(renderStatus(progress, 79, plainStyle)).toBe(
      '[==>       ]  420/1200  train 1.62  val 1.71  61.2k chars/s  |g| 0.84  ETA 0:41',
    );
  });

  it('is never wider than the given width', () => {
    for (let width = 1; width <= 140; width++)
      expect(renderStatus(progress, width, plainStyle).length).toBeLessThanOrEqual(width);
  });

  it('keeps only the round if nothing else fits', () => {
    expect(renderStatus(progress, 8, plainStyle)).toBe('420/1200');
  });

  it('does not count colour codes as width', () => {
    const loud: Style = (_format, text) => `<<<<<<<<${text}>>>>>>>>`;
    const plain = renderStatus(progress, 79, loud).replace(/<{8}|>{8}/g, '');
    expect(plain).toHaveLength(renderStatus(progress, 79, plainStyle).length);
  });

  it('fills the bar at the last round and leaves it empty at the first', () => {
    expect(renderStatus({ ...progress, round: 0 }, 79, plainStyle)).toMatch(/^\[ {12}\] {2}0\/1200 /);
    expect(renderStatus({ ...progress, round: 1200 }, 120, plainStyle)).toMatch(/^\[={24}\] {2}1200\/1200 /);
  });

  it('shows how far a round is that takes long, also before the first is complete', () => {
    const waiting = advance(initialProgress, { event: 'waiting', reason: 'no worker has joined' });
    const begun = advance({ ...waiting, rounds: 4 }, { event: 'progress', round: 0, fraction: 0.4 });
    expect(renderStatus(begun, 60, plainStyle)).toMatch(/^\[=> +\] {2}0\/4 \+40 % /);
    expect(renderLogLine(advance(progress, { event: 'progress', round: 420, fraction: 0.05 }))).toMatch(
      /^round 420\/1200 \+5 % /,
    );
    const round = { round: 1, rounds: 10, workers: 1, trainLoss: 2, charsPerSecond: 1, gradientNorm: 1, etaMs: 1 };
    const done = advance(begun, { ...round, event: 'round', clipScale: 1, learningRate: 1, roundMs: 1 });
    expect(renderLogLine(done)).toMatch(/^round 1\/10 {2}/);
  });

  it('names the norm after what it is of: a gradient, or in a local run a difference', () => {
    const started = (localSteps: number) => ({ event: 'started', round: 0, config: { rounds: 9, localSteps } }) as RunEvent;
    const line = (localSteps: number) => renderLogLine({ ...progress, isLocal: advance(progress, started(localSteps)).isLocal! });
    expect([line(1), line(32)]).toEqual([expect.stringContaining('|g| 0.84'), expect.stringContaining('|D| 0.84')]);
  });

  it('shows why the run waits instead of the figures', () => {
    const waiting = advance(progress, { event: 'waiting', reason: 'no worker has joined' });
    expect(renderStatus(waiting, 79, plainStyle)).toMatch(/420\/1200 {2}waiting: no worker has joined$/);
  });
});

describe('renderLogLine', () => {
  it('has every figure and no bar', () => {
    expect(renderLogLine(progress)).toBe(
      'round 420/1200  train 1.62  val 1.71  nats/char  61.2k chars/s  |g| 0.84  2 workers  ETA 0:41',
    );
  });
});

describe('advance', () => {
  it('takes the figures of a round and clears the waiting phase', () => {
    const figures = { trainLoss: 2, gradientNorm: 1, charsPerSecond: 1000, etaMs: 5000 };
    const rest = { clipScale: 1, learningRate: 0.01, roundMs: 10 };
    const next = advance(initialProgress, { event: 'round', round: 1, rounds: 10, workers: 3, ...figures, ...rest });
    expect(next).toEqual({ round: 1, rounds: 10, workers: 3, ...figures });
  });

  it('keeps the last validation loss in later rounds', () => {
    const evaluated = advance(progress, { event: 'evaluation', round: 420, validationLoss: 1.5, characters: 9, best: true });
    expect(evaluated.validationLoss).toBe(1.5);
    const losses = { validationLoss: 1.5, averageLoss: 1.25 };
    expect(advance(progress, { event: 'evaluation', round: 420, ...losses, characters: 9, best: true }).validationLoss).toBe(
      1.25,
    );
  });
});

describe('renderBar', () => {
  it('shows only the text if the total is unknown', () => {
    expect(renderBar(5, undefined, '5B', 79, plainStyle)).toBe('5B');
  });

  it('fills half the bar at half the total', () => {
    expect(renderBar(5, 10, 'half', 79, plainStyle)).toBe(`[${'='.repeat(11)}>${' '.repeat(12)}]  half`);
  });
});

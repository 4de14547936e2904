import type { RunEvent } from '@troupe/run';
import { describe, expect, it } from 'vitest';
import { createReporter, describe as linesOf, ofOthers, withoutFloods } from '../src/reporter.js';

const reason = 'wrong token';
const knock: RunEvent = { event: 'worker', workerId: 'w', name: 'stranger', change: 'refused', reason, workers: 0 };
const note: RunEvent = { event: 'note', level: 'info', text: 'something else' };

describe('a flood', () => {
  it('is reported up to a number a minute, and then as a count', () => {
    let now = 0;
    const reported: RunEvent[] = [];
    const report = withoutFloods(
      (event) => reported.push(event),
      () => now,
    );
    for (let i = 0; i < 1_000; i++) report(knock);
    report(note);
    expect(reported).toHaveLength(31);
    expect(reported.at(-1)).toEqual(note);
    now = 60_000;
    report(knock);
    expect(reported.slice(31)).toEqual([{ event: 'note', level: 'warn', text: '970 more refused connections' }, knock]);
  });

  it('of one kind does not hide other kinds', () => {
    const reported: RunEvent[] = [];
    const report = withoutFloods(
      (event) => reported.push(event),
      () => 0,
    );
    const joined: RunEvent = { ...knock, change: 'joined' };
    for (let i = 0; i < 2_000; i++) for (const event of [knock, joined, note]) report(event);
    const count = (event: RunEvent): number => reported.filter((one) => one === event).length;
    expect([knock, joined, note].map(count)).toEqual([30, 1_000, 2_000]);
  });

  it('of warnings about peers does not hide warnings of the run itself', () => {
    const reported: RunEvent[] = [];
    const report = withoutFloods(
      (event) => reported.push(event),
      () => 0,
    );
    const others = ofOthers(report, () => 0);
    const warning: RunEvent = { event: 'note', level: 'warn', text: 'a link failed' };
    const own: RunEvent = {
      event: 'note',
      level: 'warn',
      text: 'training continues without this checkpoint',
      remedy: 'Make room.',
    };
    for (let i = 0; i < 1_000; i++) others(warning);
    report(own);
    expect(reported).toHaveLength(31);
    expect(reported.at(-1)).toBe(own);
  });
});

it('an unstable loss is told once, by the warning with the remedy', () => {
  const decision = { kind: 'lossHigh', trainLoss: 9, chanceLoss: 4, stopsAbove: 12, rounds: 10 } as const;
  const text = 'training is unstable';
  const events: RunEvent[] = [
    { event: 'decision', round: 3, text, decision },
    { event: 'note', level: 'warn', text, remedy: 'Lower --lr.' },
    { event: 'decision', round: 4, text: 'paused by admin', decision: { kind: 'paused', by: 'admin' } },
  ];
  expect(events.flatMap((event) => linesOf(event))).toEqual([text, 'Lower --lr.', 'round 4: paused by admin']);
});

it('the losses of a validation say which is of averaged parameters, and so does the end of a run', () => {
  const losses = { validationLoss: 1.4712, averageLoss: 1.4101 };
  expect(linesOf({ event: 'evaluation', round: 9, ...losses, characters: 5, best: true })).toEqual([
    'round 9  validation 1.4712 nats/char, with averaged parameters 1.4101 (best so far)',
  ]);
  const best = { bestCheckpoint: 'b', bestRound: 9, bestValidationLoss: 1.4101, bestIsAverage: true };
  const lines = linesOf({ event: 'finished', round: 9, reason: 'completed', checkpoint: 'c', ...losses, ...best });
  expect(lines).toContain('best validation: 1.4101 nats/char after round 9 with averaged parameters, in b');
  expect(lines).toContain('validation of the last round: 1.4712 nats/char, with averaged parameters 1.4101');
});

it('a local run has lines for the part of a round that is computed, and its norm is of a difference', () => {
  const lines: string[] = [];
  const report = createReporter(false, (line) => lines.push(line));
  const round = { rounds: 9, trainLoss: 2, gradientNorm: 0.5, clipScale: 1, learningRate: 1, roundMs: 1, charsPerSecond: 1 };
  const completed: RunEvent = { event: 'round', round: 9, ...round, etaMs: 0, workers: 1 };
  const model = { layers: 1, hidden: 2, vocabulary: 3 };
  const corpus = { name: 'winters', characters: 3, train: 2, validation: 1 };
  const started = (localSteps: number) =>
    ({ event: 'started', round: 0, config: { model, localSteps, rounds: 9 }, parameters: 1, corpus }) as unknown as RunEvent;
  for (const event of [started(32), { event: 'progress', round: 8, fraction: 0.4 } as const, completed, started(1), completed])
    report(event);
  expect(lines.filter((line) => line.startsWith('round'))).toEqual([
    'round 9: 40 % computed',
    expect.stringContaining('|D| 0.500'),
    expect.stringContaining('|g| 0.500'),
  ]);
});

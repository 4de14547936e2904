import { createRunHistory, DECISION_KINDS, type RunEvent } from '@troupe/run';
import { expect, it } from 'vitest';
import { createBoard } from '../../src/record/board.js';

it('counts decisions by kind, including repeats and those that a warning tells, which the log omits', () => {
  const board = createBoard({
    runId: 'r',
    name: undefined,
    history: createRunHistory(),
    file: { append: () => undefined, begin: () => undefined, flush: async () => undefined, close: async () => undefined },
    tensorboard: undefined,
    best: undefined,
    checkpoint: undefined,
    now: () => 0,
  });
  const late: RunEvent = {
    event: 'decision',
    round: 1,
    text: 'late: a; 4 streams lent to 1 worker',
    decision: { kind: 'late', workers: ['a'], lent: { streams: 4, workers: 1, uncovered: 0, pausedBy: [] } },
  };
  const lossHigh = { kind: 'lossHigh', trainLoss: 9, chanceLoss: 4, stopsAbove: 12, rounds: 10 } as const;
  const [unstable, remedy] = ['training is unstable', 'Lower --lr.'];
  board.note({ event: 'decision', round: 1, text: unstable, decision: lossHigh });
  board.note({ event: 'note', level: 'warn', text: unstable, remedy });
  for (let i = 0; i < 10; i++) board.note(late);
  board.note({ event: 'decision', round: 1, text: 'paused by admin', decision: { kind: 'paused', by: 'admin' } });
  expect(Object.fromEntries(board.decisions)).toEqual({
    ...Object.fromEntries(DECISION_KINDS.map((kind) => [kind, 0])),
    late: 10,
    lossHigh: 1,
    paused: 1,
  });
  expect(board.history.events.filter(({ text }) => text.startsWith('late'))).toHaveLength(3);
  // The warning tells it, with a remedy.
  const told = board.history.events.filter(({ text }) => text === unstable);
  expect(told).toMatchObject([{ kind: 'note', level: 'warn', remedy }]);
});

import { configFromFlags, parseTrainingConfig } from '@troupe/config';
import type { RunEvent, Symptoms } from '@troupe/run';
import { POINT_FIELDS } from '@troupe/run';
import { beforeEach, describe, expect, it } from 'vitest';
import { AGAIN_MS, Notices, WAITING_MS, type Notice } from '../../src/notify/notices.js';

const parsed = parseTrainingConfig(configFromFlags((flag) => ({ '--rounds': '400' })[flag], 65));
const config = parsed.ok ? parsed.config : undefined!;

let sent: Notice[];
let now: number;
let notices: Notices;
beforeEach(() => {
  sent = [];
  now = 1_000;
  notices = new Notices({ runId: 'r1', name: 'Sonnets', now: () => now, send: (notice) => sent.push(notice) });
});

const start = (round = 0): void => {
  const corpus = { name: '/home/ada/secret/notes.txt', characters: 100, train: 90, validation: 10 };
  notices.hear({ event: 'started', round, config, parameters: 1, corpus });
};
const round = (at: number): void => notices.hear({ event: 'round', round: at, rounds: 400 } as RunEvent);
const waiting = (): void => notices.hear({ event: 'waiting', reason: 'no worker is connected' });

/** `loss`: of the last 40 rounds. */
function symptoms(loss: number): Symptoms {
  const column = (value: number): number[] => Array.from({ length: 40 }, () => value);
  const points = Object.fromEntries(POINT_FIELDS.map((field) => [field, column(field === 'round' ? 100 : loss)]));
  return {
    view: { phase: 'running', round: 100, rounds: 400, workerCount: 1, config },
    points: { ...points, transferMs: column(1), reduceMs: column(1), computeMs: column(100) } as unknown as Symptoms['points'],
    evaluations: [],
  };
}
const healthy = symptoms(2);

describe('what people are told of a run', () => {
  it('is its start, or that it continues, without folders of the machine', () => {
    start();
    start(120);
    expect(sent.map(({ text }) => text)).toEqual([
      'Sonnets: The run starts: 1x256 LSTM on notes.txt, 400 rounds.',
      'Sonnets: The run continues from round 120: 1x256 LSTM on notes.txt, 400 rounds.',
    ]);
    expect(sent[1]).toMatchObject({ event: 'started', run: 'Sonnets', runId: 'r1', round: 120, rounds: 400, at: 1_000 });
  });

  it('is its end, with the best validation, and nothing after it', () => {
    start();
    round(400);
    const end = { reason: 'completed', checkpoint: '/x', bestRound: 300, bestValidationLoss: 1.5 } as const;
    notices.hear({ event: 'finished', round: 400, ...end });
    notices.failed(new Error('later'));
    notices.tick(symptoms(9));
    expect(sent.slice(1)).toMatchObject([
      {
        event: 'finished',
        text: 'Sonnets: The run is complete, at round 400 of 400. Best validation: 1.500 nats/char, at round 300.',
      },
    ]);
  });

  it('is that it diverged, or failed, and why', () => {
    start();
    notices.failed(Object.assign(new Error('the run has diverged: the loss is too high'), { code: 'diverged' }));
    expect(sent.at(-1)).toMatchObject({
      event: 'diverged',
      text: 'Sonnets: the run has diverged: the loss is too high.',
    });
  });

  it('is that it waits, once and only after a while', () => {
    start();
    waiting();
    now += WAITING_MS - 1;
    notices.tick(healthy);
    expect(sent).toHaveLength(1);
    waiting();
    now += 1;
    notices.tick(healthy);
    notices.tick(healthy);
    expect(sent.slice(1)).toMatchObject([{ event: 'waiting', text: 'Sonnets: The run waits: no worker is connected.' }]);
  });

  it('is nothing of a wait that ends soon', () => {
    start();
    waiting();
    now += WAITING_MS / 2;
    round(5);
    now += WAITING_MS;
    notices.tick(healthy);
    expect(sent).toHaveLength(1);
  });

  it('is a problem that the run doctor sees, and again only after a long time', () => {
    start();
    notices.tick(healthy);
    expect(sent).toHaveLength(1);
    notices.tick(symptoms(9));
    notices.tick(symptoms(9));
    expect(sent.slice(1)).toMatchObject([{ event: 'problem', problem: 'aboveChance', text: /above chance \(4\.174\)/ }]);
    now += AGAIN_MS;
    notices.tick(symptoms(9));
    expect(sent).toHaveLength(3);
  });
});

import type { ReduceCounted, ReduceUpdate } from '@troupe/collective';
import { createCreditLedger, creditsView, type RunEvent } from '@troupe/run';
import { beforeEach, describe, expect, it } from 'vitest';
import { createCreditBook, type CreditBook } from '../src/credits.js';
import type { Outcome, WorkerIdentity } from '../src/events.js';
import { createRoster, updateRoster } from '../src/roster.js';
import { NO_SESSION } from './fixture.js';

const ada: WorkerIdentity = {
  id: 'a',
  name: 'Ada',
  kind: 'browser',
  remote: 'x',
  trusted: true,
  credit: { name: 'Ada', team: '' },
};
const shy: WorkerIdentity = { id: 's', name: 'Shy', kind: 'browser', remote: 'x', trusted: true };

let reported: RunEvent[];
let book: CreditBook;
let ledger: ReturnType<typeof createCreditLedger>;

beforeEach(() => {
  reported = [];
  ledger = createCreditLedger();
  const roster = createRoster(0);
  for (const worker of [ada, shy]) updateRoster(roster, { type: 'workerJoined', worker, session: NO_SESSION }, 0);
  book = createCreditBook({ ledger, roster, report: (event) => void reported.push(event) });
});

const counted = (workerId: string, tokens: number): void =>
  book.handle({
    type: 'counted',
    contribution: { workerId, tokens } as ReduceCounted,
    grantedAtMs: undefined,
    charsPerSecond: undefined,
  });
const update = (): void => book.handle({ type: 'update', update: {} as ReduceUpdate });
const outcome = (type: Outcome['type'], round: number): void =>
  book.handle({ type: 'outcome', outcome: { type } as Outcome, round });

describe('the credits of a run', () => {
  it('count a round when it is complete: by name for those who want it, in sum for all others', () => {
    counted('a', 30);
    counted('a', 4);
    counted('s', 20);
    counted('gone', 10);
    expect(ledger.characters).toBe(0);
    update();
    expect(creditsView(ledger)).toMatchObject({ anonymous: 30, names: [{ name: 'Ada', characters: 34 }] });
  });

  it('leave out what counted in a round that starts over', () => {
    counted('a', 30);
    book.handle({ type: 'reduceRestored' });
    counted('s', 20);
    update();
    expect(creditsView(ledger)).toMatchObject({ characters: 20, names: [] });
  });

  it('are reported where the run may be saved, each character once', () => {
    counted('a', 3);
    update();
    outcome('waiting', 1);
    expect(reported).toEqual([]);
    outcome('checkpoint', 1);
    counted('a', 5);
    update();
    outcome('evaluate', 2);
    book.report(2);
    const event = (round: number, characters: number) => ({
      ...{ event: 'credits', round, anonymous: 0, names: [{ name: 'Ada', team: '', characters }] },
    });
    expect(reported).toEqual([event(1, 3), event(2, 5)]);
  });
});

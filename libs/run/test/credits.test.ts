import { describe, expect, it } from 'vitest';
import {
  addCredits,
  createCreditLedger,
  createRunHistory,
  creditedAs,
  creditsView,
  decodeEntry,
  encodeEntry,
  partsOf,
  type HistoryEntry,
} from '../src/index.js';

const ada = { name: 'Ada', team: 'Room 214' };
const bob = { name: 'Bob', team: '' };

describe('a name in the credits', () => {
  it.each([
    ['Ada', 'Room 214', ada],
    ['  Ada \n\t Lovelace ', '', { name: 'Ada Lovelace', team: '' }],
    ['A\u001b[2Jda\u202e', '\u0000', { name: 'A [2Jda', team: '' }],
    ['e\u0301', '', { name: 'é', team: '' }],
    [`a${'\u0300'.repeat(30)}`, '', { name: 'à\u0300\u0300\u0300', team: '' }],
    ['🎭'.repeat(50), 't'.repeat(64), { name: '🎭'.repeat(40), team: 't'.repeat(40) }],
    ['<b>&amp;', '', { name: '<b>&amp;', team: '' }],
  ])('%j of team %j is %j', (name, team, expected) => expect(creditedAs(name, team)).toEqual(expected));

  it.each(['', '   ', '\u200b\u200d', '\u0000\u001b', '\ud800'])('%j is nobody, because nothing of it can be seen', (name) =>
    expect(creditedAs(name, 'team')).toBeUndefined(),
  );
});

describe('a ledger', () => {
  it('adds up by name and team, and the rest in one sum', () => {
    const ledger = createCreditLedger();
    ledger.add(ada, 10);
    ledger.add(undefined, 5);
    ledger.add({ name: 'Ada', team: 'Room 215' }, 1);
    ledger.add(ada, 20);
    expect(ledger.names()).toEqual([
      { ...ada, characters: 30 },
      { name: 'Ada', team: 'Room 215', characters: 1 },
    ]);
    expect([ledger.anonymous, ledger.characters]).toEqual([5, 36]);
  });

  it('keeps those who computed most when too many names are made up, and loses no character', () => {
    const ledger = createCreditLedger(100);
    ledger.add(ada, 1_000);
    for (let i = 0; i < 5_000; i++) ledger.add({ name: `made up ${i}`, team: '' }, 1);
    expect(ledger.names().length).toBeLessThanOrEqual(100);
    expect(ledger.names()).toContainEqual({ ...ada, characters: 1_000 });
    expect(ledger.characters).toBe(6_000);
    expect(ledger.anonymous + ledger.names().reduce((sum, { characters }) => sum + characters, 0)).toBe(6_000);
  });

  it('is shown largest first, with its teams, and cut', () => {
    const ledger = createCreditLedger();
    ledger.add(bob, 7);
    ledger.add(ada, 30);
    ledger.add({ name: 'Eve', team: 'Room 214' }, 3);
    ledger.add(undefined, 2);
    expect(creditsView(ledger, 2)).toEqual({
      characters: 42,
      anonymous: 2,
      named: 3,
      names: [
        { ...ada, characters: 30 },
        { ...bob, characters: 7 },
      ],
      teams: [{ team: 'Room 214', names: 2, characters: 33 }],
    });
  });

  it('travels in parts, which add up to it', () => {
    const ledger = createCreditLedger();
    for (let i = 0; i < 5; i++) ledger.add({ name: `n${i}`, team: '' }, i + 1);
    ledger.add(undefined, 9);
    const whole = creditsView(ledger);
    const parts = partsOf(ledger.take(), 2);
    expect(parts.map(({ anonymous, names }) => [anonymous, names.length])).toEqual([
      [9, 2],
      [0, 2],
      [0, 1],
    ]);
    expect([ledger.characters, ledger.names()]).toEqual([0, []]);
    for (const part of parts) addCredits(ledger, part);
    expect(creditsView(ledger)).toEqual(whole);
    expect(partsOf(createCreditLedger().take())).toEqual([]);
  });
});

describe('the history', () => {
  const entry = (credits: object): HistoryEntry => ({ type: 'credits', credits }) as unknown as HistoryEntry;

  it('adds its entries to a ledger', () => {
    const history = createRunHistory();
    for (const round of [10, 20]) {
      const line = encodeEntry(entry({ round, anonymous: 1, names: [{ ...ada, characters: 2 }] }));
      history.add(decodeEntry(line)!);
    }
    expect(creditsView(history.credits)).toMatchObject({ characters: 6, anonymous: 2, names: [{ ...ada, characters: 4 }] });
  });

  it.each([
    { round: -1, anonymous: 1, names: [] },
    { round: 1, anonymous: -1, names: [] },
    { round: 1, anonymous: 1 },
    { round: 1, anonymous: 1, names: [{ name: 'Ada', team: 3, characters: 1 }] },
    { round: 1, anonymous: 1, names: [{ ...ada, characters: 0.5 }] },
    { round: 1, anonymous: 1, names: [null] },
  ])('skips the line %j', (credits) => expect(decodeEntry(encodeEntry(entry(credits)))).toBeUndefined());
});

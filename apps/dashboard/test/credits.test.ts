import { expect, it } from 'vitest';
import { creditLines } from '../src/reading/credits.js';

it('credits are the first names or teams, with their part of all characters', () => {
  const names = ['Ada', 'Bob', 'Cy'].map((name, i) => ({ name, team: 'Lab', characters: 40 - 10 * i }));
  expect(creditLines(names, 100, 2)).toEqual([
    { who: 'Ada', team: 'Lab', characters: 40, share: 0.4 },
    { who: 'Bob', team: 'Lab', characters: 30, share: 0.3 },
  ]);
  const team = { team: 'Lab', names: 3, characters: 90 };
  expect(creditLines([team], 0, 9)).toEqual([{ who: 'Lab', team: '', characters: 90, share: 1 }]);
});

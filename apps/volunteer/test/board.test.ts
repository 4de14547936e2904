import { describe, expect, it } from 'vitest';
import { boardOf, readCredits } from '../src/decisions/board.js';

const answer = {
  ...{ characters: 1_000, anonymous: 100, named: 4 },
  names: ['Ada', 'Bob', 'Cy', 'Dee'].map((name, i) => ({ name, team: i === 0 ? 'Lab' : '', characters: 400 - 100 * i })),
  teams: [{ team: 'Lab', names: 1, characters: 400 }],
};

describe('the credits', () => {
  it('are read as the coordinator sends them', () => {
    expect(readCredits({ ...answer, names: answer.names.slice(0, 3) })).toEqual({
      ...{ characters: 1_000, anonymous: 100, named: 4, names: answer.names.slice(0, 3) },
      teams: [{ team: 'Lab', characters: 400 }],
    });
  });

  it('leave out what has another shape, and what could control the page', () => {
    const names = [{ name: 5, team: '', characters: 1 }, null, 'x', { name: 'A\u202eda', team: {}, characters: 7 }];
    const read = readCredits({
      characters: -1,
      names,
      teams: [
        { team: '', characters: 3 },
        { team: 'T', characters: 'many' },
      ],
    });
    expect(read).toEqual({
      characters: 0,
      anonymous: 0,
      named: 0,
      names: [{ name: 'A da', team: '', characters: 7 }],
      teams: [],
    });
    for (const other of [null, [], 'x', 3, undefined]) expect(readCredits(other)).toBeUndefined();
  });
});

describe('the leaderboard', () => {
  const credits = readCredits(answer)!;

  it('shows the first ones, with their part of all characters', () => {
    expect(boardOf(credits, undefined, 2).map(({ rank, name, share, isMe }) => [rank, name, share, isMe])).toEqual([
      [1, 'Ada', 0.4, false],
      [2, 'Bob', 0.3, false],
    ]);
  });

  it('shows the volunteer too, wherever they are', () => {
    const rows = boardOf(credits, { name: 'Dee', team: '' }, 2);
    expect(rows.map(({ rank, isMe }) => [rank, isMe])).toEqual([
      [1, false],
      [2, false],
      [4, true],
    ]);
    // Somebody of the same name in another team is somebody else.
    expect(boardOf(credits, { name: 'Ada', team: '' }, 2).some(({ isMe }) => isMe)).toBe(false);
  });
});

import { describe, expect, it } from 'vitest';
import { planRows, type TableState } from '../src/reading/rows.js';

const ids = (count: number): string[] => Array.from({ length: count }, (_, i) => `w${i}`);
const table = (change: Partial<TableState> = {}): TableState => ({
  isKnown: () => true,
  isInSight: () => false,
  turn: 0,
  all: false,
  ...change,
});
const drawn = (count: number, change: Partial<TableState>): string[] =>
  planRows(ids(count), table(change)).rows.flatMap(({ id, draw }) => (draw ? [id] : []));

describe('the rows of the table', () => {
  it('are all drawn at each update while there are few', () => {
    expect(drawn(40, {})).toHaveLength(40);
    expect(drawn(41, {})).toHaveLength(9);
  });

  it('are each drawn once in five updates while they are out of sight', () => {
    const turns = [0, 1, 2, 3, 4].map((turn) => drawn(200, { turn }));
    expect(turns.map(({ length }) => length)).toEqual([40, 40, 40, 40, 40]);
    expect(new Set(turns.flat()).size).toBe(200);
    expect(drawn(200, { turn: 5 })).toEqual(turns[0]);
  });

  it('are drawn at each update while they are in sight', () => {
    for (const turn of [0, 1, 2]) {
      expect(drawn(200, { turn, isInSight: (id) => id === 'w7' || id === 'w8' })).toEqual(expect.arrayContaining(['w7', 'w8']));
    }
  });

  it('are all drawn when the texts have changed', () => {
    expect(drawn(200, { all: true })).toHaveLength(200);
  });

  it('are created over several frames when there are many new ones', () => {
    const known = new Set<string>();
    const counts: number[] = [];
    for (let isComplete = false; !isComplete;) {
      const plan = planRows(ids(100), table({ isKnown: (id) => known.has(id) }));
      for (const { id, isNew, draw } of plan.rows) {
        expect(draw || !isNew).toBe(true);
        known.add(id);
      }
      counts.push(known.size);
      isComplete = plan.isComplete;
    }
    expect(counts).toEqual([40, 80, 100]);
  });

  it('keep the order of the table, also when some are left out', () => {
    const plan = planRows(ids(100), table({ isKnown: (id) => Number(id.slice(1)) >= 50 }));
    expect(plan.rows.map(({ id }) => id)).toEqual([...ids(40), ...ids(100).slice(50)]);
  });
});

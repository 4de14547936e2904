import { describe, expect, it } from 'vitest';
import { createRepeats, type LogLine } from '../../src/record/repeats.js';

const refused = (round: number): LogLine => ({
  kind: 'note',
  level: 'warn',
  text: `worker w${round % 7}-abc, round ${round}: contribution refused (wrong_round)`,
});

describe('repeats', () => {
  it('logs the first three of a kind and counts the others until ten seconds have passed', () => {
    const repeats = createRepeats();
    const logged = Array.from({ length: 50 }, (_, i) => repeats.admits(refused(i), i * 100)).filter(Boolean);
    expect(logged).toHaveLength(3);
    expect(repeats.due(9_999)).toEqual([]);
    expect(repeats.due(10_000)).toEqual([
      { ...refused(49), text: `47 more like this within 5 s, the last: ${refused(49).text}` },
    ]);
    expect(repeats.due(20_000)).toEqual([]);
    expect(repeats.admits(refused(51), 20_000)).toBe(true);
  });

  it('does not count lines that differ in more than numbers and names', () => {
    const repeats = createRepeats();
    for (let i = 0; i < 10; i++) repeats.admits(refused(i), 0);
    expect(repeats.admits({ kind: 'note', level: 'warn', text: 'the disk is full' }, 0)).toBe(true);
    expect(repeats.admits({ ...refused(1), level: 'info' }, 0)).toBe(true);
    expect(repeats.admits({ ...refused(1), kind: 'decision' }, 0)).toBe(true);
  });

  it('adds nothing if all of a kind were logged', () => {
    const repeats = createRepeats();
    for (let i = 0; i < 3; i++) repeats.admits(refused(i), 0);
    expect(repeats.due(60_000)).toEqual([]);
  });

  it('adds the counts of periods that are not over on request', () => {
    const repeats = createRepeats();
    for (let i = 0; i < 5; i++) repeats.admits(refused(i), 0);
    expect(repeats.due(500, true).map(({ text }) => text.slice(0, 27))).toEqual(['2 more like this within 1 s']);
  });

  it('logs everything if there are too many kinds', () => {
    const repeats = createRepeats();
    const many = Array.from({ length: 2_000 }, (_, i): LogLine => {
      const name = [...String(i)].map((digit) => 'abcdefghij'[Number(digit)]).join('');
      return { kind: 'note', level: 'info', text: `${name} came` };
    });
    expect([...many, ...many].slice(-100).every((line) => repeats.admits(line, 0))).toBe(true);
  });
});

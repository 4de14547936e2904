import type { RunEvent } from '@troupe/run';
import { describe, expect, it } from 'vitest';
import { withoutFloods } from '../src/reporter.js';

const reason = 'wrong token';
const knock: RunEvent = { event: 'worker', workerId: 'w', name: 'stranger', change: 'refused', reason, workers: 0 };
const note: RunEvent = { event: 'note', level: 'info', text: 'something else' };

describe('a flood', () => {
  it('is told of up to a number a minute, and of the rest how many they were', () => {
    let now = 0;
    const told: RunEvent[] = [];
    const report = withoutFloods(
      (event) => told.push(event),
      () => now,
    );
    for (let i = 0; i < 1_000; i++) report(knock);
    report(note);
    expect(told).toHaveLength(31);
    expect(told.at(-1)).toEqual(note);
    now = 60_000;
    report(knock);
    expect(told.slice(31)).toEqual([{ event: 'note', level: 'warn', text: '970 more were refused' }, knock]);
  });

  it('of one kind hides no other, and what the run itself says is never left out', () => {
    const told: RunEvent[] = [];
    const report = withoutFloods(
      (event) => told.push(event),
      () => 0,
    );
    const warning: RunEvent = { event: 'note', level: 'warn', text: 'a link failed' };
    const joined: RunEvent = { ...knock, change: 'joined' };
    for (let i = 0; i < 2_000; i++) for (const event of [knock, warning, joined, note]) report(event);
    const count = (event: RunEvent): number => told.filter((one) => one === event).length;
    expect([knock, warning, joined, note].map(count)).toEqual([30, 30, 1_000, 2_000]);
  });
});

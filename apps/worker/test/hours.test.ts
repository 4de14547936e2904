import { describe, expect, it } from 'vitest';
import { clockTime, isWithin, nextBeginning, parseHours } from '../src/hours.js';

/** Local time on a day in spring. */
const at = (time: string, day = 5) => {
  const [hours, minutes] = time.split(':').map(Number);
  return new Date(2026, 2, day, hours, minutes);
};

describe('the hours of a worker', () => {
  it.each([
    ['09:00-17:00', '08:59', false],
    ['09:00-17:00', '09:00', true],
    ['09:00-17:00', '16:59', true],
    ['09:00-17:00', '17:00', false],
    ['22:00-06:30', '21:59', false],
    ['22:00-06:30', '22:00', true],
    ['22:00-06:30', '00:00', true],
    ['22:00-06:30', '06:29', true],
    ['22:00-06:30', '06:30', false],
    ['22:00-00:00', '23:59', true],
    ['22:00-00:00', '00:00', false],
    ['00:00-12:00', '00:00', true],
  ])('%s at %s: %j', (hours, time, within) => expect(isWithin(parseHours(hours)!, at(time))).toBe(within));

  it.each([
    ['22:00-06:30', '12:00', 5],
    ['22:00-06:30', '22:00', 6],
    ['09:00-17:00', '18:00', 6],
    ['00:00-06:00', '12:00', 6],
  ])('%s begin next after %s on day %i', (hours, time, day) => {
    const next = nextBeginning(parseHours(hours)!, at(time));
    expect([next.getDate(), clockTime(next)]).toEqual([day, hours.slice(0, 5)]);
  });

  it('that end when they begin are no hours', () => expect(parseHours('07:00-07:00')).toBeUndefined());
});

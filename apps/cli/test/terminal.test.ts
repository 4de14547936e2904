import { printableLines } from '@troupe/protocol';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Screen } from '../src/terminal/screen.js';
import { clockTime, compactCount, styleFor } from '../src/terminal/style.js';
import { Recorder } from './fixtures/shell.js';

describe('Screen', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it('redraws the line in place on a terminal, only when it has changed', () => {
    const output = new Recorder(80);
    let line = 'one';
    const screen = new Screen(output, { line: () => line });
    vi.advanceTimersByTime(1000);
    line = 'two';
    vi.advanceTimersByTime(1000);
    screen.close();
    expect(output.text).toBe('\rone\x1b[K\rtwo\x1b[K\r\x1b[K');
  });

  it('prints above the line and redraws it below, in one write', () => {
    const output = new Recorder(80);
    const screen = new Screen(output, { line: () => 'status' });
    screen.refresh();
    const write = vi.spyOn(output, 'write');
    screen.print('first\nsecond');
    screen.close();
    expect(write.mock.calls[0]).toEqual(['\r\x1b[Kfirst\nsecond\nstatus']);
  });

  it('writes a plain line at most every two seconds without a terminal', () => {
    const output = new Recorder();
    let round = 0;
    const screen = new Screen(output, { line: () => `round ${round}` });
    for (; round < 50; round++) vi.advanceTimersByTime(100);
    screen.close();
    expect(output.text).toBe('round 19\nround 39\n');
  });

  it('redraws several lines in place, and clears what a longer table leaves', () => {
    const output = new Recorder(80);
    let lines = 'one\ntwo\nthree';
    const screen = new Screen(output, { line: () => lines });
    screen.refresh();
    lines = 'ONE\nTWO';
    screen.refresh();
    screen.print('text');
    screen.close();
    const [first, second, printed, closed] = [
      '\rone\x1b[K\ntwo\x1b[K\nthree\x1b[K',
      '\r\x1b[2AONE\x1b[K\nTWO\x1b[J',
      '\r\x1b[1A\x1b[Jtext\nONE\nTWO',
      '\r\x1b[1A\x1b[J',
    ];
    expect(output.text).toBe(first + second + printed + closed);
  });

  it('shows no line when quiet', () => {
    const output = new Recorder(80);
    const screen = new Screen(output, { line: () => 'status', quiet: true });
    vi.advanceTimersByTime(5000);
    screen.print('text');
    screen.close();
    expect(output.text).toBe('text\n');
  });
});

describe('styleFor', () => {
  it('colours on a terminal', () => {
    expect(styleFor(new Recorder(80), {})('green', 'x')).toBe('\x1b[32mx\x1b[39m');
  });

  it.each([
    ['without a terminal', new Recorder(), {}],
    ['with NO_COLOR', new Recorder(80), { NO_COLOR: '1' }],
    ['on a dumb terminal', new Recorder(80), { TERM: 'dumb' }],
  ])('does not colour %s', (_where, output, env) => {
    expect(styleFor(output, env)('green', 'x')).toBe('x');
  });
});

describe('formats', () => {
  it('makes control characters visible but keeps line breaks and tabs', () => {
    expect(printableLines('a\x1b[2J\n\tb\x9b')).toBe('a\uFFFD[2J\n\tb\uFFFD');
  });

  it.each([
    [0, '0:00'],
    [41_000, '0:41'],
    [3_725_000, '1:02:05'],
  ])('writes %d ms as %s', (ms, text) => expect(clockTime(ms)).toBe(text));

  it.each([
    [999, '999'],
    [61_234, '61.2k'],
    [3_300_000, '3.3M'],
  ])('writes %d as %s', (value, text) => expect(compactCount(value)).toBe(text));
});

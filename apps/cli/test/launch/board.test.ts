import { describe, expect, it } from 'vitest';
import { advanceBoard, createBoard, createRepeats, describeEvent, renderBoard, type Board } from '../../src/launch/board.js';
import type { LaunchEvent, SlotState } from '../../src/launch/events.js';
import { plainStyle } from '../../src/terminal/style.js';

const NAMES = ['lab-01/1', 'lab-01/2', 'lab-02/1'];
const state = (slot: string, to: SlotState, text?: string, remedy?: string): LaunchEvent => {
  return { event: 'state', who: slot, slots: [slot], state: to, text, remedy };
};
const progress = (slot: string, credit: number): LaunchEvent => ({ event: 'progress', slot, round: 1, credit });

/** The board after events, a second apart. */
function after(...events: readonly LaunchEvent[]): Board {
  return events.reduce((board, event, i) => advanceBoard(board, event, i * 1_000), createBoard(NAMES));
}

describe('the board', () => {
  it('has a row for each worker in the order of the file, and what it computes', () => {
    const board = after(
      { event: 'state', who: 'lab-01', slots: ['lab-01/1', 'lab-01/2'], state: 'connecting' },
      state('lab-01/1', 'running', 'native avx2'),
      progress('lab-01/1', 0),
      progress('lab-01/1', 12_345),
    );
    expect(renderBoard(board, 80, 24, plainStyle).split('\n')).toEqual([
      'slot      state       chars/s  ',
      'lab-01/1  running       12.3k  native avx2',
      'lab-01/2  connecting           ',
      'lab-02/1  waiting              ',
      '1 of 3 workers run, 12.3k chars/s together',
    ]);
  });

  it('keeps why a host is not reached while it is tried again, and forgets it once it is reached', () => {
    const lost = [state('lab-02/1', 'waiting', 'it is down', 'Switch it on.'), state('lab-02/1', 'connecting')];
    expect(after(...lost).get('lab-02/1')).toMatchObject({ state: 'connecting', text: 'it is down', remedy: 'Switch it on.' });
    expect(after(...lost, state('lab-02/1', 'starting')).get('lab-02/1')).toMatchObject({ text: '', remedy: '' });
  });

  it('shows no speed of a worker that has ended, and counts from zero again', () => {
    const board = after(
      state('lab-01/1', 'running'),
      progress('lab-01/1', 5_000),
      progress('lab-01/1', 6_000),
      state('lab-01/1', 'restarting', 'killed'),
      state('lab-01/1', 'running'),
      progress('lab-01/1', 100),
    );
    expect(board.get('lab-01/1')!.charsPerSecond).toBeUndefined();
  });

  it('shows first what needs a person when not all rows have room', () => {
    const lines = renderBoard(after(state('lab-02/1', 'failed', 'no Node')), 80, 4, plainStyle).split('\n');
    expect(lines.map((line) => line.split(' ')[0])).toEqual(['slot', 'lab-01/1', 'lab-02/1', '0']);
    expect(lines.at(-1)).toBe('0 of 3 workers run, 1 failed; 1 more row');
  });

  it.each([20, 30, 40, 79])('fits into %i columns', (width) => {
    const board = after(state('lab-01/1', 'failed', 'x'.repeat(200), 'Do it.'));
    for (const line of renderBoard(board, width, 24, plainStyle).split('\n')) expect(line.length).toBeLessThanOrEqual(width);
  });
});

describe('plain lines', () => {
  it('say who, what, why and what to do', () => {
    expect(describeEvent(state('lab-02', 'failed', 'it has no Node', 'Install it.'), plainStyle)).toBe(
      'lab-02: failed: it has no Node\n  Install it.',
    );
    expect(describeEvent({ ...state('lab-02', 'waiting', 'it is down'), retryInMs: 1_500 } as LaunchEvent, plainStyle)).toBe(
      'lab-02: waiting: it is down; next attempt in 1.5 s',
    );
  });

  it('leave progress out', () => {
    expect(describeEvent(progress('lab-01/1', 5), plainStyle)).toBeUndefined();
  });

  it('do not repeat the same trouble, and tell of another and of its end', () => {
    const isRepeat = createRepeats();
    const lines = [
      state('a', 'connecting'),
      state('a', 'waiting', 'it is down'),
      state('a', 'connecting'),
      state('a', 'waiting', 'it is down'),
      state('a', 'waiting', 'it refuses'),
      state('a', 'starting'),
      state('a', 'connecting'),
    ];
    expect(lines.map((event) => isRepeat(event))).toEqual([false, false, true, true, false, false, false]);
  });

  it('tell once that a worker runs, until it does not', () => {
    const isRepeat = createRepeats();
    const lost: LaunchEvent = { event: 'state', who: 'a', slots: ['a/1'], state: 'waiting', text: 'the link ended' };
    const lines = [state('a/1', 'running', 'wasm'), state('a/1', 'running', 'parked'), lost, state('a/1', 'running', 'wasm')];
    expect(lines.map((event) => isRepeat(event))).toEqual([false, true, false, false]);
  });
});

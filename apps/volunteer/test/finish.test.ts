/** What the page shows when the run is finished. */
import { describe, expect, it } from 'vitest';
import { factsAtEnd, finishOf, parseRunCredit, shareOf } from '../src/decisions/finish.js';
import { readRunFacts } from '../src/decisions/run-facts.js';
import { IDLE, type StopCode } from '../src/decisions/status.js';

const facts = (json: object) => readRunFacts({ runId: 'r1', rounds: 400, streams: 10, window: 10, ...json })!;
const over = (code: StopCode) => ({ ...IDLE, phase: { at: 'over' as const, code, reason: '' } });

describe('a run', () => {
  it('is finished for those who come after its end', () => {
    expect(finishOf(IDLE, facts({ phase: 'over', round: 400 }))).toBe('completed');
    expect(finishOf(IDLE, facts({ phase: 'over', round: 312 }))).toBe('stopped');
  });

  it('goes on while nobody says that it is over', () => {
    expect(finishOf(IDLE, undefined)).toBeUndefined();
    expect(finishOf(IDLE, facts({ phase: 'running', round: 400 }))).toBeUndefined();
    expect(finishOf(over('dismissed'), facts({ round: 10 }))).toBeUndefined();
  });

  it('is shown complete although the last facts are older', () => {
    expect(finishOf(over('completed'), facts({ round: 312 }))).toBe('completed');
    expect(factsAtEnd(over('completed'), facts({ round: 312 }))).toMatchObject({ round: 400, phase: 'over' });
    expect(factsAtEnd(over('stopped'), facts({ round: 312 }))).toMatchObject({ round: 312, phase: 'over' });
    expect(factsAtEnd(IDLE, facts({ round: 312 }))).toMatchObject({ round: 312, phase: undefined });
  });
});

describe('the share of this device', () => {
  it('is its part of all characters of the rounds that are done', () => {
    expect(shareOf({ runId: 'r1', characters: 1240 }, facts({ round: 400 }))).toBeCloseTo(0.031);
    expect(shareOf({ runId: 'r1', characters: 1e9 }, facts({ round: 400 }))).toBe(1);
  });

  it('counts the characters that rounds had before a resume changed them', () => {
    const config = { localSteps: 10, changedRound: 100, changedWindow: 100 };
    const share = (round: number) => shareOf({ runId: 'r1', characters: 1_000 }, facts({ round, config }));
    expect(share(50)).toBeCloseTo(1_000 / 5_000);
    expect(share(110)).toBeCloseTo(1_000 / (100 * 100 + 10 * 1_000));
  });

  it('is not shown when there is none, or the run does not say its size', () => {
    expect(shareOf({ runId: 'r1', characters: 0 }, facts({ round: 400 }))).toBeUndefined();
    expect(shareOf({ runId: 'r1', characters: 5 }, facts({}))).toBeUndefined();
    expect(shareOf({ runId: 'r1', characters: 5 }, facts({ round: 4, streams: 'x' }))).toBeUndefined();
  });

  it('survives a reload, and not another run', () => {
    const stored = JSON.stringify({ runId: 'r1', characters: 7 });
    expect(parseRunCredit(stored, 'r1').characters).toBe(7);
    for (const other of [null, 'x', '{}', 'null', JSON.stringify({ runId: 'r1', characters: -1 })])
      expect(parseRunCredit(other, 'r1')).toEqual({ runId: 'r1', characters: 0 });
    expect(parseRunCredit(stored, 'r2').characters).toBe(0);
  });
});

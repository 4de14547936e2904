import { describe, expect, it } from 'vitest';
import { iconAddress, iconState, type IconState } from '../src/decisions/icon.js';
import { readRunFacts } from '../src/decisions/run-facts.js';
import { IDLE, type Phase } from '../src/decisions/status.js';

const facts = readRunFacts({ round: 5, rounds: 9, phase: 'running' })!;

describe('the icon', () => {
  it.each<[Phase, IconState]>([
    [{ at: 'idle' }, 'idle'],
    [{ at: 'connecting' }, 'idle'],
    [{ at: 'computing' }, 'computing'],
    [{ at: 'parked' }, 'paused'],
    [{ at: 'paused', why: 'battery' }, 'paused'],
    [{ at: 'reconnecting', reason: '', retryInMs: 1 }, 'error'],
    [{ at: 'failed', failure: { code: 'x', message: '', remedy: '' } }, 'error'],
    [{ at: 'over', code: 'completed', reason: '' }, 'finished'],
    [{ at: 'over', code: 'diverged', reason: '' }, 'error'],
  ])('of %j shows %s', (phase, expected) => expect(iconState({ ...IDLE, phase }, facts, false)).toBe(expected));

  it('shows a run that the organizer has paused, its end, and that the device cannot take part', () => {
    const ready = { ...IDLE, phase: { at: 'ready' as const }, round: 5 };
    expect(iconState(ready, { ...facts, phase: 'paused' }, false)).toBe('paused');
    expect(iconState(IDLE, { ...facts, phase: 'over' }, true)).toBe('finished');
    expect(iconState(IDLE, facts, true)).toBe('error');
  });

  it('differs between the states', () => {
    const addresses = (['idle', 'computing', 'paused', 'finished', 'error'] as const).map(iconAddress);
    expect(new Set(addresses).size).toBe(5);
    for (const address of addresses) expect(address).toMatch(/^data:image\/svg\+xml,%3Csvg/);
  });
});

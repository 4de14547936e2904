import { waitingText } from '@troupe/run';
import { createRunState, type RunState } from '@troupe/scheduler';
import { beforeEach, describe, expect, it } from 'vitest';
import { phaseOf, standingAfter, type Standing } from '../src/phase.js';
import { CONFIG } from './fixture.js';

const CADENCES = { windowsPerPass: 50, evaluateEvery: 0, checkpointEvery: 0, sampleEvery: 0, chanceLoss: 3, maxLoss: 3 };

let state: RunState;
beforeEach(() => {
  state = { ...createRunState({ ...CONFIG, ...CADENCES }, 0), phase: 'running' };
});

describe('the phase of a run', () => {
  it('is starting at first, and then names the current round', () => {
    expect(phaseOf({ ...state, phase: 'idle' }, {})[0]).toBe('starting');
    expect(phaseOf({ ...state, round: 2 }, {})).toEqual(['running', 'round 3 of 6 is being computed']);
  });

  it('names the people who paused the run, before any other reason', () => {
    state.pausedBy.add('validation').add('admin').add('ops');
    expect(phaseOf({ ...state, waiting: true }, {})).toEqual(['paused', 'paused by admin, ops']);
  });

  it('is waiting for validation or for a worker', () => {
    expect(phaseOf({ ...state, waiting: true }, {})).toEqual(['waiting', waitingText('noWorker')]);
    state.pausedBy.add('validation');
    expect(phaseOf(state, {})).toEqual(['waiting', expect.stringContaining('validation is behind')]);
  });

  it('is waiting for the all-reduce service until it is back', () => {
    const lost = standingAfter({}, { type: 'reduceLost', reason: 'cable pulled' });
    expect(phaseOf(state, lost)).toEqual(['waiting', 'the all-reduce service is lost (cable pulled); reconnecting']);
    expect(phaseOf(state, standingAfter(lost, { type: 'reduceRestored' }))[0]).toBe('running');
  });

  it('is over: completed, stopped or failed, whatever happens afterwards', () => {
    const after = (outcome: Standing['ending']): [string, string] => {
      const standing = standingAfter({}, { type: 'outcome', outcome: outcome!, round: 6 });
      return phaseOf({ ...state, phase: 'over' }, standingAfter(standing, { type: 'reduceLost', reason: 'closed' }));
    };
    expect(after({ type: 'finish', round: 6, outcome: 'completed' })).toEqual(['over', 'all rounds are complete']);
    expect(after({ type: 'finish', round: 3, outcome: 'stopped' })).toEqual(['over', 'stopped']);
    expect(after({ type: 'fail', round: 3, reason: 'the loss is not finite' })).toEqual([
      'over',
      'failed: the loss is not finite',
    ]);
  });
});

import type { PastRun } from '@troupe/run';
import { describe, expect, it } from 'vitest';
import { comparableFlows, runLabel } from '../src/reading/runs.js';

const run = (folder: string, change: Partial<PastRun> = {}): PastRun =>
  ({ folder, name: '', model: '2x128 LSTM', current: false, ...change }) as PastRun;
const flow = (round: number, ...layers: number[][]) => ({ round, layers });

describe('the label of a run', () => {
  it('is its name and its model', () => {
    const named = run('001', { name: 'Sonnets' });
    expect(runLabel(named, [named], 'this run')).toBe('Sonnets, 2x128 LSTM');
  });

  it('is its folder where it has no name', () => {
    expect(runLabel(run('001'), [run('001'), run('002')], 'this run')).toBe('001, 2x128 LSTM');
  });

  it('contains the model once', () => {
    const named = run('001', { name: 'A 2x128 LSTM on sonnets' });
    expect(runLabel(named, [named], 'this run')).toBe('A 2x128 LSTM on sonnets');
  });

  it('marks the current run', () => {
    const current = run('001', { name: 'Sonnets', current: true });
    expect(runLabel(current, [current], 'this run')).toBe('Sonnets, 2x128 LSTM (this run)');
  });

  it('contains the folder where another run has the same name and model', () => {
    const [first, second] = [run('001', { name: 'Sonnets' }), run('002', { name: 'Sonnets' })];
    const other = run('003', { name: 'Sonnets', model: '1x32 GRU' });
    const runs = [first, second, other];
    expect(runs.map((one) => runLabel(one, runs, 'this run'))).toEqual([
      'Sonnets, 2x128 LSTM, 001',
      'Sonnets, 2x128 LSTM, 002',
      'Sonnets, 1x32 GRU',
    ]);
  });
});

describe('the comparison of gradient flows', () => {
  it('takes the top layer of each run that has a flow', () => {
    const compared = comparableFlows([run('001', { flow: flow(50, [1, 2], [3, 4]) }), run('002')], []);
    expect(compared.map(({ run: { folder }, norms, round }) => [folder, norms, round])).toEqual([['001', [3, 4], 50]]);
  });

  it('takes the flow of the current run at the round nearest to those of the others', () => {
    const runs = [run('001', { current: true, flow: flow(10, [1]) }), run('002', { model: 'GRU', flow: flow(20, [2]) })];
    const own = [flow(1, [9]), flow(22, [9]), flow(99, [9])];
    expect(comparableFlows(runs, own).map(({ round }) => round)).toEqual([22, 20]);
    expect(comparableFlows(runs, []).map(({ round }) => round)).toEqual([10, 20]);
  });

  it('takes the newest flow of the current run when there is no other run', () => {
    const compared = comparableFlows([run('001', { current: true })], [flow(1, [9]), flow(99, [9])]);
    expect(compared.map(({ round, state }) => [round, state])).toEqual([[99, 'h']]);
  });

  it('takes one run of each model, the first', () => {
    const runs = [run('003', { flow: flow(3, [3]) }), run('002', { flow: flow(2, [2]) })];
    expect(comparableFlows(runs, []).map(({ run: { folder } }) => folder)).toEqual(['003']);
  });
});

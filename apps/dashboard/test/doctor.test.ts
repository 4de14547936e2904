import type { EvaluationPoint, PointField, RunView } from '@troupe/run';
import { describe, expect, it } from 'vitest';
import { diagnose } from '../src/reading/doctor.js';
import { figuresOf } from '../src/reading/figures.js';
import { EMPTY, type DashboardState } from '../src/state/state.js';
import { points } from './points.js';

const VOCABULARY = 65;
const CHANCE = Math.log(VOCABULARY);

interface Scene {
  readonly view?: Partial<RunView>;
  readonly config?: Partial<RunView['config']>;
  readonly rounds?: number;
  readonly columns?: Partial<Record<PointField, (round: number) => number>>;
  readonly evaluations?: readonly EvaluationPoint[];
}

const HEALTHY = {
  ...{ trainLoss: () => 2, smoothedLoss: (round: number) => 2 - round / 1e4 },
  ...{ computeMs: () => 80, transferMs: () => 10, reduceMs: () => 10 },
};

function state({ view, config, rounds = 100, columns, evaluations = [] }: Scene): DashboardState {
  const run = {
    ...{ phase: 'running', round: rounds, rounds: 1_000, workerCount: 2, access: ['read', 'admin'] },
    config: { model: { vocabulary: VOCABULARY }, learningRate: 0.01, leaseStreams: 0, ...config },
    ...view,
  } as unknown as RunView;
  return { ...EMPTY, view: run, points: points(1, rounds, { ...HEALTHY, ...columns }), evaluations };
}

const rising = [
  { round: 40, validationLoss: 1.5 },
  { round: 60, validationLoss: 1.6 },
  { round: 80, validationLoss: 1.7 },
  { round: 100, validationLoss: 1.8 },
];

describe('the run doctor', () => {
  it('finds nothing in a healthy run, nor in one that has only begun', () => {
    expect(diagnose(state({}))).toEqual({ finding: { kind: 'none' }, treatments: [] });
    expect(diagnose(state({ rounds: 20, columns: { trainLoss: () => 2 * CHANCE } })).finding.kind).toBe('none');
    expect(diagnose(EMPTY).finding.kind).toBe('none');
  });

  it('sees after a few local rounds what takes many exact ones', () => {
    const begun = { rounds: 3, columns: { trainLoss: () => 2 * CHANCE } };
    expect(diagnose(state({ ...begun, config: { localSteps: 32 } })).finding.kind).toBe('aboveChance');
    expect(diagnose(state({ ...begun, rounds: 2, config: { localSteps: 32 } })).finding.kind).toBe('none');
    expect(diagnose(state({ ...begun, config: { localSteps: 2 } })).finding.kind).toBe('none');
    const links = { rounds: 3, columns: { transferMs: () => 500 } };
    expect(diagnose(state({ ...links, config: { localSteps: 32 } })).finding.kind).toBe('network');
    expect(diagnose(state(links)).finding.kind).toBe('none');
  });

  it('halves the rate of a run whose loss is above chance', () => {
    const columns = { trainLoss: () => 1.2 * CHANCE };
    const { finding, treatments } = diagnose(state({ columns }));
    expect(finding).toMatchObject({ kind: 'aboveChance', rate: 0.005 });
    expect(treatments).toEqual([{ action: 'set', learningRate: 0.005 }]);
  });

  it('goes back, at half the rate, to a checkpoint from before the loss rose', () => {
    const columns = { trainLoss: (round: number) => (round > 70 ? 1.2 * CHANCE : 2) };
    const view = (round: number) => ({ checkpoint: { round, path: '' } });
    const halve = { action: 'set', learningRate: 0.005 };
    expect(diagnose(state({ columns, view: view(60) })).treatments).toEqual([
      { action: 'back', round: 60, learningRate: 0.005 },
      halve,
    ]);
    // One that a person saved since is no better.
    expect(diagnose(state({ columns, view: view(90) })).treatments).toEqual([halve]);
    expect(diagnose(state({ columns, view: view(100) })).treatments).toEqual([halve]);
  });

  it('offers no order to viewers, nor in a reproducible run', () => {
    const columns = { trainLoss: () => 1.2 * CHANCE };
    expect(diagnose(state({ columns, view: { access: ['read'] } })).treatments).toEqual([]);
    expect(diagnose(state({ columns, config: { leaseStreams: 4 } })).treatments).toEqual([]);
  });

  it('does not mind a single bad round', () => {
    const columns = { trainLoss: (round: number) => (round === 100 ? 50 : 2) };
    expect(diagnose(state({ columns })).finding.kind).toBe('none');
  });

  it('says from where a run that diverged continues', () => {
    const columns = { trainLoss: (round: number) => (round > 90 ? 30 : 2) };
    const over = { phase: 'over', checkpoint: { round: 80, path: '' } } as const;
    expect(diagnose(state({ columns, view: over }))).toEqual({
      finding: { kind: 'diverged', checkpoint: 80, rate: 0.005 },
      treatments: [{ action: 'back', round: 80, learningRate: 0.005 }],
    });
    expect(diagnose(state({ columns, view: { ...over, access: ['read'] } })).treatments).toEqual([]);
    // At the same rate it would diverge again, in the same way.
    expect(diagnose(state({ columns, view: over, config: { leaseStreams: 4 } })).treatments).toEqual([]);
    expect(diagnose(state({ columns: { trainLoss: () => NaN }, view: over })).finding.kind).toBe('diverged');
    expect(diagnose(state({ view: over })).finding.kind).toBe('none');
  });

  it('tells overfitting from the best validation on, while the training loss falls', () => {
    const view = { best: rising[0] };
    const { finding, treatments } = diagnose(state({ view, evaluations: rising }));
    expect(finding).toEqual({ kind: 'overfitting', round: 40, best: 1.5, now: 1.8 });
    expect(treatments).toEqual([{ action: 'stop' }]);
    expect(diagnose(state({ view, evaluations: rising.slice(0, 3) })).finding.kind).toBe('none');
    const columns = { smoothedLoss: (round: number) => 2 + round / 1e3 };
    expect(diagnose(state({ view, evaluations: rising, columns })).finding.kind).toBe('none');
  });

  it('asks for workers, with the invitation for those who have it', () => {
    const view = { phase: 'waiting', workerCount: 0 } as const;
    expect(diagnose(state({ view }))).toEqual({ finding: { kind: 'noWorker' }, treatments: [] });
    expect(diagnose(state({ view: { ...view, joinLink: 'http://a' } })).treatments).toEqual([{ action: 'invite' }]);
    expect(diagnose(state({ view: { ...view, phase: 'over' } })).finding.kind).toBe('none');
  });

  it('tells when rounds are spent on links', () => {
    const { finding } = diagnose(state({ columns: { transferMs: () => 90 } }));
    expect(finding).toEqual({ kind: 'network', fraction: expect.closeTo(100 / 180, 6) });
  });

  it('tells which local rounds would keep the workers of an exact run busy', () => {
    const config = { streams: 32, window: 64, codec: 'fp16', localSteps: 1 } as const;
    const columns = { computeMs: () => 400, transferMs: () => 3_000 };
    const view = { corpus: { train: 1_000_000 } as RunView['corpus'] };
    const localOf = (change: Partial<RunView['config']>) => {
      const { finding } = diagnose(state({ columns, view, config: { ...config, ...change } }));
      return finding.kind === 'network' ? finding.local : finding.kind;
    };
    expect(localOf({})).toEqual({ steps: 32, tracks: 2, busy: expect.closeTo(0.89, 2) });
    expect(localOf({ localSteps: 8, tracks: 2, leaseStreams: 0 })).toBeUndefined();
  });
});

describe('speed and time per round', () => {
  it('agree, and a pause does not change them', () => {
    const figures = figuresOf(points(1, 40, { roundMs: (round) => (round === 35 ? 60_000 : 200) }), 2_048);
    expect(figures).toEqual({ roundMs: 200, charsPerSecond: 10_240 });
    expect(figuresOf(EMPTY.points, 2_048)).toBeUndefined();
  });
});

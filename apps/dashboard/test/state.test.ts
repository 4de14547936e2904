import type { LiveMessage, RunView, WorkerView } from '@troupe/run';
import { describe, expect, it } from 'vitest';
import { EMPTY, isAdmin, reduce, shownWindow, wanted, zoomed, type DashboardState, type Input } from '../src/state/state.js';
import { points } from './points.js';

const worker = { id: 'w1', name: 'Ada', state: 'computing' } as WorkerView;
const view = (runId = 'run', access: RunView['access'] = ['read']): RunView =>
  ({ runId, access, phase: 'running', workers: [worker] }) as unknown as RunView;
const hello = (lastRound: number, lastEvent = 0, runId = 'run'): Input => ({
  type: 'hello',
  view: view(runId),
  lastRound,
  lastEvent,
});
const update = (parts: Omit<Extract<LiveMessage, { type: 'update' }>, 'type'>): Input => ({ type: 'update', ...parts });
const history = (from: number, to: number, evaluations: { round: number; validationLoss: number }[] = []): Input => ({
  type: 'history',
  history: { points: points(from, to), evaluations, firstRound: from, lastRound: to, thinned: false },
});
const event = (id: number) => ({ id, at: 0, round: id, kind: 'note' as const, level: 'info' as const, text: `event ${id}` });
const after = (...inputs: Input[]): DashboardState => inputs.reduce(reduce, EMPTY);

describe('joining a run', () => {
  it('takes the history and what came meanwhile, each round once', () => {
    const state = after(hello(10), update({ points: points(11, 12) }), history(1, 11));
    expect(state.link).toEqual({ at: 'live' });
    expect(state.points.round).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  });

  it('orders evaluations, samples and events, and takes none twice', () => {
    const state = after(
      hello(300, 5),
      update({ evaluations: [{ round: 300, validationLoss: 2 }], samples: [{ round: 300, text: 'new' }], events: [event(6)] }),
      history(1, 300, [
        { round: 100, validationLoss: 3 },
        { round: 300, validationLoss: 2 },
      ]),
      { type: 'samples', samples: { samples: [{ round: 100, text: 'old' }] } },
      { type: 'events', events: { events: [event(4), event(5), event(6)], last: 6 } },
    );
    expect(state.evaluations.map(({ round }) => round)).toEqual([100, 300]);
    expect(state.samples.map(({ text }) => text)).toEqual(['old', 'new']);
    expect(state.events.map(({ id }) => id)).toEqual([4, 5, 6]);
  });

  it('keeps the newest 500 events', () => {
    const state = after(hello(1, 900), update({ events: Array.from({ length: 900 }, (_, i) => event(i + 1)) }));
    expect(state.events).toHaveLength(500);
    expect(state.events[0].id).toBe(401);
  });
});

describe('a coordinator that was away', () => {
  it('shows when it is tried again, and stays away until it has answered', () => {
    const away = after(hello(5), { type: 'lost', retryAt: 1234 });
    expect(away.link).toEqual({ at: 'away', retryAt: 1234 });
    expect(away.view?.runId).toBe('run');
    expect(reduce(away, { type: 'connecting' }).link.at).toBe('away');
    expect(reduce(away, hello(5)).link.at).toBe('live');
  });

  it('that went back to its checkpoint takes back the rounds, samples and events after it', () => {
    const before = after(
      hello(0, 0),
      update({
        points: points(1, 50),
        evaluations: [
          { round: 20, validationLoss: 3 },
          { round: 40, validationLoss: 2 },
        ],
        samples: [{ round: 45, text: 'gone' }],
        flow: { round: 44, layers: [[1]] },
        events: [event(1), event(2), event(3)],
      }),
      { type: 'lost', retryAt: 0 },
    );
    const back = reduce(before, hello(30, 2));
    expect(back.points.round.at(-1)).toBe(30);
    expect(back.evaluations.map(({ round }) => round)).toEqual([20]);
    expect(back.samples).toEqual([]);
    expect(back.flows).toEqual([]);
    expect(back.events.map(({ id }) => id)).toEqual([1, 2]);
    expect(reduce(back, update({ points: points(31, 32) })).points.round.at(-1)).toBe(32);
  });

  it('that computed rounds anew is right about them', () => {
    const back = after(
      hello(0),
      update({ points: points(1, 60), evaluations: [{ round: 40, validationLoss: 2 }] }),
      update({ samples: [{ round: 40, text: 'before' }], flow: { round: 40, layers: [[1]] } }),
      { type: 'lost', retryAt: 0 },
      hello(50),
      history(1, 50, [{ round: 40, validationLoss: 9 }]),
      { type: 'samples', samples: { samples: [{ round: 40, text: 'anew' }] } },
      { type: 'flows', flows: { flows: [{ round: 40, layers: [[9]] }] } },
    );
    expect(back.evaluations).toEqual([{ round: 40, validationLoss: 9 }]);
    expect(back.samples).toEqual([{ round: 40, text: 'anew' }]);
    expect(back.flows).toEqual([{ round: 40, layers: [[9]] }]);
  });

  it('that runs another run starts from nothing', () => {
    const other = reduce(after(hello(9), history(1, 9)), hello(2, 0, 'other'));
    expect(other.points.round).toEqual([]);
    expect(other.view?.runId).toBe('other');
  });

  it('that wants another token says so', () => {
    const refused = after({ type: 'refused', code: 'wrong_token', message: 'no', remedy: 'yes' });
    expect(refused.link).toMatchObject({ at: 'refused', error: { message: 'no' } });
    expect(reduce(refused, { type: 'connecting' })).toBe(refused);
  });
});

describe('zooming', () => {
  const full = after(hello(1_000), history(1, 1_000));

  it('shows all rounds, the last so many, or those chosen', () => {
    expect(shownWindow(full)).toMatchObject({ from: 1, to: 1_000 });
    expect(shownWindow(reduce(full, { type: 'range', range: { last: 200 } }))).toMatchObject({ from: 800, to: 1_000 });
    expect(shownWindow(reduce(full, { type: 'range', range: { from: 5, to: 9 } }))).toMatchObject({ from: 5, to: 9 });
  });

  it('follows the run when the last rounds are shown', () => {
    const following = reduce(reduce(full, { type: 'range', range: { last: 200 } }), update({ points: points(1_001, 1_010) }));
    expect(shownWindow(following)).toMatchObject({ from: 810, to: 1_010 });
  });

  it('goes closer and wider about the middle, up to the whole run', () => {
    const closer = zoomed(full, 0.5);
    expect(closer).toEqual({ from: 250, to: 751 });
    expect(zoomed(reduce(full, { type: 'range', range: closer }), 4)).toBe('all');
    const closest = zoomed(reduce(full, { type: 'range', range: { from: 500, to: 504 } }), 0.1);
    expect(closest).toEqual({ from: 497, to: 507 });
  });

  it('asks for finer points only where rounds are missing', () => {
    expect(wanted(full)).toBeUndefined();
    expect(wanted(reduce(full, { type: 'range', range: { from: 10, to: 20 } }))).toBeUndefined();
    const everyTenth = { ...full, points: { ...points(1, 100), round: points(1, 100).round.map((r) => r * 10) } };
    expect(wanted(reduce(everyTenth, { type: 'range', range: { from: 100, to: 200 } }))).toEqual({ from: 100, to: 200 });
  });

  it('takes finer points for the range that is still shown, and drops those for another', () => {
    const range = { from: 100, to: 200 };
    const zoomedIn = reduce(full, { type: 'range', range });
    const fine = { points: points(100, 200), evaluations: [], firstRound: 1, lastRound: 1_000, thinned: false };
    expect(reduce(zoomedIn, { type: 'detail', range, history: fine }).detail?.points.round[0]).toBe(100);
    const moved = reduce(zoomedIn, { type: 'range', range: 'all' });
    expect(reduce(moved, { type: 'detail', range, history: fine })).toBe(moved);
  });
});

it('steers only with admin access', () => {
  expect(isAdmin(after(hello(1)))).toBe(false);
  expect(isAdmin(reduce(after(hello(1)), update({ view: view('run', ['read', 'admin']) })))).toBe(true);
});

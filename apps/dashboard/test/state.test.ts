import type { LiveMessage, RunView, WorkerView } from '@troupe/run';
import { describe, expect, it } from 'vitest';
import {
  EMPTY,
  isAdmin,
  reduce,
  shownWindow,
  missingRounds,
  zoomed,
  type DashboardState,
  type Input,
} from '../src/state/state.js';
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
  it('takes the history and the points that arrived meanwhile, each round once', () => {
    const state = after(hello(10), update({ points: points(11, 12) }), history(1, 11));
    expect(state.link).toEqual({ at: 'live' });
    expect(state.points.round).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  });

  it('orders evaluations, samples and events, and takes each once', () => {
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

describe('the limits of the page', () => {
  const samples = (count: number) => Array.from({ length: count }, (_, i) => ({ round: i + 1, text: '' }));
  const flows = (count: number) => Array.from({ length: count }, (_, i) => ({ round: i + 1, layers: [] }));

  it('keep the newest 1,000 samples', () => {
    const state = after(hello(1), { type: 'samples', samples: { samples: samples(1_200) } });
    expect(state.samples).toHaveLength(1_000);
    expect(state.samples[0].round).toBe(201);
    const next = reduce(state, update({ samples: [{ round: 1_201, text: '' }] }));
    expect(next.samples).toHaveLength(1_000);
    expect(next.samples.at(-1)?.round).toBe(1_201);
  });

  it('keep the newest 200 gradient flows', () => {
    const state = after(hello(1), { type: 'flows', flows: { flows: flows(250) } });
    expect(state.flows).toHaveLength(200);
    const next = reduce(state, update({ flow: { round: 251, layers: [] } }));
    expect([next.flows.length, next.flows[0].round, next.flows.at(-1)?.round]).toEqual([200, 52, 251]);
  });
});

describe('an update', () => {
  it('changes only the parts that it brings', () => {
    const before = after(
      hello(1),
      history(1, 5, [{ round: 2, validationLoss: 3 }]),
      update({ samples: [{ round: 2, text: 'old' }], events: [event(1)], flow: { round: 2, layers: [] } }),
      { type: 'runs', runs: { runs: [] } },
    );
    const next = reduce(before, update({ samples: [{ round: 5, text: 'new' }] }));
    expect(next.samples.map(({ text }) => text)).toEqual(['old', 'new']);
    expect({ ...next, samples: before.samples }).toEqual(before);
    const evaluated = reduce(before, update({ evaluations: [{ round: 5, validationLoss: 1 }] }));
    expect(evaluated.evaluations.map(({ round }) => round)).toEqual([2, 5]);
    expect({ ...evaluated, evaluations: before.evaluations }).toEqual(before);
    expect(next.points).toBe(before.points);
    expect(next.view).toBe(before.view);
  });

  it('replaces the view of the run', () => {
    const next = after(hello(1), update({ view: { ...view(), phase: 'paused' } }));
    expect(next.view?.phase).toBe('paused');
  });
});

describe('a coordinator that was away', () => {
  it('shows the next attempt, and counts as away until it answers', () => {
    const away = after(hello(5), { type: 'lost', retryAt: 1234 });
    expect(away.link).toEqual({ at: 'away', retryAt: 1234 });
    expect(away.view?.runId).toBe('run');
    expect(reduce(away, { type: 'connecting' }).link.at).toBe('away');
    expect(reduce(away, hello(5)).link.at).toBe('live');
  });

  it('that went back to its checkpoint removes the rounds, samples and events after it', () => {
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

  it('that computed rounds again replaces what the page had of them', () => {
    const back = after(
      hello(0),
      update({ points: points(1, 60), evaluations: [{ round: 40, validationLoss: 2 }] }),
      update({ samples: [{ round: 40, text: 'before' }], flow: { round: 40, layers: [[1]] } }),
      { type: 'lost', retryAt: 0 },
      hello(50),
      history(1, 50, [{ round: 40, validationLoss: 9 }]),
      { type: 'samples', samples: { samples: [{ round: 40, text: 'again' }] } },
      { type: 'flows', flows: { flows: [{ round: 40, layers: [[9]] }] } },
    );
    expect(back.evaluations).toEqual([{ round: 40, validationLoss: 9 }]);
    expect(back.samples).toEqual([{ round: 40, text: 'again' }]);
    expect(back.flows).toEqual([{ round: 40, layers: [[9]] }]);
  });

  it('that runs another run starts from nothing', () => {
    const other = reduce(after(hello(9), history(1, 9)), hello(2, 0, 'other'));
    expect(other.points.round).toEqual([]);
    expect(other.view?.runId).toBe('other');
  });

  it('that runs the same run leaves what the page shows in place', () => {
    const range = { from: 2, to: 4 };
    const before = after(hello(9), history(1, 9), { type: 'runs', runs: { runs: [] } }, { type: 'range', range });
    const connecting = reduce(before, { type: 'connecting' });
    expect(connecting.link.at).toBe('connecting');
    const back = reduce(connecting, hello(9));
    expect(back).toEqual(before);
    expect(back.points).toBe(before.points);
  });

  it('that refuses the token says so', () => {
    const refused = after({ type: 'refused', code: 'wrong_token', message: 'no', remedy: 'yes' });
    expect(refused.link).toMatchObject({ at: 'refused', error: { message: 'no' } });
    expect(reduce(refused, { type: 'connecting' })).toBe(refused);
  });
});

describe('zooming', () => {
  const full = after(hello(1_000), history(1, 1_000));

  it('shows all rounds, the last ones, or those chosen', () => {
    expect(shownWindow(full)).toMatchObject({ from: 1, to: 1_000 });
    expect(shownWindow(reduce(full, { type: 'range', range: { last: 200 } }))).toMatchObject({ from: 800, to: 1_000 });
    expect(shownWindow(reduce(full, { type: 'range', range: { from: 5, to: 9 } }))).toMatchObject({ from: 5, to: 9 });
  });

  it('follows the run when the last rounds are shown', () => {
    const following = reduce(reduce(full, { type: 'range', range: { last: 200 } }), update({ points: points(1_001, 1_010) }));
    expect(shownWindow(following)).toMatchObject({ from: 810, to: 1_010 });
  });

  it('zooms in and out around the middle, up to the whole run', () => {
    const zoomedIn = zoomed(full, 0.5);
    expect(zoomedIn).toEqual({ from: 250, to: 751 });
    expect(zoomed(reduce(full, { type: 'range', range: zoomedIn }), 4)).toBe('all');
    const most = zoomed(reduce(full, { type: 'range', range: { from: 500, to: 504 } }), 0.1);
    expect(most).toEqual({ from: 497, to: 507 });
  });

  it('shows rounds 0 to 1 before there are any', () => {
    expect(shownWindow(EMPTY)).toMatchObject({ from: 0, to: 1 });
    expect(shownWindow(reduce(EMPTY, { type: 'range', range: { last: 200 } }))).toMatchObject({ from: 0, to: 1 });
  });

  it('shows all rounds while the run has fewer than the last ones asked for', () => {
    expect(shownWindow(reduce(full, { type: 'range', range: { last: 5_000 } }))).toMatchObject({ from: 1, to: 1_000 });
  });

  it('stays within the run at its ends', () => {
    expect(zoomed(reduce(full, { type: 'range', range: { from: 1, to: 101 } }), 2)).toEqual({ from: 1, to: 151 });
    expect(zoomed(reduce(full, { type: 'range', range: { from: 900, to: 1_000 } }), 2)).toEqual({ from: 850, to: 1_000 });
  });

  it('draws from the finer points, which follow the run too', () => {
    const range = { last: 100 };
    const fine = { points: points(900, 990), evaluations: [], firstRound: 1, lastRound: 1_000, thinned: false };
    const detailed = reduce(reduce(full, { type: 'range', range }), { type: 'detail', range, history: fine });
    expect(shownWindow(detailed).points.round.at(-1)).toBe(1_000);
    const later = reduce(detailed, update({ points: points(1_001, 1_003) }));
    expect(shownWindow(later).points.round.slice(-4)).toEqual([1_000, 1_001, 1_002, 1_003]);
    expect(shownWindow(later).points.round[0]).toBe(900);
  });

  it('drops the finer points with their range, and when the coordinator is back', () => {
    const range = { from: 100, to: 200 };
    const fine = { points: points(100, 200), evaluations: [], firstRound: 1, lastRound: 1_000, thinned: false };
    const detailed = reduce(reduce(full, { type: 'range', range }), { type: 'detail', range, history: fine });
    expect(reduce(detailed, { type: 'range', range: { from: 100, to: 150 } }).detail).toBeUndefined();
    expect(reduce(detailed, hello(1_000)).detail).toBeUndefined();
  });

  it('fetches finer points once', () => {
    const everyTenth = { ...full, points: { ...points(1, 100), round: points(1, 100).round.map((r) => r * 10) } };
    const range = { from: 100, to: 200 };
    const zoomedIn = reduce(everyTenth, { type: 'range', range });
    expect(missingRounds(zoomedIn)).toBeDefined();
    const fine = { points: points(100, 150), evaluations: [], firstRound: 1, lastRound: 1_000, thinned: true };
    expect(missingRounds(reduce(zoomedIn, { type: 'detail', range, history: fine }))).toBeUndefined();
  });

  it('does not fetch rounds that are not computed yet', () => {
    expect(missingRounds(reduce(full, { type: 'range', range: { from: 900, to: 1_500 } }))).toBeUndefined();
  });

  it('fetches finer points only where rounds are missing', () => {
    expect(missingRounds(full)).toBeUndefined();
    expect(missingRounds(reduce(full, { type: 'range', range: { from: 10, to: 20 } }))).toBeUndefined();
    const everyTenth = { ...full, points: { ...points(1, 100), round: points(1, 100).round.map((r) => r * 10) } };
    expect(missingRounds(reduce(everyTenth, { type: 'range', range: { from: 100, to: 200 } }))).toEqual({ from: 100, to: 200 });
  });

  it('takes finer points for the range that is shown, and drops those for another', () => {
    const range = { from: 100, to: 200 };
    const zoomedIn = reduce(full, { type: 'range', range });
    const fine = { points: points(100, 200), evaluations: [], firstRound: 1, lastRound: 1_000, thinned: false };
    expect(reduce(zoomedIn, { type: 'detail', range, history: fine }).detail?.points.round[0]).toBe(100);
    const moved = reduce(zoomedIn, { type: 'range', range: 'all' });
    expect(reduce(moved, { type: 'detail', range, history: fine })).toBe(moved);
  });
});

it('only admins get the controls', () => {
  expect(isAdmin(after(hello(1)))).toBe(false);
  expect(isAdmin(reduce(after(hello(1)), update({ view: view('run', ['read', 'admin']) })))).toBe(true);
});

import type { EventKind, LoggedEvent, RunView } from '@troupe/run';
import { describe, expect, it } from 'vitest';
import { logUpdate, MAX_ENTRIES } from '../src/reading/log.js';
import { EMPTY, type DashboardState } from '../src/state/state.js';

const event = (id: number, kind: EventKind = 'note'): LoggedEvent => ({ id, at: 0, round: id, kind, level: 'info', text: '' });
const log = (ids: readonly number[], runId = 'run'): DashboardState => ({
  ...EMPTY,
  view: { runId } as RunView,
  events: ids.map((id) => event(id, id % 2 === 0 ? 'worker' : 'note')),
});
const ids = (entries: readonly LoggedEvent[]): number[] => entries.map(({ id }) => id);

describe('the log', () => {
  it('is drawn as a whole at first, newest entry first', () => {
    const { replaces, entries } = logUpdate(log([1, 2, 3]), undefined, undefined);
    expect(replaces).toBe(true);
    expect(ids(entries)).toEqual([3, 2, 1]);
  });

  it('gets only new entries afterwards', () => {
    const { replaces, entries } = logUpdate(log([1, 2, 3, 4, 5]), log([1, 2, 3]), undefined);
    expect(replaces).toBe(false);
    expect(ids(entries)).toEqual([5, 4]);
  });

  it('shows one kind of event where the person chose it', () => {
    expect(ids(logUpdate(log([1, 2, 3, 4]), undefined, 'worker').entries)).toEqual([4, 2]);
    expect(ids(logUpdate(log([1, 2, 3, 4]), log([1, 2]), 'worker').entries)).toEqual([4]);
  });

  it('is drawn again when older entries arrive', () => {
    const { replaces, entries } = logUpdate(log([1, 2, 3]), log([3]), undefined);
    expect(replaces).toBe(true);
    expect(ids(entries)).toEqual([3, 2, 1]);
  });

  it('is drawn again when the run went back to a checkpoint', () => {
    expect(logUpdate(log([1, 2]), log([1, 2, 3]), undefined)).toMatchObject({ replaces: true });
  });

  it('is drawn again when the coordinator runs another run, even one with more events', () => {
    expect(logUpdate(log([1, 2, 3], 'other'), log([1, 2]), undefined)).toMatchObject({ replaces: true });
  });

  it('is not drawn again when old entries are dropped at the front', () => {
    const { replaces, entries } = logUpdate(log([2, 3, 4]), log([1, 2, 3]), undefined);
    expect(replaces).toBe(false);
    expect(ids(entries)).toEqual([4]);
  });

  it('shows a bounded number of entries, the newest', () => {
    const many = log(Array.from({ length: MAX_ENTRIES + 50 }, (_, i) => i + 1));
    const { entries } = logUpdate(many, undefined, undefined);
    expect(entries).toHaveLength(MAX_ENTRIES);
    expect(entries[0].id).toBe(MAX_ENTRIES + 50);
  });
});

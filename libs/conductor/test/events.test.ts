import { createRunState } from '@troupe/scheduler';
import { describe, expect, it } from 'vitest';
import { createEventQueue, reduceEvent, type ReduceEvent } from '../src/events.js';
import { CONFIG } from './fixture.js';

const CADENCES = { windowsPerPass: 50, evaluateEvery: 0, checkpointEvery: 0, sampleEvery: 0, chanceLoss: 3, maxLoss: 3 };

describe('the queue of events', () => {
  it('keeps an event that is put during another one until that one is handled', () => {
    const log: string[] = [];
    const put = createEventQueue<number>((event) => {
      log.push(`${event} begins`);
      if (event < 3) put(event + 1);
      if (event === 1) put(10);
      log.push(`${event} ends`);
    });
    put(1);
    expect(log).toEqual(['1 begins', '1 ends', '2 begins', '2 ends', '10 begins', '10 ends', '3 begins', '3 ends']);
  });

  it('throws to the caller of put what handling throws, and handles the next event', () => {
    const handled: string[] = [];
    const put = createEventQueue<string>((event) => {
      if (event === 'bad') throw new Error('cannot');
      handled.push(event);
    });
    expect(() => put('bad')).toThrow('cannot');
    put('good');
    expect(handled).toEqual(['good']);
  });
});

describe('an event of the all-reduce service', () => {
  const state = createRunState({ ...CONFIG, ...CADENCES }, 4);
  const counted = (round: number) => ({ kind: 'counted', round, leaseId: 'l', workerId: 'w' }) as ReduceEvent;
  const update = (round: number) => ({ kind: 'update', round }) as ReduceEvent;

  it('matters in the current round', () => {
    expect(reduceEvent(update(4), state)).toEqual({ type: 'update', update: update(4) });
    const unknown = { grantedAtMs: undefined, charsPerSecond: undefined };
    expect(reduceEvent(counted(4), state)).toEqual({ type: 'counted', contribution: counted(4), ...unknown });
  });

  it('is dropped when its round or the run is over', () => {
    for (const round of [3, 5])
      expect([reduceEvent(update(round), state), reduceEvent(counted(round), state)]).toEqual([undefined, undefined]);
    const over = { ...state, phase: 'over' as const };
    expect([reduceEvent(update(4), over), reduceEvent(counted(4), over)]).toEqual([undefined, undefined]);
  });

  it('has control characters replaced', () => {
    const rejection = { kind: 'rejected', reason: 'up\u001b[2J' } as ReduceEvent;
    expect(reduceEvent(rejection, state)).toMatchObject({ type: 'rejected', rejection: { reason: 'up\ufffd[2J' } });
  });
});

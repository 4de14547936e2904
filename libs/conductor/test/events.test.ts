import { createRunState } from '@troupe/scheduler';
import { describe, expect, it } from 'vitest';
import { createEventQueue, reduceEvent, type ReduceEvent } from '../src/events.js';
import { CONFIG } from './fixture.js';

const CADENCES = { windowsPerPass: 50, evaluateEvery: 0, checkpointEvery: 0, sampleEvery: 0 };

describe('the queue of events', () => {
  it('has an event wait that is put while another is handled, so that every part hears of them in one order', () => {
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

  it('throws what handling throws at who put the event, and goes on with the next', () => {
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

describe('what the all-reduce service says', () => {
  const state = createRunState({ ...CONFIG, ...CADENCES }, 4);
  const counted = (round: number) => ({ kind: 'counted', round, leaseId: 'l', workerId: 'w' }) as ReduceEvent;
  const update = (round: number) => ({ kind: 'update', round }) as ReduceEvent;

  it('matters when it is of the current round', () => {
    expect(reduceEvent(update(4), state)).toEqual({ type: 'update', update: update(4) });
    const unknown = { grantedAtMs: undefined, charsPerSecond: undefined };
    expect(reduceEvent(counted(4), state)).toEqual({ type: 'counted', contribution: counted(4), ...unknown });
  });

  it('comes too late when its round or the run is over', () => {
    for (const round of [3, 5])
      expect([reduceEvent(update(round), state), reduceEvent(counted(round), state)]).toEqual([undefined, undefined]);
    const over = { ...state, phase: 'over' as const };
    expect([reduceEvent(update(4), over), reduceEvent(counted(4), over)]).toEqual([undefined, undefined]);
  });

  it('is cleaned of control characters', () => {
    const rejection = { kind: 'rejected', reason: 'up\u001b[2J' } as ReduceEvent;
    expect(reduceEvent(rejection, state)).toMatchObject({ type: 'rejected', rejection: { reason: 'up\ufffd[2J' } });
  });
});

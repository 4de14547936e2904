import { describe, expect, it } from 'vitest';
import type { WorkerEnd } from '@troupe/worker';
import { workWhenAllowed, type Lending, type Waiting } from '../src/availability.js';
import { parseHours } from '../src/hours.js';

/** A day on a simulated clock: `others` is what other programs use of one core at each moment, s. */
async function simulate(lending: Lending, others: (second: number) => number, seconds: number, spentAfter = Infinity) {
  let nowMs = 0;
  let busyMs = 0;
  const log: (string | Waiting)[] = [];
  const stop = new AbortController();
  const spent = new AbortController();
  const ports = {
    now: () => new Date(2026, 2, 5, 21, 59, 30, nowMs),
    nowMs: () => nowMs,
    processorTimes: () => ({ busyMs, totalMs: nowMs, ownMs: 0 }),
    async sleep(ms: number, signal: AbortSignal) {
      await new Promise((resolve) => setImmediate(resolve));
      signal.throwIfAborted();
      busyMs += ms * others(nowMs / 1000);
      nowMs += ms;
      if (nowMs >= spentAfter * 1000) spent.abort(new Error('the traffic limit is reached'));
      if (nowMs >= seconds * 1000) stop.abort(new Error('enough'));
    },
  };
  const work = (leave: AbortSignal): Promise<WorkerEnd> => {
    log.push(`works at ${nowMs / 1000}`);
    return new Promise((resolve) => {
      leave.addEventListener('abort', () => {
        log.push(`leaves at ${nowMs / 1000}: ${(leave.reason as Error).message}`);
        resolve('left');
      });
      stop.signal.addEventListener('abort', () => resolve('left'));
    });
  };
  await workWhenAllowed(lending, ports, stop.signal, work, (waiting) => log.push(waiting), spent.signal);
  return log;
}

describe('a worker', () => {
  it('waits until its hours begin, and leaves when they end', async () => {
    const lending = { hours: parseHours('22:00-22:01'), onlyWhenIdle: false };
    expect(await simulate(lending, () => 0, 200)).toEqual([
      { kind: 'waiting', why: 'hours', reason: 'outside its hours; it continues at 22:00' },
      'works at 30',
      'leaves at 90: paused: outside its hours; it continues at 22:00',
      { kind: 'waiting', why: 'hours', reason: 'outside its hours; it continues at 22:00' },
    ]);
  });

  it('pauses while other programs use the processor, and says why', async () => {
    const lending = { hours: undefined, onlyWhenIdle: true };
    const busy = 'other programs use 90 % of the processor; it continues when they have left it idle for 60 s';
    expect(await simulate(lending, (second) => (second >= 20 && second < 60 ? 0.9 : 0.05), 200)).toEqual([
      'works at 5',
      `leaves at 35: paused: ${busy}`,
      { kind: 'waiting', why: 'busy', reason: busy },
      'works at 125',
    ]);
  });

  it('that starts on a busy machine waits before it joins', async () => {
    const log = await simulate({ hours: undefined, onlyWhenIdle: true }, () => 0.5, 50);
    expect(log).toEqual([expect.objectContaining({ kind: 'waiting', why: 'busy' })]);
  });

  it('that has used up its traffic leaves, and does not come back', async () => {
    const lending = { hours: parseHours('22:00-23:00'), onlyWhenIdle: false };
    expect((await simulate(lending, () => 0, 5_000, 60)).slice(1)).toEqual([
      'works at 30',
      'leaves at 60: the traffic limit is reached',
    ]);
  });

  it('ends when the coordinator ends the run', async () => {
    const ports = {
      now: () => new Date(),
      nowMs: () => 0,
      processorTimes: () => ({ busyMs: 0, totalMs: 0, ownMs: 0 }),
      sleep: (_ms: number, signal: AbortSignal) =>
        new Promise<void>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error))),
    };
    let begun = 0;
    const work = async (): Promise<WorkerEnd> => (begun++, 'stopped');
    const hours = { from: 0, to: 1439 };
    const { signal } = new AbortController();
    await workWhenAllowed({ hours, onlyWhenIdle: false }, ports, signal, work, () => undefined, signal);
    expect(begun).toBe(1);
  });
});

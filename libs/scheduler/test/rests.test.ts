import { describe, expect, it } from 'vitest';
import { createRunState, step, type RunEffect, type RunInput } from '../src/index.js';
import { SETTINGS } from './settings.js';

type Lease = Extract<RunEffect, { type: 'lease' }>;
const STREAMS = 12;

/** A run of workers that take 100 ms for a round; those of `refusing` decline at once, and report ready with another speed. */
function simulate(
  honest: number,
  refusing: number,
  code: Extract<RunInput, { type: 'declined' }>['code'],
  refuses = (_: number) => true,
) {
  const state = createRunState({ ...SETTINGS, streams: STREAMS, rounds: 1_000_000 }, 0, 0);
  let nowMs = 0;
  let [refused, speed] = [0, 1_000];
  const due: { readonly atMs: number; readonly input: RunInput }[] = [];
  const perform = (effects: readonly RunEffect[]): void => {
    for (const effect of effects) if (effect.type === 'lease') answer(effect);
  };
  const feed = (input: RunInput): void => perform(step(state, input, nowMs));
  const join = (workerId: string, charsPerSecond: number): void =>
    feed({ type: 'workerReady', workerId, name: workerId, trusted: true, charsPerSecond });
  const answer = ({ workerId, leaseId, round, streams }: Lease): void => {
    if (workerId.startsWith('r') && refuses(round)) {
      refused++;
      due.push({ atMs: nowMs + 1, input: { type: 'declined', workerId, leaseId, code, reason: 'at will' } });
      due.push({
        atMs: nowMs + 2,
        input: { type: 'workerReady', workerId, name: workerId, trusted: true, charsPerSecond: speed++ },
      });
      return;
    }
    const computeMs = 20 * streams.length;
    const counted = { leaseId, workerId, round, streams, lossSum: 1, computeMs, serviceMs: 0 };
    due.push({ atMs: nowMs + computeMs, input: { type: 'counted', ...counted } });
  };
  for (let i = 0; i < honest; i++) join(`h${i}`, 1_000);
  for (let i = 0; i < refusing; i++) join(`r${i}`, 1_000);
  feed({ type: 'start' });
  return {
    state,
    get refused() {
      return refused;
    },
    /** Rounds in this time. */
    run(ms: number): number {
      const [first, untilMs] = [state.round, nowMs + ms];
      let tickMs = nowMs;
      while (nowMs < untilMs) {
        due.sort((a, b) => a.atMs - b.atMs);
        if (due.length > 0 && due[0].atMs <= tickMs) {
          const { atMs, input } = due.shift()!;
          nowMs = Math.max(nowMs, atMs);
          feed(input);
        } else {
          nowMs = tickMs;
          tickMs += 250;
          feed({ type: 'tick' });
        }
        if (state.units.every(({ counted }) => counted)) feed({ type: 'updated', round: state.round, trainLoss: 1 });
      }
      return state.round - first;
    },
  };
}

describe('workers that give back what they are lent', () => {
  it.each(['engine', 'no_state', 'paused', 'dropped', 'cancelled'] as const)(
    'hold up nobody when a third of all do so (%s)',
    (code) => {
      const without = simulate(4, 0, code).run(30_000);
      const attacked = simulate(4, 2, code);
      expect(attacked.run(30_000)).toBeGreaterThan(0.9 * without);
      expect(attacked.refused).toBeLessThan(60);
    },
  );

  it('rest no longer than a moment when it happens once', () => {
    const run = simulate(1, 1, 'engine', (round) => round === 100);
    run.run(60_000);
    expect(run.refused).toBeGreaterThan(0);
    expect(run.state.workers.get('r0')!.counted).toBeGreaterThan(200);
  });

  it('are asked all the same when nobody else can compute', () => {
    let left = 20;
    const run = simulate(0, 1, 'engine', () => left-- > 0);
    run.run(30_000);
    expect(run.state.round).toBeGreaterThan(10);
  });
});

import { describe, expect, it } from 'vitest';
import { createSimulation, type Simulation } from './simulation.js';
import { truthOf } from './storm.js';
import { REPRODUCIBLE_LOCAL } from './training.js';
import type { SimulatedWorker } from './worker.js';

const ROUNDS = 8;
const STEPS = 12;
/** A step takes 3 s, so a lease takes 36 s. */
const CHARS_PER_SECOND = 4;
const STEP_MS = 3_000;
const config = { ...REPRODUCIBLE_LOCAL, localSteps: STEPS, rounds: ROUNDS };

/** Two workers in the middle of a lease of round `round`. */
async function inTheMiddle(round: number): Promise<{ readonly simulation: Simulation; readonly first: SimulatedWorker }> {
  const workers = [CHARS_PER_SECOND, CHARS_PER_SECOND];
  const simulation = createSimulation({ seed: 3, config, workers, truth: await truthOf(config) });
  const [first] = simulation.workers;
  simulation.boot();
  const isThere = (): boolean =>
    simulation.commits.length === round &&
    first.logs.some((entry) => entry.kind === 'progress' && entry.round === round && entry.steps === 4);
  await simulation.until('the middle of a lease', isThere);
  return { simulation, first };
}

describe('a worker in the middle of a lease that takes long', () => {
  it('that leaves is gone after a step, and the run loses its lease and nothing else', async () => {
    const { simulation, first } = await inTheMiddle(3);
    const { clock, commits } = simulation;
    const leftMs = clock.nowMs;
    first.stop();
    await simulation.until('its end', () => !first.running);
    expect(clock.nowMs - leftMs).toBeLessThan(STEP_MS + 500);
    await simulation.finish();
    // The audit compares every round with that of a run that nobody left.
    expect(commits).toHaveLength(ROUNDS);
  });

  it('that freezes loses it long before its deadline', async () => {
    const { simulation, first } = await inTheMiddle(3);
    const { clock, coordinator } = simulation;
    const leases = [...coordinator.conductor!.shell.state.leases.values()];
    const { deadlineAtMs, grantedAtMs, allowedMs } = leases.find(({ steps }) => steps === 4)!;
    expect(deadlineAtMs).toBeLessThan(grantedAtMs + allowedMs);
    const frozenMs = clock.nowMs;
    first.host.freeze();
    const isLate = (): boolean =>
      coordinator.events.some(({ event, ...rest }) => event === 'decision' && JSON.stringify(rest).includes('"late"'));
    await simulation.until('others get the lease', isLate);
    expect(clock.nowMs - frozenMs).toBeLessThan(allowedMs / 2);
    first.host.thaw();
    await simulation.finish();
  });

  it('says how far it is, and so does the run', async () => {
    const { simulation, first } = await inTheMiddle(3);
    const told = simulation.coordinator.events.filter((event) => event.event === 'progress' && event.round === 3);
    expect(told.length).toBeGreaterThan(2);
    expect(simulation.coordinator.conductor!.status().progress).toBeGreaterThan(0.1);
    expect(first.logs.filter(({ kind }) => kind === 'progress')[0]).toMatchObject({ of: STEPS });
    await simulation.finish();
  });
});

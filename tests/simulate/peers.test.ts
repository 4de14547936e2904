/** Workers that sum for each other, and die, freeze or lose their links at every step of a round. */
import { describe, expect, it } from 'vitest';
import { from, longestRoundMs, to } from './phases.js';
import { createSimulation, type Departure, type Simulation, type SimulationOptions } from './simulation.js';
import { truthOf } from './storm.js';
import { BY_SPEED, REPRODUCIBLE } from './training.js';

const ROUNDS = 40;
/** With three workers, and without faults, a round takes less. */
const ROUND_MS = 1_000;
/** Until a peer that is silently gone is missed. */
const SILENCE_MS = 26_000;
/** A worker that is gone cannot repeat what it had summed: the round then begins again. */
const REOPENED_MS = 13_000;

async function cluster(options: Partial<SimulationOptions> & { readonly reproducible?: boolean } = {}): Promise<Simulation> {
  const { reproducible = false, ...rest } = options;
  const config = { ...(reproducible ? REPRODUCIBLE : BY_SPEED), rounds: ROUNDS };
  const truth = await truthOf(config);
  const workers = [250, 200, 160];
  const simulation = createSimulation({ seed: 7, config, workers, peers: true, direct: true, truth, ...rest });
  simulation.boot();
  await simulation.until('workers that sum', () => summing(simulation).length > 1);
  await simulation.until('a round by them', () => roundsOf(simulation) > 2);
  return simulation;
}

const summing = ({ coordinator }: Simulation): readonly string[] => coordinator.conductor?.shell.state.topology.reducers ?? [];

/** Rounds since the last time that others were chosen. */
function roundsOf({ coordinator }: Simulation): number {
  const chosen = coordinator.events.findLastIndex((event) => event.event === 'decision' && event.decision.kind === 'topology');
  return coordinator.events.slice(chosen).filter(({ event }) => event === 'round').length;
}

const PHASES: readonly (readonly [string, (departure: Departure) => boolean])[] = [
  ['when its range changes', to('range', 'w1')],
  ['before the first contribution', to('grant', 'w1')],
  ['between contributions', from('held', 'w1')],
  ['when all are counted', from('measured', 'w1')],
  ['before it sends the update', from('updateRange', 'w1')],
  ['while it sends the update', (departure) => from('updateRange', 'w1')(departure) && departure.to === 'w2'],
  ['between rounds', to('openRound', 'w1')],
];

describe('a worker that sums', () => {
  const cases = PHASES.flatMap(([when, fits]) => [true, false].map((reproducible) => ({ when, fits, reproducible })));

  it.each(cases)('may die $when (reproducible: $reproducible)', async ({ fits, reproducible }) => {
    const simulation = await cluster({ reproducible });
    simulation.before(fits, () => {
      const [, worker] = simulation.workers;
      worker.crash();
      simulation.clock.after(2_000, 'w1: boot', worker.boot);
    });
    expect(await longestRoundMs(simulation)).toBeLessThan(REOPENED_MS + 3 * ROUND_MS);
  });

  it.each(cases)('may freeze $when (reproducible: $reproducible)', async ({ fits, reproducible }) => {
    const simulation = await cluster({ reproducible });
    simulation.before(fits, () => {
      const { host } = simulation.workers[1];
      host.freeze();
      simulation.clock.after(60_000, 'w1: thaw', () => host.thaw(false));
    });
    expect(await longestRoundMs(simulation)).toBeLessThan(SILENCE_MS + REOPENED_MS + 3 * ROUND_MS);
  });

  it('and is lost is not used for a while, and then again', async () => {
    const simulation = await cluster({
      config: { ...BY_SPEED, rounds: 160 },
      truth: await truthOf({ ...BY_SPEED, rounds: 160 }),
    });
    const nameOf = (id: string) => simulation.coordinator.conductor!.shell.state.workers.get(id)?.name;
    const names = () => summing(simulation).map(nameOf);
    expect(names()).toContain('w1');
    const [, { name }] = simulation.workers;
    simulation.network.separate([name, simulation.serviceName], 30_000);
    await simulation.until('the loss', () => !names().includes('w1'));
    await simulation.until('the return', () => names().includes('w1'));
    await simulation.finish();
  });

  it('cut off from one worker alone holds up no round', async () => {
    const simulation = await cluster();
    simulation.network.separate(['w1', 'w2'], 600_000);
    expect(await longestRoundMs(simulation)).toBeLessThan(SILENCE_MS + 3 * ROUND_MS);
  });
});

describe('a reproducible run whose workers sum and die', () => {
  it.each([1, 2, 3, 4])('writes the same files as any other, with %i workers', async (count) => {
    const config = { ...REPRODUCIBLE, rounds: ROUNDS };
    const truth = await truthOf(config);
    const workers = [300, 200, 90, 150].slice(0, count);
    const simulation = createSimulation({ seed: count, config, workers, peers: true, direct: true, truth });
    simulation.boot();
    const kill = (): void => {
      if (simulation.coordinator.ended) return;
      const worker = simulation.random.pick(simulation.workers);
      worker.crash();
      simulation.clock.after(1_000, `${worker.name}: boot`, worker.boot);
      simulation.clock.after(9_000, 'kill', kill);
    };
    simulation.clock.after(5_000, 'kill', kill);
    await simulation.finish();
    // The audit compares every file and every round with those of the undisturbed run.
    expect(simulation.audit.files.get(`${ROUNDS}`)).toBeDefined();
  });
});

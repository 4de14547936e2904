import type { MessageOf } from '@troupe/protocol';
import { describe, expect, it } from 'vitest';
import { from, longestRoundMs, to } from './phases.js';
import { createSimulation, type Departure, type Simulation, type SimulationOptions } from './simulation.js';
import { truthOf } from './storm.js';
import { BY_SPEED, REPRODUCIBLE } from './training.js';
import type { SimulatedWorker } from './worker.js';

const ROUNDS = 30;
/** With two workers, and without faults, a round takes less. */
const ROUND_MS = 1_000;
/** Until a peer that is silently gone is missed. */
const SILENCE_MS = 26_000;
/** A worker that is gone cannot repeat what a reducer lost: the round then begins again. */
const REOPENED_MS = 13_000;

async function cluster(options: Partial<SimulationOptions> & { readonly reproducible?: boolean }): Promise<Simulation> {
  const { reproducible = false, ...rest } = options;
  const config = { ...(reproducible ? REPRODUCIBLE : BY_SPEED), rounds: ROUNDS };
  const truth = await truthOf(config);
  const simulation = createSimulation({ seed: 31, config, workers: [250, 160], reducers: 2, truth, ...rest });
  simulation.boot();
  await simulation.until('some rounds', () => simulation.commits.length === 5);
  return simulation;
}

/** How many such messages leave from now on. */
function countOf({ before }: Simulation, fits: (departure: Departure) => boolean): { n: number } {
  const count = { n: 0 };
  const next = (): void =>
    before(fits, () => {
      count.n++;
      next();
    });
  next();
  return count;
}

const reconnects = ({ coordinator }: Simulation): number =>
  coordinator.events.filter((event) => JSON.stringify(event).includes('reconnecting')).length;

/** When, the message that is then about to leave, and whether it goes over a link of a worker. */
const PHASES: readonly (readonly [string, (departure: Departure) => boolean, boolean?])[] = [
  ['before the first contribution', to('grant', 'reducer0')],
  ['between contributions', from('held', 'reducer0')],
  ['when all are counted', from('measured', 'reducer0')],
  ['before it sends the update', from('updateRange', 'reducer0')],
  [
    'when only the service has the update',
    (departure) => from('updateRange', 'reducer0')(departure) && departure.to.startsWith('w'),
    true,
  ],
  ['between rounds', to('openRound', 'reducer0')],
];

describe.each([
  ['that workers reach', true],
  ['that only the service reaches', false],
])('a reducer %s', (_, direct) => {
  const possible = PHASES.filter(([, , needsLinks]) => direct || needsLinks !== true);
  const cases = possible.flatMap(([when, fits]) => [true, false].map((reproducible) => ({ when, fits, reproducible })));

  it.each(cases)('may die $when (reproducible: $reproducible)', async ({ fits, reproducible }) => {
    const simulation = await cluster({ reproducible, direct });
    simulation.before(fits, () => simulation.reducers[0].crash());
    expect(await longestRoundMs(simulation)).toBeLessThan(3 * ROUND_MS);
    expect(reconnects(simulation)).toBe(0);
  });

  it.each(cases)('may lose power $when (reproducible: $reproducible)', async ({ fits, reproducible }) => {
    const simulation = await cluster({ reproducible, direct });
    simulation.before(fits, () => simulation.reducers[0].crash(true));
    expect(await longestRoundMs(simulation)).toBeLessThan(SILENCE_MS + 3 * ROUND_MS);
    expect(reconnects(simulation)).toBe(0);
  });
});

const named = ({ coordinator, workers }: Simulation, workerId: string): SimulatedWorker => {
  const { name } = coordinator.conductor!.shell.state.workers.get(workerId)!;
  return workers.find((worker) => worker.name === name)!;
};

/** Everyone else is done before the worker that has stream 0 in the next round. */
function delayLowest(simulation: Simulation): void {
  const isLowest = ({ message }: Departure): boolean => message.type === 'grant' && message.streams.includes(0);
  simulation.before(
    isLowest,
    ({ message }) => (named(simulation, (message as MessageOf<'grant'>).workerId).machine.slowness = 5),
  );
}

describe('a reducer and a worker whose contribution counts', () => {
  it.each([true, false])('may die when it is in the sum (reproducible: %s)', async (reproducible) => {
    const simulation = await cluster({ reproducible });
    simulation.before(to('add', 'reducer0'), ({ message }) => {
      named(simulation, (message as MessageOf<'add'>).workerId).crash();
      simulation.reducers[0].crash();
    });
    expect(await longestRoundMs(simulation)).toBeLessThan(REOPENED_MS);
    expect(reconnects(simulation)).toBe(1);
  });

  it('may die when it waits for those of lower streams', async () => {
    const simulation = await cluster({ reproducible: true });
    delayLowest(simulation);
    simulation.before(to('openRound', 'reducer0'), () => {
      const counted = ({ message }: Departure): boolean => message.type === 'contributionResult' && message.result === 'counted';
      simulation.before(counted, (departure) => {
        simulation.workers.find(({ name }) => name === departure.to)!.crash();
        simulation.reducers[0].crash();
      });
    });
    expect(await longestRoundMs(simulation)).toBeLessThan(REOPENED_MS);
    expect(reconnects(simulation)).toBe(1);
  });
});

describe.each([0, 1, 2, 4])('a reproducible run with %i reducers that die', (reducers) => {
  it('writes the same files', async () => {
    const simulation = await cluster({ reproducible: true, reducers, workers: [300, 200, 90] });
    const { clock, coordinator } = simulation;
    const sums = countOf(simulation, ({ message }) => message.type === 'measured');
    const kill = (): void => {
      if (coordinator.ended || reducers === 0) return;
      const reducer = simulation.random.pick(simulation.reducers);
      reducer.crash();
      clock.after(1_000, `${reducer.name}: boot`, reducer.boot);
      clock.after(1_700, 'kill', kill);
    };
    kill();
    await simulation.finish();
    // The audit compares every file and every round with those of the undisturbed run.
    expect(simulation.audit.files.get(`${ROUNDS}`)).toBeDefined();
    expect(sums.n > 0).toBe(reducers > 0);
  });
});

describe('a reducer that comes back', () => {
  it('sums its range again', async () => {
    const simulation = await cluster({});
    const [reducer] = simulation.reducers;
    reducer.crash();
    await simulation.until('some rounds', () => simulation.commits.length === 8);
    reducer.boot();
    const sums = countOf(simulation, from('measured', 'reducer0'));
    await simulation.finish();
    expect(sums.n).toBeGreaterThan(5);
  });
});

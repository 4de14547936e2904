import type { MessageOf, MessageType } from '@troupe/protocol';
import { describe, expect, it } from 'vitest';
import { createSimulation, type Departure, type Simulation, type SimulationOptions } from './simulation.js';
import { truthOf } from './storm.js';
import { BY_SPEED, REPRODUCIBLE } from './training.js';

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

const from = (type: MessageType, who: string) => (departure: Departure) => departure.message.type === type && departure.from === who;
const to = (type: MessageType, who: string) => (departure: Departure) => departure.message.type === type && departure.to === who;

/** The longest time between two commits from now on. */
async function longestRoundMs(simulation: Simulation): Promise<number> {
  const first = simulation.commits.length - 1;
  await simulation.finish();
  const times = simulation.commits.slice(first).map(([, ms]) => ms);
  return Math.max(...times.slice(1).map((ms, i) => ms - times[i]));
}

const reconnects = ({ coordinator }: Simulation): number =>
  coordinator.events.filter((event) => JSON.stringify(event).includes('reconnecting')).length;

const PHASES: readonly (readonly [string, (departure: Departure) => boolean])[] = [
  ['before the first contribution', to('grant', 'reducer0')],
  ['between contributions', from('held', 'reducer0')],
  ['when all are counted', from('measured', 'reducer0')],
  ['before it sends the update', from('updateRange', 'reducer0')],
  ['when only the service has the update', (departure) => from('updateRange', 'reducer0')(departure) && departure.to.startsWith('w')],
  ['between rounds', to('openRound', 'reducer0')],
  ['while workers join it', from('joined', 'reducer0')],
];

describe.each([
  ['that workers reach', true],
  ['that only the service reaches', false],
])('a reducer %s', (_, direct) => {
  it.each(
    PHASES.flatMap(([when, fits]) => [true, false].map((reproducible) => ({ when, fits, reproducible }))),
  )('may die $when (reproducible: $reproducible)', async ({ fits, reproducible }) => {
    const simulation = await cluster({ reproducible, direct });
    const [reducer] = simulation.reducers;
    simulation.before(fits, () => reducer.crash());
    if (!direct && fits === PHASES[4][1]) return;
    expect(await longestRoundMs(simulation)).toBeLessThan(3 * ROUND_MS);
    expect(reconnects(simulation)).toBe(0);
  });
});

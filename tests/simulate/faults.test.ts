import { MESSAGE_SCHEMAS, type MessageType } from '@troupe/protocol';
import { describe, expect, it } from 'vitest';
import { BROKEN_PROMISES, FAULTS, possibleIn, type Fault } from './faults.js';
import { TAMPERINGS, type Tampering } from './link.js';
import { createSimulation, describe as describeState } from './simulation.js';
import { truthOf } from './storm.js';
import { BY_SPEED, REPRODUCIBLE } from './training.js';

const PLACES = [
  ['embedded in the coordinator', false],
  ['in a separate process', true],
] as const;

/** Lets the fault strike up to five times in a run of three workers, in the middle of rounds. */
async function endure(fault: Fault, separate: boolean, reproducible: boolean): Promise<void> {
  const config = { ...(reproducible ? REPRODUCIBLE : BY_SPEED), rounds: 30 };
  const truth = await truthOf(config);
  const simulation = createSimulation({ seed: 21, config, workers: [250, 100, 160], separate, truth });
  const { clock } = simulation;
  let struck = 0;
  const strike = (): void => {
    if (simulation.coordinator.ended || struck === 5) return;
    if (simulation.commits.length > 1 && fault.strike(simulation, simulation.random) !== undefined) {
      struck++;
      simulation.touch();
    }
    clock.after(simulation.random.between(300, 1_200), 'strike', strike);
  };
  strike();
  simulation.boot();
  await simulation.finish();
  expect(struck, describeState(simulation)).toBeGreaterThan(1);
}

describe.each(PLACES)('a cluster with the all-reduce %s', (_, separate) => {
  const possible = possibleIn({ separate, reducers: 0 }, [...FAULTS, ...BROKEN_PROMISES]);
  it.each(possible.map((fault, i) => ({ fault, reproducible: i % 2 === Number(separate) })))(
    'reaches the same parameters although $fault.name (reproducible: $reproducible)',
    async ({ fault, reproducible }) => endure(fault, separate, reproducible),
  );
});

const TYPES = Object.keys(MESSAGE_SCHEMAS) as MessageType[];
/** Messages that are sent once and early, or only after one of these was damaged. */
const EARLY: ReadonlySet<MessageType> = new Set([
  'hello',
  'welcome',
  'host',
  'hosted',
  'admit',
  'join',
  'joined',
  'ready',
  'resync',
  'snapshot',
]);

/**
 * One kind of damage for each message, in turn; TROUPE_SIMULATE_EVERY=1 takes every kind for every
 * message.
 */
function damages(): { type: MessageType; part: 'head' | 'chunk'; how: Tampering }[] {
  const all = TYPES.flatMap((type) => [
    { type, part: 'head' as const },
    ...(['lease', 'snapshot', 'contribution', 'update', 'counted'].includes(type) ? [{ type, part: 'chunk' as const }] : []),
  ]);
  const every = process.env.TROUPE_SIMULATE_EVERY === '1';
  return all.flatMap((target, i) =>
    TAMPERINGS.filter((how, k) => (every || k === i % TAMPERINGS.length) && !(target.part === 'chunk' && how === 'garbage')).map(
      (how) => ({ ...target, how }),
    ),
  );
}

describe('a link that damages frames', () => {
  it.each(damages())('does not change a bit of the result: $type, $part, $how', async ({ type, part, how }) => {
    const config = { ...REPRODUCIBLE, rounds: 14 };
    const truth = await truthOf(config);
    const options = { seed: 5, config, workers: [300, 300, 500], separate: true, truth, cadences: { checkpointEvery: 1 } };
    const simulation = createSimulation(options);
    const strike = (): void => simulation.tamperWith(type, part, how);
    if (EARLY.has(type)) strike();
    else simulation.clock.after(1_200, 'tamper', strike);
    simulation.boot();
    await simulation.finish();
    expect(simulation.workerFailures.filter((failure) => !failure.includes('the run is complete'))).toEqual([]);
  });

  it('does not lose the end states of a stream whose contribution counts', async () => {
    const config = { ...REPRODUCIBLE, rounds: 14 };
    const simulation = createSimulation({
      seed: 5,
      config,
      workers: [300, 300, 500],
      separate: true,
      truth: await truthOf(config),
    });
    simulation.clock.after(1_200, 'tamper', () => simulation.tamperWith('counted', 'chunk', 'drop'));
    simulation.boot();
    await simulation.finish();
    expect(simulation.tampered).toHaveLength(1);
    expect(JSON.stringify(simulation.coordinator.events)).toContain('reconnecting');
  });
});

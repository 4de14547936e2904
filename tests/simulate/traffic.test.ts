/** What the estimate of a volunteer's traffic says, against the bytes that pass. */
import { createLayout, stateSize } from '@troupe/model';
import { CODED_BYTES, type TrainingConfig } from '@troupe/protocol';
import { joinBytes, optimizerSlotsOf, roundTraffic, type Exchange } from '@troupe/run';
import { describe, expect, it } from 'vitest';
import { createPreparedEngine } from './engine.js';
import { createSimulation, type Simulation } from './simulation.js';
import { BY_SPEED, LOCAL } from './training.js';

const WORKERS = 3;
const LARGE = { ...BY_SPEED.model, hidden: 64, dropout: 0, dropoutOutput: 0 };
const ADAM: TrainingConfig['optimizer'] = { kind: 'adam', beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0 };
const EXACT: TrainingConfig = { ...BY_SPEED, model: LARGE, streams: 6, rounds: 30, codec: 'fp16' };
const LOCAL_INT8: TrainingConfig = { ...LOCAL, model: LARGE, rounds: 30, localSteps: 32, codec: 'int8-both', optimizer: ADAM };
const CASES: readonly (readonly [string, TrainingConfig])[] = [
  ['exact rounds of SGD', EXACT],
  ['exact rounds of Adam in int8', { ...EXACT, codec: 'int8', optimizer: ADAM }],
  ['local rounds in int8', LOCAL_INT8],
  // A target more in each window is then half of the characters, and these are a good part of it.
  ['local rounds of a small model in short windows', { ...LOCAL_INT8, model: { ...LARGE, hidden: 16 }, window: 1, streams: 48 }],
];

function exchangeOf({ codec, streams, window, localSteps, tracks, model, optimizer }: TrainingConfig): Exchange {
  const { up, down } = CODED_BYTES[codec];
  return {
    ...{ upBytes: up, downBytes: down, streams, window, localSteps, leases: tracks || undefined },
    ...{ stateFloats: stateSize(model), optimizerSlots: optimizerSlotsOf(optimizer.kind, localSteps) },
  };
}

function simulate(config: TrainingConfig): Simulation {
  const simulation = createSimulation({
    seed: 1,
    config,
    workers: Array.from({ length: WORKERS }, () => 100),
    direct: false,
    latencyMs: [1, 1],
    createEngine: createPreparedEngine,
  });
  simulation.boot();
  return simulation;
}

const WARM = 10;
const reach = (simulation: Simulation, rounds: number): Promise<void> =>
  simulation.until(`round ${rounds}`, () => simulation.commits.length >= rounds);

describe.each(CASES)('a worker in %s', (_, config) => {
  const parameters = createLayout(config.model).size;
  const exchange = exchangeOf(config);

  it('exchanges what is estimated for a round', async () => {
    const simulation = simulate(config);
    const passed = () => simulation.workers.map(({ name }) => simulation.network.trafficOf(name));
    await reach(simulation, WARM);
    const before = passed();
    await reach(simulation, config.rounds);
    const after = passed();
    await simulation.finish();
    const perRound = (key: 'sentBytes' | 'receivedBytes'): number =>
      after.reduce((sum, traffic, i) => sum + traffic[key] - before[i][key], 0) / (WORKERS * (config.rounds - WARM));
    const estimate = roundTraffic(parameters, exchange, WORKERS);
    expect(perRound('sentBytes') / estimate.sentBytes).toBeCloseTo(1, 1);
    expect(perRound('receivedBytes') / estimate.receivedBytes).toBeCloseTo(1, 1);
  });

  it('receives what is estimated for joining', async () => {
    const simulation = simulate(config);
    await reach(simulation, WARM);
    // It joins in a round that takes long: no update comes between.
    for (const { machine } of simulation.workers) machine.slowness = 1_000;
    const joiner = simulation.join('joiner', 100);
    await simulation.until('the joiner', () => joiner.logs.some(({ kind }) => kind === 'ready'));
    const { receivedBytes } = simulation.network.trafficOf('joiner');
    for (const { machine } of simulation.workers) machine.slowness = 1;
    await simulation.finish();
    expect(receivedBytes / joinBytes(parameters, exchange)).toBeCloseTo(1, 1);
  });
});

import { GRADIENT_CODECS } from '@troupe/protocol';
import { describe, expect, it } from 'vitest';
import { createSimulation, type Simulation } from './simulation.js';
import { finishDespiteKills, truthOf } from './storm.js';
import { BY_SPEED, REPRODUCIBLE } from './training.js';
import type { SimulatedWorker } from './worker.js';

const NEAR = { latencyMs: [0.05, 0.2] } as const;

function record(simulation: Simulation, name: string) {
  const { state } = simulation.coordinator.conductor!.shell;
  return [...state.workers.values()].find((worker) => worker.name === name);
}

const logsOf = ({ logs }: SimulatedWorker, kind: string) => logs.filter((entry) => entry.kind === kind);

describe('a simulation', () => {
  it('has the same events for the same seed', async () => {
    const traces: string[][] = [];
    for (let i = 0; i < 2; i++) {
      const lines: string[] = [];
      const config = { ...REPRODUCIBLE, rounds: 10 };
      const simulation = createSimulation({ seed: 11, config, workers: [200, 400], trace: (line) => lines.push(line) });
      simulation.boot();
      simulation.clock.after(1_000, 'kill', () => simulation.workers[0].crash());
      await simulation.finish();
      traces.push(lines);
    }
    expect(traces[0].length).toBeGreaterThan(40);
    expect(traces[1]).toEqual(traces[0]);
  });
});

describe.each(GRADIENT_CODECS)('a reproducible run in %s', (codec) => {
  it('writes the same files with 1, 2 and 5 workers, although workers and the coordinator are killed', async () => {
    const config = { ...REPRODUCIBLE, codec, rounds: 40 };
    const truth = await truthOf(config);
    for (const workers of [[700], [300, 90], [200, 150, 100, 400, 50]]) {
      const simulation = await finishDespiteKills({ seed: workers.length, config, workers, truth });
      // The audit compares every round and file with the undisturbed run. This checks that there
      // were files at all.
      expect(simulation.audit.files.size).toBeGreaterThan(3);
      expect(simulation.audit.files.get('40')).toEqual(truth.files!.get('40'));
    }
  });
});

describe('a reproducible run whose validations fail now and then', () => {
  it('writes the same files, although the coordinator is restarted because of it', async () => {
    const config = { ...REPRODUCIBLE, rounds: 50 };
    const truth = await truthOf(config);
    const simulation = createSimulation({ seed: 8, config, workers: [300, 200], truth });
    const { coordinator } = simulation;
    simulation.boot();
    await simulation.until('some rounds', () => simulation.commits.length === 15);
    coordinator.side.failures = 2;
    await simulation.until('more rounds', () => simulation.commits.length === 35);
    coordinator.side.failures = 6;
    await simulation.finish();
    expect(coordinator.failures.map(({ name }) => name)).toEqual(['ValidationFailed']);
    for (const file of ['50', 'best 20', 'best 40', 'best 50']) {
      expect([file, simulation.audit.files.get(file)]).toEqual([file, truth.files!.get(file)]);
    }
  });
});

describe('a run whose disk is full when the best model is due', () => {
  it('has the best model on disk at the end', async () => {
    const config = { ...BY_SPEED, rounds: 30 };
    const simulation = createSimulation({ seed: 9, config, workers: [300, 200], truth: await truthOf(config) });
    const { coordinator, clock } = simulation;
    const evaluated = (): boolean => coordinator.events.some(({ event }) => event === 'evaluation');
    simulation.boot();
    await simulation.until('some rounds', () => simulation.commits.length === 15);
    coordinator.disk.full = true;
    await simulation.until('a validation', evaluated);
    clock.after(100, 'disk: room again', () => (coordinator.disk.full = false));
    await simulation.finish();
    // The audit compares the figure with the file.
    expect(coordinator.events.at(-1)).toMatchObject({ event: 'finished', bestCheckpoint: 'disk/best' });
  });
});

describe('a worker whose machine slept for an hour', () => {
  it('catches up with one snapshot and computes again', async () => {
    const config = { ...BY_SPEED, rounds: 300 };
    const simulation = createSimulation({ seed: 2, config, workers: [1.5, 1.5], truth: await truthOf(config) });
    const [sleeper] = simulation.workers;
    simulation.boot();
    await simulation.until('some rounds', () => simulation.commits.length === 4);
    sleeper.host.freeze();
    simulation.clock.after(3_600_000, 'thaw', () => sleeper.host.thaw(true));
    await simulation.until('the sleeper at work', () => logsOf(sleeper, 'ready').length === 2, 5_000_000);
    const back = simulation.coordinator.conductor!.shell.round;
    expect(back).toBeGreaterThan(100);
    await simulation.finish();
    expect(logsOf(sleeper, 'ready')).toHaveLength(2);
    expect(logsOf(sleeper, 'computed').at(-1)).toMatchObject({ round: 299 });
  });
});

describe('a worker that limits the rate of its links', () => {
  const config = { ...BY_SPEED, rounds: 160 };
  /** Time from round 30 on, ms, with what became of the last worker. */
  const runWith = async (workers: readonly number[], ratesMbit: readonly (number | undefined)[] = []) => {
    const simulation = createSimulation({ seed: 5, config, workers, ratesMbit, truth: await truthOf(config), ...NEAR });
    simulation.boot();
    await simulation.until('most rounds', () => simulation.commits.length === 150);
    const worker = simulation.workers.at(-1)!;
    const { state } = record(simulation, worker.name)!;
    const ms = simulation.commits[149][1] - simulation.commits[30][1];
    await simulation.finish();
    const counts = Object.fromEntries(['computed', 'lost', 'parked'].map((kind) => [kind, logsOf(worker, kind).length]));
    return { ms, state, ...counts };
  };
  it('gets fewer streams, or is parked instead of slowing the run', async () => {
    const alone = await runWith([300]);
    const free = await runWith([300, 300]);
    const slower = await runWith([300, 300], [undefined, 0.2]);
    const parked = await runWith([300, 300], [undefined, 0.05]);
    expect(slower).toMatchObject({ state: 'ready', parked: 0, lost: 0 });
    expect(slower.ms).toBeGreaterThan(1.2 * free.ms);
    expect(slower.ms).toBeLessThan(0.95 * alone.ms);
    expect(parked).toMatchObject({ state: 'parked', lost: 0 });
    expect(parked.ms).toBeLessThan(1.05 * alone.ms);
  });
});

describe('a run without workers', () => {
  it('reports once that it waits, and continues when a worker joins', async () => {
    const config = { ...BY_SPEED, rounds: 20 };
    const simulation = createSimulation({ seed: 3, config, workers: [200, 100], truth: await truthOf(config) });
    const { clock, coordinator, workers } = simulation;
    const waits = (): number => coordinator.events.filter(({ event }) => event === 'waiting').length;
    simulation.boot();
    await simulation.until('some rounds', () => simulation.commits.length === 5);
    const before = waits();
    for (const worker of workers) worker.crash();
    clock.after(600_000, 'back', workers[0].boot);
    await simulation.until('the first round after', () => simulation.commits.length === 6);
    expect(waits()).toBe(before + 1);
    await simulation.finish();
  });
});

describe('workers of mixed speeds', () => {
  it('need at most 1.15 times the ideal time per round, although one is ten times slower', async () => {
    const config = { ...BY_SPEED, streams: 112, rounds: 60 };
    const speeds = [1_000, 1_000, 1_000, 1_000, 100];
    const simulation = createSimulation({ seed: 4, config, workers: speeds, ...NEAR });
    simulation.boot();
    await simulation.finish();
    const warm = simulation.commits.slice(20);
    const meanMs = (warm.at(-1)![1] - warm[0][1]) / (warm.length - 1);
    const idealMs = (config.streams * config.window * 1_000) / speeds.reduce((a, b) => a + b);
    console.log(`mixed speeds: ${(meanMs / idealMs).toFixed(3)} times the ideal`);
    expect(meanMs / idealMs).toBeLessThan(1.15);
    expect(meanMs / idealMs).toBeGreaterThan(1);
  });
});

describe('a run with 100 workers that are a tenth as fast', () => {
  /** Mean time of a round once the cluster is warm. */
  async function meanRoundMs(streams: number, slow: number, { reproducible = false, rounds = 120 } = {}) {
    const base = reproducible ? REPRODUCIBLE : BY_SPEED;
    const config = { ...base, streams, rounds };
    const workers = [1_000, ...Array.from({ length: slow }, () => 100)];
    // An update for all of them takes a round on the line of the coordinator.
    const links = { latencyMs: [1, 1], bytesPerMs: 1_000, sharedUplinks: true } as const;
    const truth = reproducible ? await truthOf(config) : undefined;
    const simulation = createSimulation({ seed: 7, config, workers, ...links, ...(truth && { truth }) });
    simulation.boot();
    await simulation.finish();
    const warm = simulation.commits.slice(60);
    const states = simulation.coordinator.events.filter(({ event }) => event === 'decision');
    return { simulation, ms: (warm.at(-1)![1] - warm[0][1]) / (warm.length - 1), states };
  }

  it('takes no longer per round than without them, when they are of no use', async () => {
    // Trials take at most 1 % of a run, a round at a time: that of a short run may fall into its second half.
    const alone = await meanRoundMs(7, 0, { rounds: 400 });
    const together = await meanRoundMs(7, 100, { rounds: 400 });
    console.log(`100 useless workers: ${(alone.ms / together.ms).toFixed(3)} times the speed without them`);
    expect(alone.ms / together.ms).toBeGreaterThan(0.98);
  });

  it('takes no longer per round than without them, when they help', async () => {
    const alone = await meanRoundMs(112, 0);
    const together = await meanRoundMs(112, 100);
    console.log(`100 slow workers: ${(alone.ms / together.ms).toFixed(3)} times the speed without them`);
    expect(alone.ms / together.ms).toBeGreaterThan(0.98);
  });

  it('writes the same files as without them in reproducible mode', async () => {
    const { simulation } = await meanRoundMs(7, 100, { reproducible: true });
    const { state } = simulation.coordinator.conductor!.shell;
    expect([...state.workers.values()].filter(({ state: mode }) => mode === 'parked').length).toBeGreaterThan(90);
    // The audit compares every file with those of the undisturbed run.
    expect(simulation.audit.files.get('120')).toBeDefined();
  });
});

/** Simulated ms until the worker's units are counted or reliably leased to another worker. */
async function msUntilElsewhere(simulation: Simulation, name: string): Promise<number> {
  const { clock, coordinator } = simulation;
  const { state } = coordinator.conductor!.shell;
  const { round } = state;
  const worker = record(simulation, name)!;
  const its = [...worker.leases].flatMap((id) => state.leases.get(id)!.units);
  expect(its.length).toBeGreaterThan(0);
  const startMs = clock.nowMs;
  const elsewhere = (): boolean => {
    const others = [...state.leases.values()].filter((lease) => lease.workerId !== worker.id && !lease.late);
    const covered = new Set(others.flatMap(({ units }) => units));
    return state.round > round || its.every((index) => state.units[index].counted || covered.has(index));
  };
  await simulation.until('others to compute it', elsewhere);
  return clock.nowMs - startMs;
}

describe('the lease of a worker', () => {
  const setUp = async () => {
    const config = { ...BY_SPEED, streams: 42, rounds: 40 };
    const simulation = createSimulation({ seed: 5, config, workers: [60, 80, 100], truth: await truthOf(config) });
    simulation.boot();
    const leased = (): boolean => simulation.commits.length >= 12 && (record(simulation, 'w1')?.leases.size ?? 0) > 0;
    await simulation.until('a lease', leased);
    const roundMs = simulation.commits[11][1] - simulation.commits[10][1];
    return { simulation, roundMs };
  };

  it('is computed elsewhere within two rounds and a second when the worker is killed', async () => {
    const { simulation, roundMs } = await setUp();
    simulation.workers[1].crash();
    expect(await msUntilElsewhere(simulation, 'w1')).toBeLessThan(2 * roundMs + 1_000);
    await simulation.finish();
  });

  it('is computed elsewhere by its deadline when the worker freezes', async () => {
    const { simulation } = await setUp();
    const { state } = simulation.coordinator.conductor!.shell;
    const deadlines = [...record(simulation, 'w1')!.leases].map((id) => state.leases.get(id)!.deadlineAtMs);
    const leftMs = Math.max(...deadlines) - simulation.coordinator.host.nowMs();
    simulation.workers[1].host.freeze();
    // Allows for a tick of the coordinator, and for workers that still compute leases of their own.
    expect(await msUntilElsewhere(simulation, 'w1')).toBeLessThanOrEqual(leftMs + 200);
    simulation.workers[1].host.thaw();
    await simulation.finish();
  });
});

/**
 * Characters computed until the round, as a fraction of what all ready workers could have computed.
 */
async function useUntil(simulation: Simulation, round: number, charsPerSecond: number): Promise<number> {
  const { clock, commits, coordinator } = simulation;
  const { state } = coordinator.conductor!.shell;
  const first = commits.length;
  let [lastMs, capacity] = [clock.nowMs, 0];
  const look = (): boolean => {
    const ready = [...state.workers.values()].filter((worker) => worker.state === 'ready').length;
    capacity += ((clock.nowMs - lastMs) / 1_000) * charsPerSecond * ready;
    lastMs = clock.nowMs;
    return commits.length >= round;
  };
  await simulation.until(`round ${round}`, look);
  return ((round - first) * state.settings.streams * state.settings.window) / capacity;
}

describe('a cluster in which every 5 s a worker is killed and replaced', () => {
  it('keeps at least 95 % of the efficiency that it has without faults', async () => {
    const speed = 300;
    const config = { ...BY_SPEED, streams: 140, rounds: 80 };
    const workers = Array.from({ length: 6 }, () => speed);
    const simulation = createSimulation({ seed: 6, config, workers, ...NEAR });
    simulation.boot();
    await simulation.until('a warm cluster', () => simulation.commits.length === 10);
    const inPeace = await useUntil(simulation, 30, speed);
    let kills = 0;
    const kill = (): void => {
      if (simulation.coordinator.ended) return;
      simulation.workers[kills].crash();
      simulation.join(`n${kills++}`, speed);
      simulation.clock.after(5_000, 'kill', kill);
    };
    kill();
    const underChurn = await useUntil(simulation, 79, speed);
    console.log(`use of the workers present: ${inPeace.toFixed(3)} without faults, ${underChurn.toFixed(3)} under churn`);
    expect(kills).toBeGreaterThan(3);
    expect(underChurn / inPeace).toBeGreaterThan(0.95);
    await simulation.finish();
  });
});

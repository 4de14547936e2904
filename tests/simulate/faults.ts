/** Everything that can go wrong, by name. Each fault ends by itself after a while. */
import { TAMPERINGS } from './link.js';
import type { Random } from './random.js';
import type { Simulation } from './simulation.js';
import type { SimulatedWorker } from './worker.js';

export interface Fault {
  readonly name: string;
  /** Possible only if the all-reduce is a separate process. */
  readonly separate?: boolean;
  /** @returns what happened, or undefined if the fault has no target */
  strike(simulation: Simulation, random: Random): string | undefined;
}

const HOUR_MS = 3_600_000;

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

function onWorker(name: string, act: (worker: SimulatedWorker, simulation: Simulation, random: Random) => string): Fault {
  return {
    name,
    strike(simulation, random) {
      const up = simulation.workers.filter(({ running, host }) => running && !host.frozen);
      if (up.length === 0) return undefined;
      const worker = random.pick(up);
      return `${worker.name} ${act(worker, simulation, random)}`;
    },
  };
}

function restart(silently: boolean) {
  return (worker: SimulatedWorker, { clock }: Simulation, random: Random): string => {
    const ms = random.between(50, 6_000);
    worker.crash(silently);
    clock.after(ms, `${worker.name}: boot`, worker.boot);
    return `dies${silently ? ' silently' : ''} and is back in ${seconds(ms)}`;
  };
}

function freeze(least: number, most: number, asleep: boolean) {
  return ({ host }: SimulatedWorker, { clock }: Simulation, random: Random): string => {
    const ms = random.between(least, most);
    host.freeze();
    clock.after(ms, `${host.name}: thaw`, () => host.thaw(asleep));
    return `${asleep ? 'sleeps' : 'freezes'} for ${seconds(ms)}`;
  };
}

const WORKER_FAULTS: readonly Fault[] = [
  onWorker('a worker is killed', restart(false)),
  onWorker("a worker's machine loses power", restart(true)),
  onWorker('a worker freezes for a moment', freeze(100, 3_000, false)),
  onWorker('a worker freezes for a long time', freeze(8_000, 60_000, false)),
  onWorker("a worker's machine sleeps", freeze(30_000, 300_000, true)),
  onWorker('a worker is ten times slower', ({ machine }, { clock }, random) => {
    const ms = random.between(500, 8_000);
    machine.slowness *= 10;
    clock.after(ms, 'fast again', () => (machine.slowness /= 10));
    return `is ten times slower for ${seconds(ms)}`;
  }),
  onWorker("a worker's clock jumps", ({ host }) => {
    host.jump(HOUR_MS);
    return 'believes that an hour has passed';
  }),
  onWorker('a worker loses its device', ({ machine }) => {
    machine.deviceLosses++;
    return 'loses its device';
  }),
  {
    name: 'a faulty machine computes a NaN',
    // Always the same worker: a gradient that is not finite at every worker ends the run.
    strike({ workers: [{ name, machine, running }], commits }) {
      // Once a round at most: three times in one round, by the only worker present, would end the
      // run too.
      if (!running || machine.poisonedAfter === commits.length) return undefined;
      machine.poisonedAfter = commits.length;
      machine.poison = 1;
      return `${name} will compute a NaN`;
    },
  },
  onWorker('a worker is cut off', ({ name }, { network }, random) => {
    const ms = random.between(100, 45_000);
    network.isolate(name, ms);
    return `is cut off for ${seconds(ms)}`;
  }),
];

const breakLink: Fault = {
  name: 'a link breaks',
  strike({ network }, random) {
    const open = network.links;
    if (open.length === 0) return undefined;
    const link = random.pick(open);
    link.break('the cable was pulled');
    return `${link.name} breaks`;
  },
};

const TAMPER_FAULTS: readonly Fault[] = TAMPERINGS.map((how) => ({
  name: `a link tampers with a frame: ${how}`,
  strike({ network }, random) {
    const open = network.links;
    if (open.length === 0) return undefined;
    const link = random.pick(open);
    link.tamper(random.next() < 0.5 ? 0 : 1, how);
    return `${link.name} will ${how} a frame`;
  },
}));

function onCoordinator(name: string, act: (simulation: Simulation, random: Random) => string): Fault {
  return {
    name,
    strike(simulation, random) {
      const { running, ended, host } = simulation.coordinator;
      return running && !ended && !host.frozen ? act(simulation, random) : undefined;
    },
  };
}

function coordinatorDies(silently: boolean) {
  return ({ coordinator, clock }: Simulation, random: Random): string => {
    const ms = random.between(100, 5_000);
    coordinator.crash(silently);
    clock.after(ms, 'coordinator: boot', coordinator.boot);
    return `the coordinator dies${silently ? ' silently' : ''} and is back in ${seconds(ms)}`;
  };
}

const COORDINATOR_FAULTS: readonly Fault[] = [
  onCoordinator('the coordinator is killed', coordinatorDies(false)),
  onCoordinator("the coordinator's machine loses power", coordinatorDies(true)),
  onCoordinator('the coordinator freezes', ({ coordinator: { host }, clock }, random) => {
    const ms = random.between(100, 30_000);
    host.freeze();
    clock.after(ms, 'coordinator: thaw', () => host.thaw());
    return `the coordinator freezes for ${seconds(ms)}`;
  }),
  onCoordinator("the coordinator's clock jumps", ({ coordinator }) => {
    coordinator.host.jump(HOUR_MS);
    return 'the coordinator believes that an hour has passed';
  }),
  onCoordinator('someone pauses the run', ({ coordinator, clock }, random) => {
    const ms = random.between(100, 10_000);
    const { conductor } = coordinator;
    conductor?.feed({ type: 'pause', by: 'someone' });
    clock.after(ms, 'resume', () => coordinator.conductor === conductor && conductor?.feed({ type: 'resume', by: 'someone' }));
    return `someone pauses the run for ${seconds(ms)}`;
  }),
  onCoordinator('validations fail', ({ coordinator: { side } }, random) => {
    // Six in a row end the run, and the supervisor restarts it.
    side.failures = random.pick([1, 2, 6]);
    return `the next ${side.failures} validations fail`;
  }),
  onCoordinator('the disk is full', ({ coordinator: { disk }, clock }, random) => {
    const ms = random.between(500, 5_000);
    disk.full = true;
    clock.after(ms, 'disk: room again', () => (disk.full = false));
    return `the disk is full for ${seconds(ms)}`;
  }),
];

function onReduce(name: string, act: (simulation: Required<Simulation>, random: Random) => string): Fault {
  return {
    name,
    separate: true,
    strike(simulation, random) {
      const { reduce } = simulation;
      if (!reduce?.running || reduce.host.frozen) return undefined;
      return act({ ...simulation, reduce }, random);
    },
  };
}

const REDUCE_FAULTS: readonly Fault[] = [
  onReduce('the all-reduce is killed', ({ reduce, clock }, random) => {
    const ms = random.between(100, 5_000);
    reduce!.crash();
    clock.after(ms, 'reduce: boot', reduce!.boot);
    return `the all-reduce dies and is back in ${seconds(ms)}`;
  }),
  onReduce("the all-reduce's machine loses power", ({ reduce, clock }, random) => {
    const ms = random.between(100, 5_000);
    reduce!.crash(true);
    clock.after(ms, 'reduce: boot', reduce!.boot);
    return `the all-reduce's machine loses power and is back in ${seconds(ms)}`;
  }),
  onReduce('the all-reduce freezes', ({ reduce, clock }, random) => {
    const ms = random.between(100, 30_000);
    const { host } = reduce!;
    host.freeze();
    clock.after(ms, 'reduce: thaw', () => host.thaw());
    return `the all-reduce freezes for ${seconds(ms)}`;
  }),
  onReduce('the all-reduce is cut off', ({ network }, random) => {
    const ms = random.between(100, 45_000);
    network.isolate('reduce', ms);
    return `the all-reduce is cut off for ${seconds(ms)}`;
  }),
];

export const FAULTS: readonly Fault[] = [...WORKER_FAULTS, breakLink, ...COORDINATOR_FAULTS, ...REDUCE_FAULTS];

/** Faults that break the guarantees of a transport. */
export const BROKEN_PROMISES: readonly Fault[] = TAMPER_FAULTS;

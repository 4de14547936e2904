/** Everything that can go wrong, by name. Each fault ends by itself after a while. */
import type { MessageType } from '@troupe/protocol';
import { TAMPERINGS } from './link.js';
import type { Random } from './random.js';
import type { SimulatedReduce } from './reduce.js';
import type { Departure, Simulation } from './simulation.js';
import type { SimulatedWorker } from './worker.js';

export interface Fault {
  readonly name: string;
  /** Possible only if the all-reduce is a separate process. */
  readonly separate?: boolean;
  /** Possible only if there are reducers. */
  readonly reducers?: boolean;
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

/** A process that its supervisor starts again. */
type Process = Pick<SimulatedWorker, 'name' | 'host' | 'boot' | 'crash'>;

function restart(silently: boolean) {
  return (process: Process, { clock }: Simulation, random: Random): string => {
    const ms = random.between(50, 6_000);
    process.crash(silently);
    clock.after(ms, `${process.name}: boot`, process.boot);
    return `dies${silently ? ' silently' : ''} and is back in ${seconds(ms)}`;
  };
}

function freeze(least: number, most: number, asleep: boolean) {
  return ({ host }: Process, { clock }: Simulation, random: Random): string => {
    const ms = random.between(least, most);
    host.freeze();
    clock.after(ms, `${host.name}: thaw`, () => host.thaw(asleep));
    return `${asleep ? 'sleeps' : 'freezes'} for ${seconds(ms)}`;
  };
}

function cutOff({ name }: Process, { network }: Simulation, random: Random): string {
  const ms = random.between(100, 45_000);
  network.isolate(name, ms);
  return `is cut off for ${seconds(ms)}`;
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
  onWorker('a worker is cut off', cutOff),
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

/** A process that sums a range. */
type Summing = Process & Pick<SimulatedReduce, 'running'>;

function summing({ reducers, workers, peers }: Simulation): readonly Summing[] {
  return peers ? workers : reducers;
}

function onReducer(name: string, act: (reducer: Summing, simulation: Simulation, random: Random) => string): Fault {
  return {
    name,
    reducers: true,
    strike(simulation, random) {
      const up = summing(simulation).filter(({ running, host }) => running && !host.frozen);
      if (up.length === 0) return undefined;
      const reducer = random.pick(up);
      return `${reducer.name} ${act(reducer, simulation, random)}`;
    },
  };
}

/** Between them, a reducer can die at every step of a round and of the beginning of its service. */
const STEPS: readonly MessageType[] = [
  ...(['assign', 'assigned', 'admit', 'join', 'joined', 'linked', 'reducer', 'partition', 'range'] as const),
  ...(['openRound', 'grant', 'gradientRange', 'held', 'add', 'drop', 'measured', 'finish', 'updateRange'] as const),
];

/** The reducer dies just before the message leaves, or soon after it has arrived. */
function dieAtStep(reducer: Summing, simulation: Simulation, random: Random): string {
  const step = random.pick(STEPS);
  const delayMs = random.pick([0, 1, 30]);
  const die = restart(random.next() < 0.3);
  const isAbout = ({ message, from, to }: Departure): boolean =>
    message.type === step && (from === reducer.name || to === reducer.name || step === 'linked' || step === 'reducer');
  const strike = (): void => {
    if (!reducer.running) return;
    simulation.trace('FAULT', () => `${reducer.name} ${die(reducer, simulation, random)}`);
    simulation.touch();
  };
  simulation.before(isAbout, () => {
    if (delayMs === 0) strike();
    else simulation.clock.after(delayMs, `${reducer.name} dies`, strike);
  });
  return `will die ${delayMs} ms after the next ${step}`;
}

function separateFrom(name: string, { network }: Simulation, random: Random) {
  return (reducer: Summing): string => {
    const ms = random.between(100, 45_000);
    network.separate([reducer.name, name], ms);
    return `is cut off from ${name} for ${seconds(ms)}`;
  };
}

const REDUCER_FAULTS: readonly Fault[] = [
  onReducer('a reducer is killed', restart(false)),
  onReducer("a reducer's machine loses power", restart(true)),
  onReducer('a reducer dies at a step of a round', dieAtStep),
  onReducer('a reducer freezes', freeze(100, 40_000, false)),
  onReducer('a reducer is cut off', cutOff),
  onReducer('a reducer is cut off from the service', (reducer, simulation, random) =>
    separateFrom(simulation.serviceName, simulation, random)(reducer),
  ),
  onReducer('a reducer is cut off from a worker', (reducer, simulation, random) =>
    separateFrom(random.pick(simulation.workers).name, simulation, random)(reducer),
  ),
  onReducer('a reducer sends slowly', ({ name }, { network }, random) => {
    const ms = random.between(500, 20_000);
    network.slow(name, 20, ms);
    return `sends twenty times slower for ${seconds(ms)}`;
  }),
  onReducer('a reducer and a worker die', (reducer, simulation, random) => {
    const worker = random.pick(simulation.workers);
    restart(random.next() < 0.3)(worker, simulation, random);
    return `${restart(random.next() < 0.3)(reducer, simulation, random)}, and ${worker.name} dies`;
  }),
  onReducer('all reducers die', (_, simulation, random) => {
    for (const reducer of summing(simulation)) restart(false)(reducer, simulation, random);
    return 'dies with all others';
  }),
];

export const FAULTS: readonly Fault[] = [...WORKER_FAULTS, breakLink, ...COORDINATOR_FAULTS, ...REDUCE_FAULTS, ...REDUCER_FAULTS];

/** Faults that break the guarantees of a transport. */
export const BROKEN_PROMISES: readonly Fault[] = TAMPER_FAULTS;

export interface Cluster {
  readonly separate: boolean;
  readonly reducers: number;
  /** Whether workers sum. */
  readonly peers?: boolean;
}

/** Those that have a target in such a cluster. */
export function possibleIn(cluster: Cluster, faults: readonly Fault[]): Fault[] {
  const hasReducers = cluster.reducers > 0 || cluster.peers === true;
  return faults.filter(({ separate, reducers }) => (cluster.separate || !separate) && (hasReducers || !reducers));
}

/** A whole cluster in one process, in simulated time. */
import { setMaxListeners } from 'node:events';
import type { Checkpoint } from '@troupe/checkpoint';
import type { Cadences, StopRules } from '@troupe/conductor';
import { createReferenceEngine } from '@troupe/model/reference';
import type { Message, MessageType, TrainingConfig } from '@troupe/protocol';
import { createAudit, messageIn, type Audit, type Truth } from './audit.js';
import { createClock, Hang, type Clock } from './clock.js';
import { createSimulatedCoordinator, type SimulatedCoordinator } from './coordinator.js';
import type { CreateEngine } from './engine.js';
import type { Tampering } from './link.js';
import { createNetwork, type Lines, type Network } from './network.js';
import { createRandom, type Random } from './random.js';
import { createSimulatedReduce, type SimulatedReduce } from './reduce.js';
import { WINTERS, type Text } from './training.js';
import { createSimulatedWorker, type SimulatedWorker, type WorkerOptions } from './worker.js';
import type { World } from './world.js';

// As in the apps, all links of a process wait on the same signal.
setMaxListeners(0);

/** Longer than any deadline in a healthy cluster. */
const QUIET_MS = 7_200_000;
/** Without new faults a round takes far less than this, unless somebody says how long one may take. */
const ROUND_MS = 300_000;

export interface SimulationOptions {
  readonly seed: number;
  readonly config: TrainingConfig;
  /** A checkpoint from which the run resumes, with this config. */
  readonly start?: Checkpoint | undefined;
  /** Speeds of the workers "w0", "w1" .., chars/s. */
  readonly workers: readonly number[];
  /** Limits of the workers in each direction, in their order, Mbit/s. */
  readonly ratesMbit?: readonly (number | undefined)[];
  /** "v0", "v1" .., whose leases are audited. */
  readonly volunteers?: readonly Pick<WorkerOptions, 'charsPerSecond' | 'lie'>[];
  /** Whether the all-reduce is a separate process. */
  readonly separate?: boolean;
  /** How many machines "reducer0", "reducer1" .. sum a range of the parameters each. */
  readonly reducers?: number;
  /** Whether the workers that reach others also sum for them. */
  readonly peers?: boolean;
  /** Whether the workers reach the reducers; absent: the seed chooses those that do. */
  readonly direct?: boolean;
  readonly cadences?: Partial<Cadences>;
  readonly stopRules?: Partial<StopRules>;
  /** One way, ms: from and to. */
  readonly latencyMs?: readonly [number, number];
  readonly bytesPerMs?: number;
  /** Whether all links of a host share its bandwidth. */
  readonly sharedUplinks?: boolean;
  /** A round that takes longer is an error, ms. */
  readonly longestRoundMs?: number;
  /** Bandwidths of each host, by its name; absent: only `bytesPerMs` limits a link. */
  readonly linesOf?: (name: string) => Lines;
  /** Default: a few words. */
  readonly text?: Text;
  /** Default: the reference engine. */
  readonly createEngine?: CreateEngine;
  readonly truth?: Truth;
  /** Called with a line for each event. */
  readonly trace?: ((line: string) => void) | undefined;
}

/** A message that is about to leave its sender. */
export interface Departure {
  readonly message: Message;
  readonly from: string;
  readonly to: string;
}

export interface Simulation {
  readonly clock: Clock;
  readonly random: Random;
  readonly network: Network;
  readonly audit: Audit;
  readonly coordinator: SimulatedCoordinator;
  readonly reduce: SimulatedReduce | undefined;
  readonly reducers: readonly SimulatedReduce[];
  /** Whether workers sum. */
  readonly peers: boolean;
  /** The machine of the service that decides what counts. */
  readonly serviceName: string;
  readonly workers: SimulatedWorker[];
  /** When each round was committed: [round, ms]. */
  readonly commits: readonly (readonly [number, number])[];
  /** The longest time without a round or a new fault, while the cluster could make progress. */
  readonly longestWait: { readonly ms: number };
  /** Frames that links tampered with. */
  readonly tampered: readonly string[];
  /** Errors with which workers ended. */
  readonly workerFailures: readonly string[];
  /** Tampers once, with the next message of that type (`head`) or with a chunk of its body. */
  tamperWith(type: MessageType, part: 'head' | 'chunk', how: Tampering): void;
  /** Calls `act` once, when a message that fits is about to leave: it is lost if its sender dies now. */
  before(fits: (departure: Departure) => boolean, act: (departure: Departure) => void): void;
  /** Restarts the time limit of a round, because a fault has just struck. */
  touch(): void;
  trace(who: string, text: () => string): void;
  /** Adds a worker and starts it. */
  join(name: string, charsPerSecond: number): SimulatedWorker;
  boot(): void;
  /** @throws Error for a violation, Deadlock, Hang */
  until(what: string, condition: () => boolean, mostMs?: number): Promise<void>;
  /** Waits for the end of the run, stops all workers, and checks that no link or timer is left. */
  finish(): Promise<void>;
}

export function createSimulation(options: SimulationOptions): Simulation {
  const chronicle: Chronicle = { commits: [], tampered: [], workerFailures: [], touchedMs: 0 };
  const plan = createPlan();
  const alarms = createAlarms();
  const random = createRandom(options.seed);
  const workers: SimulatedWorker[] = [];
  const world = createWorld(options, random, { plan, alarms, chronicle }, () => {
    for (const worker of workers) worker.boot();
  });
  const { clock, network, audit, trace } = world;
  const coordinator = createSimulatedCoordinator(world);
  const reduce = world.separate ? createSimulatedReduce(world, 'reduce') : undefined;
  const reducers = world.reducers.map((name) => createSimulatedReduce(world, name));
  const addWorker = (worker: WorkerOptions): SimulatedWorker =>
    add(createSimulatedWorker(world, { direct: options.direct, ...worker }));
  const add = (worker: SimulatedWorker): SimulatedWorker => {
    workers.push(worker);
    return worker;
  };
  options.workers.forEach((charsPerSecond, i) => addWorker({ name: `w${i}`, charsPerSecond, rateMbit: options.ratesMbit?.[i] }));
  options.volunteers?.forEach((volunteer, i) => addWorker({ name: `v${i}`, ...volunteer, isVolunteer: true }));

  const longestWait = { ms: 0 };
  const simulation: Simulation = {
    clock,
    random,
    network,
    audit,
    coordinator,
    reduce,
    reducers,
    peers: world.peers,
    serviceName: (reduce ?? coordinator).host.name,
    workers,
    longestWait,
    ...chronicle,
    trace,
    tamperWith: plan.add,
    before: alarms.add,
    touch: () => (chronicle.touchedMs = clock.nowMs),
    join(name, charsPerSecond) {
      const worker = addWorker({ name, charsPerSecond });
      worker.boot();
      return worker;
    },
    boot() {
      for (const reducer of reducers) reducer.boot();
      reduce?.boot();
      coordinator.boot();
      for (const worker of workers) worker.boot();
    },
    until: (what, condition, mostMs = 3_600_000) => clock.run(condition, mostMs, what),
    async finish() {
      await clock.run(() => coordinator.ended, 36_000_000, 'the end of the run');
      for (const error of coordinator.failures) if (error.name === 'RunDiverged') throw error;
      await dissolve(simulation);
    },
  };
  clock.onSettled(() => {
    watch(simulation, chronicle, options.longestRoundMs ?? ROUND_MS);
    longestWait.ms = Math.max(longestWait.ms, clock.nowMs - chronicle.touchedMs);
  });
  return simulation;
}

/** What has happened so far in the simulation. */
interface Chronicle {
  readonly commits: [number, number][];
  readonly tampered: string[];
  readonly workerFailures: string[];
  /** When a round was last committed or a fault last struck. */
  touchedMs: number;
}

interface Hooks {
  readonly plan: Plan;
  readonly alarms: Alarms;
  readonly chronicle: Chronicle;
}

function createWorld(
  options: SimulationOptions,
  random: Random,
  { plan, alarms, chronicle }: Hooks,
  startWorkers: () => void,
): World {
  const clock = createClock();
  const audit = createAudit(options.truth);
  const trace = (who: string, text: () => string): void =>
    options.trace?.(`${clock.nowMs.toFixed(1).padStart(10)} ${who}: ${text()}`);
  const network = createNetwork({
    clock,
    random: random.fork('network'),
    latencyMs: options.latencyMs ?? [0.5, 20],
    bytesPerMs: options.bytesPerMs ?? 5_000,
    sharedUplinks: options.sharedUplinks ?? false,
    ...(options.linesOf && { linesOf: options.linesOf }),
    onFrame(from, to, frame) {
      alarms.onFrame(from.name, to.name, frame);
      if (to.alive) audit.onFrame(from.name, frame);
    },
    fateOf: (from, to, frame) => plan.fateOf(from.name, to.name, frame),
    onTamper(link: string, how: Tampering) {
      chronicle.tampered.push(`${link}: ${how}`);
      trace(link, () => how);
    },
  });
  let tickets = 0;
  return {
    clock,
    peers: options.peers ?? false,
    // Of one length, so that links take as long whatever ran before.
    ticket: () => `ticket-${String(tickets++).padStart(9, '0')}`,
    random: random.fork('world'),
    network,
    audit,
    config: options.config,
    text: options.text ?? WINTERS,
    createEngine: options.createEngine ?? createReferenceEngine,
    start: options.start,
    cadences: { evaluateEvery: 20, checkpointEvery: 5, sampleEvery: 0, ...options.cadences },
    stopRules: { maxLoss: 3, patience: 0, ...options.stopRules },
    separate: options.separate ?? false,
    reducers: Array.from({ length: options.reducers ?? 0 }, (_, i) => `reducer${i}`),
    token: 'open sesame',
    volunteerToken: 'open barley',
    trace,
    onRound(round) {
      chronicle.commits.push([round, clock.nowMs]);
      chronicle.touchedMs = clock.nowMs;
    },
    onNotSaved: startWorkers,
    onWorkerFailed: (name, error) => void chronicle.workerFailures.push(`${name}: ${error.name}: ${error.message}`),
  };
}

/** @throws Error for a violation, Hang when a cluster that could make progress does not */
function watch(simulation: Simulation, chronicle: Chronicle, longestMs: number): void {
  const { clock, audit, coordinator, reduce, workers } = simulation;
  if (audit.violations.length > 0) throw new Error(`violated: ${audit.violations.slice(0, 5).join('; ')}`);
  const isUp = ({ running, host }: Pick<SimulatedWorker, 'running' | 'host'>): boolean => running && !host.frozen;
  const able = isUp(coordinator) && (!reduce || isUp(reduce)) && workers.some(isUp);
  if (!able) chronicle.touchedMs = clock.nowMs;
  if (coordinator.ended || clock.nowMs - chronicle.touchedMs <= longestMs) return;
  throw new Hang(`no round is committed in ${longestMs} ms: ${describe(simulation)}`);
}

interface Plan {
  add(type: MessageType, part: 'head' | 'chunk', how: Tampering): void;
  fateOf(from: string, to: string, frame: Uint8Array): Tampering | undefined;
}

/** The frames that are still to be tampered with. */
function createPlan(): Plan {
  let due: { readonly type: MessageType; readonly part: 'head' | 'chunk'; readonly how: Tampering }[] = [];
  /** The message to which the chunks between two hosts belong. */
  const last = new Map<string, MessageType>();
  return {
    add: (type, part, how) => void due.push({ type, part, how }),
    fateOf(from, to, frame) {
      if (due.length === 0) return undefined;
      const message = messageIn(frame);
      const way = `${from} ${to}`;
      if (message) last.set(way, message.type);
      const part = message ? 'head' : 'chunk';
      const found = due.find((planned) => planned.part === part && planned.type === last.get(way));
      due = due.filter((planned) => planned !== found);
      return found?.how;
    },
  };
}

interface Alarms {
  add(fits: (departure: Departure) => boolean, act: (departure: Departure) => void): void;
  onFrame(from: string, to: string, frame: Uint8Array): void;
}

/** Those who wait for a message. */
function createAlarms(): Alarms {
  let set: { readonly fits: (departure: Departure) => boolean; readonly act: (departure: Departure) => void }[] = [];
  return {
    add: (fits, act) => void set.push({ fits, act }),
    onFrame(from, to, frame) {
      if (set.length === 0) return;
      const message = messageIn(frame);
      if (!message) return;
      const departure = { message, from, to };
      const due = set.filter(({ fits }) => fits(departure));
      set = set.filter((alarm) => !due.includes(alarm));
      for (const { act } of due) act(departure);
    },
  };
}

/** @throws Error when a worker, link or timer is left after the end */
async function dissolve({ clock, network, coordinator, reduce, reducers, workers }: Simulation): Promise<void> {
  const services = [...(reduce ? [reduce] : []), ...reducers];
  for (const worker of workers) worker.stop();
  for (const { host } of [coordinator, ...services]) host.thaw();
  const gone = (): boolean =>
    workers.every(({ running }) => !running) &&
    coordinator.served === 0 &&
    services.every(({ running, served }) => !running || served === 0) &&
    network.links.length === 0;
  const left = (): string => {
    const names = workers.filter(({ running }) => running).map(({ name }) => name);
    const links = network.links.map(({ name }) => name);
    return `workers ${names.join()}, links ${links.join()}, served ${[coordinator, ...services].map(({ served }) => served).join()}`;
  };
  try {
    await clock.run(gone, QUIET_MS, 'the end of all processes and links');
  } catch (error) {
    throw new Error(`left after the end: ${left()}`, { cause: error });
  }
  const quiet = (): boolean => clock.pending().size === 0;
  try {
    await clock.run(quiet, QUIET_MS, 'the end of all timers');
  } catch (error) {
    const labels = [...clock.pending()].map(([label, count]) => `${count} x ${label}`);
    throw new Error(`timers left after the end: ${labels.join(', ')}`, { cause: error });
  }
}

/** The state of the cluster, for finding the cause of a hang. */
export function describe({ clock, coordinator, workers, reduce, reducers }: Simulation): string {
  const state = coordinator.conductor?.shell.state;
  const records = [...(state?.workers.values() ?? [])].map(
    ({ name, state: mode, leases, unanswered }) => `${name} ${mode} ${leases.size} leases ${unanswered.size} unanswered`,
  );
  const machines = [...workers, ...reducers].map(
    ({ name, running, host }) => `${name} ${running ? (host.frozen ? 'frozen' : 'up') : 'down'}`,
  );
  return [
    `at ${clock.nowMs} ms, coordinator ${coordinator.running ? 'up' : 'down'}, all-reduce ${reduce ? (reduce.running ? 'up' : 'down') : 'inside'}`,
    `round ${state?.round} ${state?.phase}, paused by ${[...(state?.pausedBy ?? [])].join() || 'nobody'}, ${state?.uncovered.size} units uncovered`,
    `records: ${records.join(', ')}`,
    `machines: ${machines.join(', ')}`,
  ].join('\n');
}

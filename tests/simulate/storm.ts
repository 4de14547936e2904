/** A run under many faults, whose kinds, times and order follow from a seed. */
import type { TrainingConfig } from '@troupe/protocol';
import type { Truth } from './audit.js';
import { BROKEN_PROMISES, FAULTS, possibleIn, type Cluster, type Fault } from './faults.js';
import { createRandom, type Random } from './random.js';
import { createSimulation, describe, type Simulation } from './simulation.js';
import { BY_SPEED, LOCAL, REPRODUCIBLE, REPRODUCIBLE_LOCAL, trainAlone } from './training.js';

/** Faults strike only before this time; after it the cluster must recover by itself. */
const STORM_MS = 120_000;
const MAX_FAULTS = 40;

/** One storm in this number has gradients and snapshots of several chunks, on slow links. */
const LARGE_EVERY = 10;
const LARGE: TrainingConfig['model'] = { ...BY_SPEED.model, hidden: 48 };
/** One storm in this number has local rounds. */
const LOCAL_EVERY = 4;

export interface StormOptions {
  readonly seed: number;
  readonly reproducible: boolean;
  readonly separate: boolean;
  /** Default: none. */
  readonly reducers?: number | undefined;
  /** Whether the workers that reach others also sum for them. */
  readonly peers?: boolean | undefined;
  readonly trace?: ((line: string) => void) | undefined;
  /** Default: chosen by the seed. */
  readonly faults?: readonly Fault[];
  readonly rounds?: number | undefined;
}

/** Results of an undisturbed run, computed once per config. */
const truths = new Map<string, Promise<Truth>>();

export function truthOf(config: TrainingConfig): Promise<Truth> {
  const key = JSON.stringify(config);
  const known = truths.get(key);
  if (known) return known;
  const truth = config.leaseStreams > 0 ? computeInPeace(config) : alone(config);
  truths.set(key, truth);
  return truth;
}

async function alone(config: TrainingConfig): Promise<Truth> {
  return { parameters: await trainAlone(config), tolerance: 1e-6 };
}

async function computeInPeace(config: TrainingConfig): Promise<Truth> {
  const simulation = createSimulation({ seed: 0, config, workers: [4_000] });
  simulation.boot();
  await simulation.finish();
  const { parameters, files } = simulation.audit;
  return { parameters: Array.from({ length: config.rounds + 1 }, (_, round) => parameters.get(round)!), tolerance: 0, files };
}

/** Runs to the end, although the last worker and the coordinator are killed and come back. */
export async function finishDespiteKills(options: Parameters<typeof createSimulation>[0]): Promise<Simulation> {
  const simulation = createSimulation(options);
  const { clock, coordinator } = simulation;
  const last = simulation.workers.at(-1)!;
  simulation.boot();
  clock.after(2_500, 'kill', () => last.crash());
  clock.after(4_000, 'back', () => last.boot());
  clock.after(3_000, 'kill', () => coordinator.crash());
  clock.after(3_500, 'back', coordinator.boot);
  await simulation.finish();
  return simulation;
}

export interface Weathered {
  readonly simulation: Simulation;
  /** The faults that struck it, in order. */
  readonly faults: readonly string[];
}

/** The codecs of reproducible storms take turns. Other storms are compared with sums in float32. */
function codecOf(seed: number): TrainingConfig['codec'] {
  return seed % 2 === 1 ? 'int8' : 'fp16';
}

/** @throws Error with a message that ends with the command for a replay */
export async function weather(options: StormOptions): Promise<Weathered> {
  const { seed, reproducible, separate, reducers = 0, peers = false, rounds = 60 } = options;
  const random = createRandom(seed);
  const local = seed % LOCAL_EVERY === 3;
  const [exactly, bySpeed] = local ? [REPRODUCIBLE_LOCAL, LOCAL] : [REPRODUCIBLE, BY_SPEED];
  const base = reproducible ? { ...exactly, codec: codecOf(seed) } : bySpeed;
  const large = seed % LARGE_EVERY === 0;
  const config = large ? { ...base, rounds: Math.ceil(rounds / 3), model: LARGE } : { ...base, rounds };
  const speeds = Array.from({ length: 2 + Math.floor(random.next() * 4) }, () => 10 ** random.between(1.6, 2.8));
  const truth = await truthOf(config);
  const simulation = createSimulation({
    seed,
    config,
    workers: speeds,
    separate,
    reducers,
    peers,
    truth,
    latencyMs: [0.2, 10 ** random.between(0, 2.3)],
    bytesPerMs: 10 ** random.between(large ? 2 : 0.7, 4),
    trace: options.trace,
  });
  const faults: string[] = [];
  brew(simulation, random.fork('storm'), options.faults ?? chooseFaults(random, { separate, reducers, peers }), faults);
  simulation.boot();
  try {
    await simulation.finish();
    return { simulation, faults };
  } catch (error) {
    const command = `npm run simulate -- --seed ${seed} --rounds ${rounds} ${reproducible ? '--reproducible' : '--by-speed'} ${separate ? '--separate' : '--embedded'} ${peers ? '--peers' : `--reducers ${reducers}`} --trace`;
    const last = faults.slice(-8).join('\n  ');
    throw new Error(`${(error as Error).message}\n${describe(simulation)}\nlast faults:\n  ${last}\nreplay: ${command}`, {
      cause: error,
    });
  }
}

/**
 * A random subset of the kinds: a fault that is in every storm would hide bugs that appear only
 * without it.
 */
function chooseFaults(random: Random, cluster: Cluster): readonly Fault[] {
  const possible = possibleIn(cluster, [...FAULTS, ...BROKEN_PROMISES]);
  const share = random.between(0.1, 0.9);
  const chosen = possible.filter(() => random.next() < share);
  return chosen.length > 0 ? chosen : possible;
}

function brew(simulation: Simulation, random: Random, kinds: readonly Fault[], done: string[]): void {
  const { clock, coordinator } = simulation;
  const meanPauseMs = 10 ** random.between(2.3, 3.6);
  const next = (): void => {
    const ms = -Math.log(1 - random.next()) * meanPauseMs;
    if (clock.nowMs + ms > STORM_MS || done.length >= MAX_FAULTS) return;
    clock.after(ms, 'storm', () => {
      if (coordinator.ended) return;
      const what = random.pick(kinds).strike(simulation, random);
      if (what !== undefined) {
        done.push(`${clock.nowMs.toFixed(0)} ms: ${what}`);
        simulation.trace('FAULT', () => what);
        simulation.touch();
      }
      next();
    });
  };
  next();
}

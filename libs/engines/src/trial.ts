/** Measures how fast engines are on a problem of the given model, and which is the fastest. */
import {
  createLayout,
  EngineError,
  initialParameters,
  parameterCount,
  relativeDifference,
  stateSize,
  type Clock,
  type Engine,
  type EngineInfo,
  type EngineLimits,
  type ModelConfig,
  type Problem,
} from '@troupe/model';

const MAX_STREAMS = 64;

/**
 * A problem of this model that takes about `operations` floating point operations: as many streams
 * as the real problem (at most 64), but fewer time steps.
 */
export function trialProblem(config: ModelConfig, { maxStreams, maxWindow }: EngineLimits, operations = 2e9): Problem {
  const streams = Math.min(maxStreams, MAX_STREAMS);
  const steps = Math.floor(operations / (6 * parameterCount(config) * streams));
  const window = Math.min(maxWindow, Math.max(2, steps));
  return {
    config,
    limits: { maxStreams: streams, maxWindow: window },
    parameters: initialParameters(config, createLayout(config), 1),
    batch: {
      streams,
      window,
      tokens: Uint16Array.from({ length: streams * (window + 1) }, (_, i) => (i * 7) % config.vocabulary),
      states: new Float32Array(streams * stateSize(config)),
      dropout: { seed: 1, round: 0, streams: Uint32Array.from({ length: streams }, (_, i) => i) },
    },
  };
}

/** One engine in a race. */
export interface Runner<Name extends string = string> {
  readonly name: Name;
  open(config: ModelConfig, limits: EngineLimits): Promise<Engine>;
}

export interface RaceOptions {
  readonly nowMs: Clock;
  /**
   * Measuring time of all runners together, ms, without opening and the first two gradients of
   * each.
   */
  readonly budgetMs: number;
  /** The runner whose gradient the others must match, to within half precision. */
  readonly trusted?: string;
}

export type RaceResult<Name extends string = string> =
  | { readonly name: Name; readonly info: EngineInfo; readonly charsPerSecond: number }
  | { readonly name: Name; readonly failure: EngineError };

interface Entrant<Name extends string = string> {
  readonly name: Name;
  readonly engine: Engine;
  readonly gradient: Float32Array;
  shortestMs: number;
  failure: EngineError | undefined;
}

/**
 * The runners compute the same gradient in turns, so that other work on the machine affects all
 * alike, and the shortest time of each counts. A runner that fails or computes a wrong gradient is
 * out.
 * @returns the fastest first, those that failed last
 */
export async function race<Name extends string>(
  problem: Problem,
  runners: readonly Runner<Name>[],
  options: RaceOptions,
): Promise<RaceResult<Name>[]> {
  const entrants: Entrant<Name>[] = [];
  const failed: RaceResult<Name>[] = [];
  try {
    for (const runner of runners) {
      try {
        entrants.push(await enter(problem, runner));
      } catch (error) {
        failed.push({ name: runner.name, failure: engineError(error) });
      }
    }
    compare(entrants, options.trusted);
    await takeTurns(problem, entrants, options);
    return [...ranking(problem, entrants), ...failed];
  } finally {
    for (const { engine } of entrants) engine.dispose();
  }
}

/**
 * The first gradient is not timed, because it compiles code and touches memory for the first time.
 */
async function enter<Name extends string>(
  { config, limits, parameters, batch }: Problem,
  { name, open }: Runner<Name>,
): Promise<Entrant<Name>> {
  const engine = await open(config, limits);
  try {
    engine.setParameters(parameters);
    const { gradient } = await engine.gradient(batch);
    return { name, engine, gradient: gradient.slice(), shortestMs: Infinity, failure: undefined };
  } catch (error) {
    engine.dispose();
    throw error;
  }
}

/**
 * Greatest relative difference, in the Euclidean norm; float16 with float32 sums stays far below
 * it.
 */
const TOLERANCE = 0.05;

function compare(entrants: readonly Entrant[], trusted: string | undefined): void {
  const expected = entrants.find(({ name }) => name === trusted)?.gradient;
  if (!expected) return;
  for (const entrant of entrants) {
    if (relativeDifference(entrant.gradient, expected) <= TOLERANCE) continue;
    const { name } = entrant;
    entrant.failure = new EngineError(
      'unsupported',
      `${name} computes a different gradient from ${trusted} on this device`,
      'choose another engine; a newer driver may help',
    );
  }
}

async function takeTurns({ batch }: Problem, entrants: readonly Entrant[], { nowMs, budgetMs }: RaceOptions): Promise<void> {
  const startMs = nowMs();
  do {
    for (const entrant of entrants) {
      if (entrant.failure) continue;
      const beforeMs = nowMs();
      try {
        await entrant.engine.gradient(batch);
        entrant.shortestMs = Math.min(entrant.shortestMs, nowMs() - beforeMs);
      } catch (error) {
        entrant.failure = engineError(error);
      }
    }
  } while (nowMs() - startMs < budgetMs && entrants.some(({ failure }) => !failure));
}

function ranking<Name extends string>({ batch }: Problem, entrants: readonly Entrant<Name>[]): RaceResult<Name>[] {
  const characters = batch.streams * batch.window;
  return [...entrants]
    .sort((a, b) => Number(a.failure !== undefined) - Number(b.failure !== undefined) || a.shortestMs - b.shortestMs)
    .map(({ name, engine, shortestMs, failure }) =>
      failure
        ? { name, failure }
        : { name, info: engine.info, charsPerSecond: (characters * 1000) / Math.max(shortestMs, 0.001) },
    );
}

/**
 * An error that is no EngineError comes from a library or a driver: this engine does not work
 * here, but others may.
 */
export function engineError(error: unknown): EngineError {
  if (error instanceof EngineError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new EngineError('unsupported', `it failed: ${message}`, 'choose another engine', { cause: error });
}

import { EngineError, type Engine, type EngineInfo, type EngineLimits, type ModelConfig } from '@troupe/model';
import { GPU_ENGINES, type EngineChoice, type EngineName } from '../names.js';
import { REPRODUCIBLE_ENGINE, requireReproducible } from '../reproducible.js';
import { engineError, race, trialProblem } from '../trial.js';
import { pairsVectors } from './cpu.js';
import { mayHaveGpu } from './gpu.js';
import type { SourceOptions } from './source.js';
import { SOURCES } from './sources.js';

export interface OpenOptions extends SourceOptions {
  /** Among which `auto` chooses, best guess first; absent: all that may be the fastest. */
  readonly among?: readonly EngineName[];
  /** Engines, as EngineInfo.name has them, that `auto` leaves out while others are there: their device was lost. */
  readonly not?: readonly string[];
  /** False: `auto` and `tfjs` leave GPUs to others. */
  readonly gpu?: boolean;
  /** Only what gives the same bits on every machine, whatever may be faster: see REPRODUCIBLE_ENGINE. */
  readonly reproducible?: boolean;
  /** Told in a line what was chosen and why, unless it was chosen by name. */
  readonly log?: (line: string) => void;
}

/** Those that may be the fastest; where nothing is measured, the first that is there is taken. */
const CANDIDATES: readonly EngineName[] = ['native', 'wasm', 'webgpu', 'tfjs-node-gpu'];
/** The best TensorFlow.js there is, best first. */
const TFJS: readonly EngineName[] = ['tfjs-node-gpu', 'tfjs-webgpu', 'tfjs-node', 'tfjs-wasm', 'tfjs-cpu'];

/** Measuring time of `auto` in all, ms; opening the candidates takes about as long again. */
const TRIAL_MS = 600;

/**
 * The engine of that name, ready for this model.
 * @throws EngineError `absent` with the command that brings it, `unsupported` for a choice that is not reproducible where that is asked
 * for, and what the engines throw
 */
export async function openEngine(
  choice: EngineChoice,
  config: ModelConfig,
  limits: EngineLimits,
  options: OpenOptions = {},
): Promise<Engine> {
  if (options.reproducible) return openReproducible(choice, config, limits, options);
  if (choice === 'auto') return openFastest(config, limits, options);
  const name = choice === 'tfjs' ? await bestTfjs(allowed(TFJS, options)) : choice;
  await SOURCES[name].find();
  return SOURCES[name].open(config, limits, options);
}

/** More threads than one are left out rather than refused: the gradient is right without them, only later. */
async function openReproducible(
  choice: EngineChoice,
  config: ModelConfig,
  limits: EngineLimits,
  options: OpenOptions,
): Promise<Engine> {
  requireReproducible(choice);
  const { name, ...variants } = REPRODUCIBLE_ENGINE;
  const { threads = 0, threadScript } = options;
  await SOURCES[name].find();
  const variant = (await pairsVectors()) ? variants.wide : variants.variant;
  const one = { variant, threads: Math.min(threads, 1), ...(threadScript && { threadScript }) };
  const engine = await SOURCES[name].open(config, limits, one);
  const idle =
    threads > 1 ? `; one thread of ${threads}, as their number would show in the bits: start more workers instead` : '';
  options.log?.(`${name} ${variant} on ${engine.info.device}, with which every worker of a reproducible run computes${idle}`);
  return engine;
}

function allowed(names: readonly EngineName[], { gpu = true }: OpenOptions): readonly EngineName[] {
  return gpu ? names : names.filter((name) => !GPU_ENGINES.includes(name));
}

async function bestTfjs(names: readonly EngineName[]): Promise<EngineName> {
  const failures: unknown[] = [];
  for (const name of names) {
    try {
      await findHardware(name);
      return name;
    } catch (error) {
      failures.push(error);
    }
  }
  throw failures.at(-1);
}

/** @throws EngineError where the engine is absent or would run on an imitated GPU, which no one should get unasked */
async function findHardware(name: EngineName): Promise<void> {
  if ((name === 'webgpu' || name === 'tfjs-webgpu') && !mayHaveGpu()) {
    throw new EngineError('absent', 'this machine has no GPU', 'choose an engine for the processor');
  }
  const { software, device } = await SOURCES[name].find();
  if (software) {
    throw new EngineError('unsupported', `${device} is no hardware`, 'choose an engine for the processor');
  }
}

/** A candidate that may be opened, and what the trial found. */
interface Ranked {
  readonly name: EngineName;
  readonly variant?: string;
  readonly charsPerSecond?: number;
}

interface Ranking {
  /** Fastest first. */
  readonly ranked: readonly Ranked[];
  /** Why the others are not among them, by name. */
  readonly others: ReadonlyMap<EngineName, EngineError>;
}

async function openFastest(config: ModelConfig, limits: EngineLimits, options: OpenOptions): Promise<Engine> {
  const among = allowed(options.among ?? CANDIDATES, options);
  const isAvoided = (name: EngineName): boolean => options.not?.includes(name.replace(/^tfjs-.*/, 'tfjs')) === true;
  let failure: EngineError | undefined;
  // A driver that has lost its device may hang when it is asked again: only when nothing else is left.
  for (const names of [among.filter((name) => !isAvoided(name)), among.filter(isAvoided)]) {
    const found = await findCandidates(names);
    const ranking = options.nowMs && found.ranked.length > 1 ? await tryOut(found, config, limits, options) : found;
    const opened = await openFirst(ranking, config, limits, options);
    if (opened && !(opened instanceof EngineError)) return opened;
    failure ??= opened;
  }
  throw failure ?? new EngineError('absent', 'no engine was named', 'name at least one engine');
}

/** The first of the ranking that opens, or why none does; undefined where the ranking names none. */
async function openFirst(
  { ranked, others }: Ranking,
  config: ModelConfig,
  limits: EngineLimits,
  options: OpenOptions,
): Promise<Engine | EngineError | undefined> {
  let failure: EngineError | undefined;
  for (const choice of ranked) {
    try {
      const variant = choice.variant === undefined ? {} : { variant: choice.variant };
      const engine = await SOURCES[choice.name].open(config, limits, { ...options, ...variant });
      options.log?.(explain(engine.info, choice, ranked, others));
      return engine;
    } catch (error) {
      // A model of which a trial fits may be too large in earnest; the next may hold it.
      failure ??= engineError(error);
    }
  }
  return failure ?? [...others.values()][0];
}

async function findCandidates(among: readonly EngineName[]): Promise<Ranking> {
  const ranked: Ranked[] = [];
  const others = new Map<EngineName, EngineError>();
  for (const name of among) {
    try {
      await findHardware(name);
      ranked.push({ name });
    } catch (error) {
      others.set(name, engineError(error));
    }
  }
  return { ranked, others };
}

async function tryOut(found: Ranking, config: ModelConfig, limits: EngineLimits, options: OpenOptions): Promise<Ranking> {
  const runners = found.ranked.map(({ name }) => ({
    name,
    open: (small: ModelConfig, few: EngineLimits) => SOURCES[name].open(small, few, options),
  }));
  const results = await race(trialProblem(config, limits), runners, {
    nowMs: options.nowMs!,
    budgetMs: TRIAL_MS,
    trusted: 'wasm',
  });
  const others = new Map(found.others);
  const ranked = results.flatMap((result) => {
    if ('failure' in result) others.set(result.name, result.failure);
    return 'failure' in result ? [] : [{ ...result, variant: result.info.variant }];
  });
  return { ranked, others };
}

/** "native avx512 on cpu, 52,000 chars/s in a short trial; wasm 18,000; webgpu: this machine has no GPU". */
function explain(
  { name, variant, device }: EngineInfo,
  choice: Ranked,
  ranked: readonly Ranked[],
  others: Ranking['others'],
): string {
  const speed = (charsPerSecond: number): string => Math.round(charsPerSecond).toLocaleString('en');
  const measured = choice.charsPerSecond === undefined ? '' : `, ${speed(choice.charsPerSecond)} chars/s in a short trial`;
  const slower = ranked.flatMap(({ name: other, charsPerSecond }) =>
    other === choice.name || charsPerSecond === undefined ? [] : [`${other} ${speed(charsPerSecond)}`],
  );
  const absent = [...others].map(([other, { message }]) => `${other}: ${message}`);
  return [`${name} ${variant} on ${device}${measured}`, ...slower, ...absent].join('; ');
}

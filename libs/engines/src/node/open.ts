import { EngineError, type Engine, type EngineInfo, type EngineLimits, type ModelConfig } from '@troupe/model';
import { GPU_ENGINES, type EngineChoice, type EngineName } from '../names.js';
import { REPRODUCIBLE_ENGINE, requireReproducible } from '../reproducible.js';
import { engineError, race, trialProblem } from '../trial.js';
import { pairsVectors } from './cpu.js';
import { mayHaveGpu } from './gpu.js';
import type { SourceOptions } from './source.js';
import { SOURCES } from './sources.js';

export interface OpenOptions extends SourceOptions {
  /** Engines that `auto` chooses from, best guess first. Absent: all that may be the fastest. */
  readonly among?: readonly EngineName[];
  /**
   * Engines, by EngineInfo.name, whose device was lost: `auto` takes them only if it finds no
   * other.
   */
  readonly not?: readonly string[];
  /** False: `auto` and `tfjs` use no GPU. */
  readonly gpu?: boolean;
  /**
   * Take only the engine that gives the same bits on every machine, even if others are faster; see
   * REPRODUCIBLE_ENGINE.
   */
  readonly reproducible?: boolean;
  /** Receives a line that says what was chosen and why, unless it was chosen by name. */
  readonly log?: (line: string) => void;
}

/** Engines that may be the fastest. If nothing is measured, the first one present is taken. */
const CANDIDATES: readonly EngineName[] = ['native', 'wasm', 'webgpu', 'tfjs-node-gpu'];
/** Kinds of TensorFlow.js, best first. */
const TFJS: readonly EngineName[] = ['tfjs-node-gpu', 'tfjs-webgpu', 'tfjs-node', 'tfjs-wasm', 'tfjs-cpu'];

/** Total measuring time of `auto`, ms; opening the candidates takes about as long again. */
const TRIAL_MS = 600;

/**
 * The engine of that name, ready for this model.
 * @throws EngineError `absent` with the command that installs it, `unsupported` for a choice that
 * is not reproducible although `reproducible` is set, and what the engines throw
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

/**
 * Threads beyond the first are left idle rather than refused: without them the gradient is right,
 * only later.
 */
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
    threads > 1 ? `; one thread of ${threads}, because their number would change the bits: start more workers instead` : '';
  options.log?.(`${name} ${variant} on ${engine.info.device}, the engine of every worker in a reproducible run${idle}`);
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

/**
 * @throws EngineError if the engine is absent or would run on a software-emulated GPU, which only
 * tests should use
 */
async function findHardware(name: EngineName): Promise<void> {
  if ((name === 'webgpu' || name === 'tfjs-webgpu') && !mayHaveGpu()) {
    throw new EngineError('absent', 'this machine has no GPU', 'choose an engine for the CPU');
  }
  const { software, device } = await SOURCES[name].find();
  if (software) {
    throw new EngineError('unsupported', `${device} is a software-emulated GPU`, 'choose an engine for the CPU');
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
  /** Why the others are not ranked, by name. */
  readonly others: ReadonlyMap<EngineName, EngineError>;
}

async function openFastest(config: ModelConfig, limits: EngineLimits, options: OpenOptions): Promise<Engine> {
  const among = allowed(options.among ?? CANDIDATES, options);
  const isAvoided = (name: EngineName): boolean => options.not?.includes(name.replace(/^tfjs-.*/, 'tfjs')) === true;
  let failure: EngineError | undefined;
  // A driver that has lost its device may hang when asked again, so those engines are tried only
  // when no other is left.
  for (const names of [among.filter((name) => !isAvoided(name)), among.filter(isAvoided)]) {
    const found = await findCandidates(names);
    const ranking = options.nowMs && found.ranked.length > 1 ? await tryOut(found, config, limits, options) : found;
    const opened = await openFirst(ranking, config, limits, options);
    if (opened && !(opened instanceof EngineError)) return opened;
    failure ??= opened;
  }
  throw failure ?? new EngineError('absent', 'the list of engines is empty', 'name at least one engine');
}

/**
 * The first engine of the ranking that opens, or why none does; undefined if the ranking is empty.
 */
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
      // The trial is smaller than the run, so the whole model may still be too large here; the
      // next engine may hold it.
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

/**
 * "native avx512 on cpu, 52,000 chars/s in a short trial; wasm 18,000; webgpu: this machine has no
 * GPU".
 */
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

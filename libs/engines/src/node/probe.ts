import type { Clock, ModelConfig } from '@troupe/model';
import { ENGINE_NAMES, type EngineName } from '../names.js';
import { engineError, race, trialProblem } from '../trial.js';
import { SOURCES } from './sources.js';

export type EngineReport =
  | {
      readonly name: EngineName;
      readonly present: true;
      readonly device: string;
      /** Undefined if it was not measured. */
      readonly variant: string | undefined;
      readonly features: readonly string[];
      /** A software-emulated GPU: for tests only. */
      readonly software: boolean;
      /** Speed of gradients on one core or one GPU; undefined if it was not measured. */
      readonly charsPerSecond: number | undefined;
    }
  | {
      readonly name: EngineName;
      readonly present: false;
      readonly why: string;
      /** What to do about it; usually a command. */
      readonly remedy: string;
    };

export interface ProbeOptions {
  readonly nowMs: Clock;
  /** The model to measure with. Absent: an LSTM of 2 layers of 256 units. */
  readonly config?: ModelConfig;
  readonly streams?: number;
  /** The engines to probe. Absent: all. */
  readonly engines?: readonly EngineName[];
}

const USUAL: ModelConfig = { cell: 'lstm', layers: 2, hidden: 256, vocabulary: 65 };
const STREAMS = 16;
const WINDOW = 64;
/** Measuring time of each engine, ms. */
const EACH_MS = 500;
/**
 * Floating point operations of a gradient: for most engines, and for those that are hundreds of
 * times slower.
 */
const OPERATIONS = 1e9;
const FEW_OPERATIONS = 5e7;
const SLOW: ReadonlySet<EngineName> = new Set(['reference', 'tfjs-cpu']);

/**
 * Which engines this machine has and how fast they are, one after the other. An engine that fails
 * is reported as absent, with the reason.
 */
export async function probeEngines(options: ProbeOptions): Promise<EngineReport[]> {
  const reports: EngineReport[] = [];
  for (const name of options.engines ?? ENGINE_NAMES) reports.push(await probe(name, options));
  return reports;
}

async function probe(name: EngineName, { nowMs, config = USUAL, streams = STREAMS }: ProbeOptions): Promise<EngineReport> {
  try {
    const { device, features, software } = await SOURCES[name].find();
    if (software) return { name, present: true, device, variant: undefined, features, software, charsPerSecond: undefined };
    const limits = { maxStreams: SLOW.has(name) ? 1 : streams, maxWindow: WINDOW };
    const problem = trialProblem(config, limits, SLOW.has(name) ? FEW_OPERATIONS : OPERATIONS);
    const open = SOURCES[name].open;
    const runner = { name, open: (model: ModelConfig, few: typeof limits) => open(model, few, { nowMs }) };
    const [result] = await race(problem, [runner], { nowMs, budgetMs: EACH_MS });
    if ('failure' in result) throw result.failure;
    const { info, charsPerSecond } = result;
    return { name, present: true, device: info.device, variant: info.variant, features, software, charsPerSecond };
  } catch (error) {
    const { message: why, remedy } = engineError(error);
    return { name, present: false, why, remedy };
  }
}

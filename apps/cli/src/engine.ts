/** Engines as commands open them; loaded only where one is needed, since the help of a command need not wait for kernels. */
import type { EngineChoice } from '@troupe/engines';
import { openEngine, probeEngines } from '@troupe/engines/node';
import type { Engine, EngineLimits, ModelConfig } from '@troupe/model';

export { probeEngines };

/**
 * An engine that takes the same variant every time, so that a seed gives the same text and a checkpoint the same loss to the last bit;
 * only `auto` measures.
 * @throws EngineError
 */
export function openSteadyEngine(choice: EngineChoice, model: ModelConfig, limits: EngineLimits): Promise<Engine> {
  return openEngine(choice, model, limits, choice === 'auto' ? { nowMs: () => performance.now() } : {});
}

/**
 * The fastest variant of an engine, on several threads where more than one is asked for.
 * @throws EngineError
 */
export function openFastEngine(
  choice: EngineChoice,
  model: ModelConfig,
  limits: EngineLimits,
  { threads, log }: { readonly threads: number; readonly log: (line: string) => void },
): Promise<Engine> {
  return openEngine(choice, model, limits, { threads: threads > 1 ? threads : 0, log, nowMs: () => performance.now() });
}

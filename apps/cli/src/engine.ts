/**
 * Opens engines for commands. Commands import it only when they compute, so that their help need
 * not load the kernels.
 */
import { REPRODUCIBLE_ENGINE, type EngineChoice } from '@troupe/engines';
import { openEngine, probeEngines } from '@troupe/engines/node';
import type { Engine, EngineLimits, ModelConfig } from '@troupe/model';

export { probeEngines };

/**
 * An engine with the same variant every time, so that a seed always gives the same text and a
 * checkpoint the same loss, to the last bit. Only `auto` measures.
 * @throws EngineError
 */
export function openSteadyEngine(choice: EngineChoice, model: ModelConfig, limits: EngineLimits): Promise<Engine> {
  return openEngine(choice, model, limits, choice === 'auto' ? { nowMs: () => performance.now() } : {});
}

/**
 * An engine for text that a seed gives again: `wasm` computes the same bits on every machine, as the
 * page of an exported model does. Other engines are steady on this machine.
 * @throws EngineError
 */
export function openPortableEngine(choice: EngineChoice, model: ModelConfig, limits: EngineLimits): Promise<Engine> {
  if (choice !== REPRODUCIBLE_ENGINE.name) return openSteadyEngine(choice, model, limits);
  return openEngine(choice, model, limits, { reproducible: true });
}

/**
 * The fastest variant of an engine, with `threads` threads if more than one.
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

/** The reference engine in simulated time, on a machine that can fail. */
import { EngineError, type Engine, type EngineLimits, type ModelConfig } from '@troupe/model';
import { createReferenceEngine } from '@troupe/model/reference';
import type { Host } from './host.js';

/** What a machine is like now; whoever disturbs it writes here. */
export interface Machine {
  charsPerSecond: number;
  /** So many times slower than that. */
  slowness: number;
  /** Of the next gradients so many are lost with their device. */
  deviceLosses: number;
  /** Of the next gradients so many hold a NaN that the engine does not see. */
  poison: number;
  /** How many rounds were committed when it was poisoned last. */
  poisonedAfter: number;
}

export function createSimulatedEngine(config: ModelConfig, limits: EngineLimits, host: Host, machine: Machine): Engine {
  const engine = createReferenceEngine(config, limits);
  return {
    info: engine.info,
    limits,
    setParameters: (parameters) => engine.setParameters(parameters),
    evaluate: (batch) => engine.evaluate(batch),
    step: (ids, states) => engine.step(ids, states),
    dispose: () => engine.dispose(),
    async gradient(batch) {
      const ms = (batch.streams * batch.window * 1000 * machine.slowness) / machine.charsPerSecond;
      await host.sleep(ms);
      if (machine.deviceLosses > 0) {
        machine.deviceLosses--;
        throw new EngineError('device_lost', 'the device fell off the bus', 'go on with another engine');
      }
      const result = await engine.gradient(batch);
      if (machine.poison > 0) {
        machine.poison--;
        result.gradient[result.gradient.length >> 1] = NaN;
      }
      return result;
    },
  };
}

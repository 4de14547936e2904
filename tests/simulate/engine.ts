/** An engine in simulated time, on a machine that can fail. */
import {
  createLayout,
  EngineError,
  stateSize,
  type Batch,
  type Engine,
  type EngineLimits,
  type Gradient,
  type ModelConfig,
} from '@troupe/model';
import type { Host } from './host.js';

/** The current state of a machine; faults change it. */
export interface Machine {
  charsPerSecond: number;
  /** How many times slower than that it is now. */
  slowness: number;
  /** This many of the next gradients lose the device. */
  deviceLosses: number;
  /** This many of the next gradients contain a NaN that the engine does not notice. */
  poison: number;
  /** Rounds committed when `poison` was last set. */
  poisonedAfter: number;
  /** Its owner changes results before they are sent. */
  lie: Lie | undefined;
}

/** @param computed how many gradients this machine has computed */
export type Lie = (result: Gradient, batch: Batch, computed: number) => Gradient;

export type CreateEngine = (config: ModelConfig, limits: EngineLimits) => Engine;

/** @param engine which takes no simulated time by itself */
export function createSimulatedEngine(engine: Engine, host: Host, machine: Machine): Engine {
  let computed = 0;
  return {
    info: engine.info,
    limits: engine.limits,
    setParameters: (parameters) => engine.setParameters(parameters),
    evaluate: (batch) => engine.evaluate(batch),
    step: (ids, states) => engine.step(ids, states),
    dispose: () => engine.dispose(),
    async gradient(batch) {
      const ms = (batch.streams * batch.window * 1000 * machine.slowness) / machine.charsPerSecond;
      await host.sleep(ms);
      if (machine.deviceLosses > 0) {
        machine.deviceLosses--;
        throw new EngineError('device_lost', 'the device fell off the bus', 'Use another engine.');
      }
      const result = await engine.gradient(batch);
      if (machine.poison > 0) {
        machine.poison--;
        result.gradient[result.gradient.length >> 1] = NaN;
      }
      return machine.lie ? machine.lie(result, batch, computed++) : result;
    },
  };
}

/** Computes nothing, so that large models take no real time: each gradient is the same, and so are the end states. */
export function createPreparedEngine(config: ModelConfig, limits: EngineLimits): Engine {
  const gradient = new Float32Array(createLayout(config).size).map((_, i) => Math.sin(i));
  const answer = async ({ streams, window }: Pick<Batch, 'streams' | 'window'>) => {
    const tokens = streams * window;
    const endStates = new Float32Array(streams * stateSize(config));
    return { gradient, endStates, tokens, lossSum: tokens * Math.log(config.vocabulary) };
  };
  return {
    info: { name: 'wasm', variant: 'prepared', device: 'none' },
    limits,
    setParameters: () => undefined,
    gradient: answer,
    evaluate: answer,
    step: () => Promise.reject(new Error('a prepared engine samples nothing')),
    dispose: () => undefined,
  };
}

/** Opens engines for a run and measures their speed. */
import { dropoutKeyOf, stateSize, type Batch, type Engine } from '@troupe/model';
import { unitStreams, type TrainingConfig } from '@troupe/protocol';
import { createEngineSlot, type EngineSlot } from './engine-slot.js';
import type { WorkerOptions } from './ports.js';

/** Enough for engines of few threads. */
const FEW_STREAMS = 16;
/** With fewer, an engine of many threads or a GPU leaves much of itself idle. */
const MANY_STREAMS = 64;
/** When few streams take no longer than this, many are measured: the worker should be ready within seconds. */
const CHEAP_MS = 250;

/** @param parameters [P], to measure with. @throws EngineError */
export function openEngineSlot(
  config: TrainingConfig,
  parameters: Float32Array,
  { ports, signal }: WorkerOptions,
): Promise<EngineSlot> {
  const limits = { maxStreams: mostStreams(config), maxWindow: config.window };
  return createEngineSlot({
    create: (not) => ports.createEngine(config.model, limits, { not, reproducible: config.leaseStreams > 0 }),
    measure: (engine) => measure(engine, config, parameters, { ports, signal }),
    onLost: (engine, { message }) => ports.log({ kind: 'engine_lost', engine, reason: message }),
    nowMs: () => ports.nowMs(),
    sleep: (ms, until) => ports.sleep(ms, until),
    signal,
  });
}

/** The largest lease of this run, in streams. */
function mostStreams(config: TrainingConfig): number {
  return unitStreams(config) || config.streams;
}

/** @returns characters per second, from one timed window of some streams */
async function measure(
  engine: Engine,
  config: TrainingConfig,
  parameters: Float32Array,
  { ports, signal }: Pick<WorkerOptions, 'ports' | 'signal'>,
): Promise<number> {
  engine.setParameters(parameters);
  const known = ports.knownSpeed?.(engine);
  if (known !== undefined) return known;
  const timed = async (streams: number): Promise<number> => {
    const batch = sampleBatch(config, streams);
    // An engine may block the event loop for seconds; the links get their turn between two calls.
    await ports.sleep(0, signal);
    const startMs = ports.nowMs();
    await engine.gradient(batch);
    return ports.nowMs() - startMs;
  };
  // Engines compile and allocate at the first window, and some again at the first window of more streams.
  const warm = async (streams: number): Promise<number> => {
    await timed(streams);
    return timed(streams);
  };
  const most = mostStreams(config);
  let streams = Math.min(most, FEW_STREAMS);
  let ms = await warm(streams);
  if (ms <= CHEAP_MS && most > streams) {
    streams = Math.min(most, MANY_STREAMS);
    ms = await warm(streams);
  }
  return (streams * config.window * 1000) / Math.max(ms, 0.1);
}

function sampleBatch(config: TrainingConfig, streams: number): Batch {
  const { window, model } = config;
  const tokens = new Uint16Array(streams * (window + 1)).map((_, i) => (i * 7) % model.vocabulary);
  const numbers = Array.from({ length: streams }, (_, stream) => stream);
  return {
    streams,
    window,
    tokens,
    states: new Float32Array(streams * stateSize(model)),
    ...dropoutKeyOf(model, { seed: config.seed, round: 0, streams: numbers }),
  };
}

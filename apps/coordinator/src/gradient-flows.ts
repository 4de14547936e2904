/** Has the gradient's way back through time computed now and then, in the side thread. */
import type { Training } from '@troupe/conductor';
import type { Batch } from '@troupe/model';
import type { GradientFlow } from '@troupe/run';
import type { SideThread } from './side-jobs.js';

const MOST_STREAMS = 4;
/** Multiplications that one of them may take, about: some seconds of the side thread. */
const MOST_PRODUCTS = 2e9;
/** Between two of them at least; and this many times as long as the last one took. */
const REST_MS = 5_000;
const REST_FACTOR = 20;

export interface GradientFlows {
  /** A round was completed, and the next is about to be computed; never waits. */
  onRound(round: number): void;
}

export function createGradientFlows(
  training: Training,
  side: Pick<SideThread, 'flow'>,
  onFlow: (flow: GradientFlow) => void,
  onFailed: (error: Error) => void,
): GradientFlows {
  let notBeforeMs = 0;
  let running = false;
  return {
    onRound(round) {
      if (running || performance.now() < notBeforeMs) return;
      running = true;
      const startedMs = performance.now();
      side
        .flow(training.replica.parameters, batchAt(training, round))
        .then((layers) => onFlow({ round, layers: layers.map((layer) => layer.map((value) => Number(value.toPrecision(4)))) }))
        .catch(onFailed)
        .finally(() => {
          running = false;
          notBeforeMs = performance.now() + Math.max(REST_MS, REST_FACTOR * (performance.now() - startedMs));
        });
    },
  };
}

/** The first streams of the round that comes next, as many as do not take too long. */
function batchAt({ config, layout, streams, states, stateFloats }: Training, round: number): Batch {
  const { window } = config;
  const products = 4 * layout.size * window;
  const count = Math.max(1, Math.min(MOST_STREAMS, config.streams, Math.floor(MOST_PRODUCTS / products)));
  const tokens = new Uint16Array(count * (window + 1));
  const before = new Float32Array(count * stateFloats);
  for (let stream = 0; stream < count; stream++) {
    tokens.set(streams.streamWindow(stream, round), stream * (window + 1));
    before.set(states.of(stream), stream * stateFloats);
  }
  return { streams: count, window, tokens, states: before };
}

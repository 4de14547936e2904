/** Computes now and then how far back in time gradients reach, in the side thread. */
import type { Training } from '@troupe/conductor';
import type { Batch } from '@troupe/model';
import type { GradientFlow } from '@troupe/run';
import type { Board } from './record/board.js';
import type { Report } from './reporter.js';
import type { SideThread } from './side-jobs.js';

const MAX_STREAMS = 4;
/** Approximate number of multiplications for one flow: about a second of the side thread. */
const MAX_PRODUCTS = 5e8;
/** A single stream may take this many times as much. If that is not enough for a model, it gets no flows. */
const MAX_OVERRUN = 20;
/**
 * The pause after a flow: at least this long, and at least this many times the duration of the flow. Where the workers use all cores of
 * this machine, a flow takes its time from them: one per cent of a core.
 */
const REST_MS = 5_000;
const REST_FACTOR = 100;

export interface FlowWatch {
  readonly side: Pick<SideThread, 'flow'>;
  readonly board: Pick<Board, 'watch' | 'noteFlow'>;
  readonly report: Report;
  /** Aborts when the run is over. */
  readonly over: AbortSignal;
}

/** Computes gradient flows during the run and adds them to the board. */
export function watchGradientFlow(training: Training, { side, board, report, over }: FlowWatch): void {
  const failed = ({ message }: Error): void => {
    if (!over.aborted) report({ event: 'note', level: 'warn', text: `gradient flow not computed: ${message}` });
  };
  const flows = createGradientFlows(training, side, (flow) => board.noteFlow(flow), failed);
  board.watch((entry) => {
    if (entry.type === 'round') flows.onRound(entry.point.round);
  });
}

export interface GradientFlows {
  /** Call it when a round is complete and the next one has not begun. Never waits. */
  onRound(round: number): void;
}

export function createGradientFlows(
  training: Training,
  side: Pick<SideThread, 'flow'>,
  onFlow: (flow: GradientFlow) => void,
  onFailed: (error: Error) => void,
): GradientFlows {
  const tooLarge = productsOf(training) > MAX_OVERRUN * MAX_PRODUCTS;
  if (tooLarge) onFailed(new Error('it takes too long for this model and window'));
  const compute = async (round: number): Promise<number[][]> => side.flow(training.replica.parameters, batchAt(training, round));
  let notBeforeMs = 0;
  let running = false;
  return {
    onRound(round) {
      if (tooLarge || running || performance.now() < notBeforeMs) return;
      running = true;
      const startedMs = performance.now();
      compute(round)
        .then((layers) => onFlow({ round, layers: layers.map((layer) => layer.map((value) => Number(value.toPrecision(4)))) }))
        .catch(onFailed)
        .finally(() => {
          running = false;
          notBeforeMs = performance.now() + Math.max(REST_MS, REST_FACTOR * (performance.now() - startedMs));
        });
    },
  };
}

/** Multiplications for one stream. */
function productsOf({ config, layout }: Training): number {
  return 4 * layout.size * config.window;
}

/** The first streams of the next round, as many as the time allows. */
function batchAt(training: Training, round: number): Batch {
  const { config, streams, states, stateFloats } = training;
  const { window } = config;
  const products = productsOf(training);
  const count = Math.max(1, Math.min(MAX_STREAMS, config.streams, Math.floor(MAX_PRODUCTS / products)));
  const tokens = new Uint16Array(count * (window + 1));
  const before = new Float32Array(count * stateFloats);
  for (let stream = 0; stream < count; stream++) {
    tokens.set(streams.streamWindow(stream, round), stream * (window + 1));
    before.set(states.of(stream), stream * stateFloats);
  }
  return { streams: count, window, tokens, states: before };
}

/** Computes along the run how far back in time gradients reach, in the side thread. */
import { batchOf, type Training } from '@troupe/conductor';
import type { GradientFlow } from '@troupe/run';
import type { Board } from './record/board.js';
import type { Report } from './reporter.js';
import type { SideThread } from './side-jobs.js';

const MAX_STREAMS = 4;
/** Approximate number of multiplications for one flow: about a fifth of a second of the side thread. */
const MAX_PRODUCTS = 1e8;
/** A single stream may take this many. If that is not enough for a model, it gets no flows. */
const MAX_STREAM_PRODUCTS = 1e10;
/** Flows are spread evenly over the run, so that runs can be compared at like rounds. */
const FLOWS = 25;
/**
 * Where the workers use all cores of this machine, a flow takes its time from them: one per cent of a core, and this much over
 * the whole run so that short ones have flows as well.
 */
const SHARE = 0.01;
const ALLOWANCE_MS = 2_000;
/**
 * For the cost of a flow, measured on one core of AMD Zen 3. How long one takes says little: the thread has a low priority, and waits where
 * workers use all cores.
 */
const PRODUCTS_PER_MS = 5e5;

export interface FlowWatch {
  readonly side: Pick<SideThread, 'flow'>;
  readonly board: Pick<Board, 'watch' | 'noteFlow'>;
  readonly report: Report;
  /** Aborts when the run is over. */
  readonly over: AbortSignal;
}

/** Computes gradient flows during the run and adds them to the board. */
export function watchGradientFlow(training: Training, { side, board, report, over }: FlowWatch): Pick<GradientFlows, 'settled'> {
  const failed = ({ message }: Error): void => {
    if (!over.aborted) report({ event: 'note', level: 'warn', text: `gradient flow not computed: ${message}` });
  };
  const nowMs = (): number => performance.now();
  const flows = createGradientFlows(training, { side, nowMs, onFlow: (flow) => board.noteFlow(flow), onFailed: failed });
  board.watch((entry) => {
    if (entry.type === 'round') flows.onRound(entry.point.round);
  });
  return flows;
}

export interface GradientFlows {
  /** Call it when a round is complete and the next one has not begun. Never waits. */
  onRound(round: number): void;
  /** Resolves when no flow is being computed. Never rejects. */
  settled(): Promise<void>;
}

export interface FlowPorts {
  readonly side: Pick<SideThread, 'flow'>;
  nowMs(): number;
  onFlow(flow: GradientFlow): void;
  onFailed(error: Error): void;
}

export function createGradientFlows(training: Training, { side, nowMs, onFlow, onFailed }: FlowPorts): GradientFlows {
  const tooLarge = productsOf(training) > MAX_STREAM_PRODUCTS;
  if (tooLarge) onFailed(new Error('it takes too long for this model and window'));
  const { rounds, model } = training.config;
  const state = model?.cell === 'lstm' ? 'hc' : 'h';
  const beganMs = nowMs();
  const streams = streamsOf(training);
  const costMs = (streams.length * productsOf(training)) / PRODUCTS_PER_MS;
  let [count, nextRound] = [0, 0];
  let running: Promise<void> | undefined;
  const compute = async (round: number): Promise<void> => {
    try {
      const layers = await side.flow(training.replica.parameters, batchOf(training, round, streams));
      onFlow({ round, layers: layers.map((layer) => layer.map((value) => Number(value.toPrecision(4)))), state });
    } catch (error) {
      onFailed(error as Error);
    }
    count++;
  };
  const begin = (flow: Promise<void>): void => {
    const mine = flow.then(() => {
      if (running === mine) running = undefined;
    });
    running = mine;
  };
  const isDue = (round: number): boolean => {
    // The last one is what people look at afterwards, and no round waits for it.
    if (round >= rounds) return true;
    const budgetMs = ALLOWANCE_MS * (round / rounds) + SHARE * (nowMs() - beganMs);
    return round >= nextRound && (count === 0 || (count + 1) * costMs <= budgetMs);
  };
  return {
    onRound(round) {
      if (tooLarge || !isDue(round)) return;
      // After the last round the parameters stay, so that flow may wait for the one before it.
      if (running) {
        if (round >= rounds) begin(running.then(() => compute(round)));
        return;
      }
      nextRound = round + Math.max(1, Math.floor(rounds / FLOWS));
      begin(compute(round));
    },
    async settled() {
      while (running) await running;
    },
  };
}

/** Multiplications for one stream. */
function productsOf({ config, layout }: Training): number {
  return 4 * layout.size * config.window;
}

/** The first streams, as many as the time allows. */
function streamsOf(training: Training): readonly number[] {
  const count = Math.max(1, Math.min(MAX_STREAMS, training.config.streams, Math.floor(MAX_PRODUCTS / productsOf(training))));
  return Array.from({ length: count }, (_, stream) => stream);
}

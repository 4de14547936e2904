import { CELL_SHAPES, type Cell, type ModelConfig } from '../../config.js';
import type { EngineLimits } from '../../engine.js';
import { planNetwork, roundUp, type Plan } from '../plan.js';

export interface RecurrentPlan extends Plan {
  /** Padded H and E (0 for one-hot characters). */
  readonly hidden: number;
  readonly embedding: number;
  readonly gates: GateColumns;
  readonly step: StepTile;
}

/**
 * Columns of a row of gates, in blocks of the padded H. The blocks that the input adds to come
 * first, and those that the recurrent product adds to are contiguous too. For that the order of a
 * GRU is n, r, z and, if it resets after the product, q = U_n h + b_hn.
 */
export interface GateColumns {
  /** Blocks per row. */
  readonly blocks: number;
  /** The layer's input adds to blocks 0 .. input - 1. */
  readonly input: number;
  /** First block of the recurrent product, which extends to the last one. */
  readonly recurrentFrom: number;
  /**
   * Block of each of PyTorch's gates, in its order of rows: for weight_ih and bias_ih, and, from
   * recurrentFrom, for weight_hh.
   */
  readonly inputOrder: readonly number[];
  readonly recurrentOrder: readonly number[];
}

const GATE_COLUMNS: Readonly<Record<Cell, GateColumns>> = {
  lstm: { blocks: 4, input: 4, recurrentFrom: 0, inputOrder: [0, 1, 2, 3], recurrentOrder: [0, 1, 2, 3] },
  gru: { blocks: 3, input: 3, recurrentFrom: 0, inputOrder: [1, 2, 0], recurrentOrder: [1, 2, 0] },
  'gru-reset-after': { blocks: 4, input: 3, recurrentFrom: 1, inputOrder: [1, 2, 0], recurrentOrder: [0, 1, 2] },
  'rnn-tanh': { blocks: 1, input: 1, recurrentFrom: 0, inputOrder: [0], recurrentOrder: [0] },
  'rnn-relu': { blocks: 1, input: 1, recurrentFrom: 0, inputOrder: [0], recurrentOrder: [0] },
};

/**
 * How a time step is divided: a workgroup computes `rows` streams x 16 units. Each thread
 * multiplies one slice of the depth for 4 streams x 4 units and then finishes one of those four
 * streams, so there are at least 4 slices; if there is 1 slice, the whole depth, a thread finishes
 * all four.
 */
export interface StepTile {
  /** 4, 8 or 16. */
  readonly rows: number;
  readonly slices: number;
}

export const STEP_UNITS = 16;

/**
 * With fewer workgroups a step leaves a mid-range GPU half idle, and smaller tiles are faster in
 * spite of more loads.
 */
const BUSY_WORKGROUPS = 64;

/**
 * Threads per workgroup of a step: enough to hide the latency of loads, few enough for the
 * reduction's shared memory.
 */
const STEP_THREADS = 128;

function stepTile(hidden: number, streams: number, cooperative: boolean): StepTile {
  const sizes = streams > 8 ? [16, 8] : streams > 4 ? [8, 4] : [4];
  if (!cooperative) return { rows: sizes[0], slices: 1 };
  const columns = hidden / STEP_UNITS;
  const rows = sizes.find((size) => columns * Math.ceil(streams / size) >= BUSY_WORKGROUPS) ?? sizes[sizes.length - 1];
  return { rows, slices: STEP_THREADS / rows };
}

export function planRecurrent(config: ModelConfig, limits: EngineLimits, cooperative: boolean): RecurrentPlan {
  const hidden = roundUp(config.hidden);
  return {
    ...planNetwork(config, limits, cooperative),
    hidden,
    embedding: roundUp(config.embedding ?? 0),
    gates: GATE_COLUMNS[config.cell],
    step: stepTile(hidden, limits.maxStreams, cooperative),
  };
}

/** S. */
export function stateVectors({ config }: Plan): number {
  return CELL_SHAPES[config.cell].stateVectors;
}

import { CELL_SHAPES, type Cell, type ModelConfig } from '../config.js';
import type { EngineLimits } from '../engine.js';

/**
 * How a model lies on the device. Rows of activations are ordered [T, B], so that a time step is one block of rows and a window one
 * matrix. H, V and E are padded to multiples of PAD; padding of weights and states is zero and so is all that follows from it, which
 * leaves the kernels without a check of columns.
 */
export interface Plan {
  readonly config: ModelConfig;
  readonly limits: EngineLimits;
  /** Padded H, V and E (0 for one-hot characters). */
  readonly hidden: number;
  readonly vocabulary: number;
  readonly embedding: number;
  /** B * T at most. */
  readonly rows: number;
  readonly gates: GateColumns;
  readonly step: StepTile;
  /**
   * Threads of a workgroup share loads and sums through shared memory, as suits a GPU. Off for adapters that run on a CPU: there a thread
   * of the shader is a lane or a loop, a barrier costs more than what it spares, and each thread works for itself.
   */
  readonly cooperative: boolean;
}

/**
 * Columns of a row of gates, in blocks of the padded H. What the input adds to stands first and what the recurrent product adds to
 * is one run of blocks too; for that a GRU's order is n, r, z, and, when it resets after the product, q = U_n h + b_hn.
 */
export interface GateColumns {
  /** Blocks kept per row. */
  readonly blocks: number;
  /** Blocks 0..input come from the layer's input. */
  readonly input: number;
  /** Block in which the recurrent product begins; it runs to the last one. */
  readonly recurrentFrom: number;
  /** Block of each of PyTorch's gates, in its order of rows: of weight_ih and bias_ih, and of weight_hh, from recurrentFrom. */
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

/** Depth of a GEMM's tile and width of a step's, in units: no kernel reads past a padded row. */
export const PAD = 16;

/**
 * How a time step is cut: a workgroup computes `rows` streams x 16 units. Each thread multiplies one slice of the depth for 4
 * streams x 4 units and then finishes one stream of those four, which takes at least 4 slices; a thread that has the whole depth, 1
 * slice, finishes all four.
 */
export interface StepTile {
  /** 4, 8 or 16. */
  readonly rows: number;
  readonly slices: number;
}

export const STEP_UNITS = 16;

/** With fewer workgroups than this a step leaves a middling GPU half idle, and smaller tiles pay in spite of more loads. */
const BUSY_WORKGROUPS = 64;

/** Threads of a step's workgroup: enough to hide the latency of loads, few enough for the reduction's shared memory. */
const STEP_THREADS = 128;

function stepTile(hidden: number, streams: number, cooperative: boolean): StepTile {
  const sizes = streams > 8 ? [16, 8] : streams > 4 ? [8, 4] : [4];
  if (!cooperative) return { rows: sizes[0], slices: 1 };
  const columns = hidden / STEP_UNITS;
  const rows = sizes.find((size) => columns * Math.ceil(streams / size) >= BUSY_WORKGROUPS) ?? sizes[sizes.length - 1];
  return { rows, slices: STEP_THREADS / rows };
}

export function planModel(config: ModelConfig, limits: EngineLimits, cooperative: boolean): Plan {
  const hidden = roundUp(config.hidden);
  return {
    config,
    limits,
    hidden,
    vocabulary: roundUp(config.vocabulary),
    embedding: roundUp(config.embedding ?? 0),
    rows: limits.maxStreams * limits.maxWindow,
    gates: GATE_COLUMNS[config.cell],
    step: stepTile(hidden, limits.maxStreams, cooperative),
    cooperative,
  };
}

/** S. */
export function stateVectors({ config }: Plan): number {
  return CELL_SHAPES[config.cell].stateVectors;
}

export function roundUp(value: number, multiple = PAD): number {
  return Math.ceil(value / multiple) * multiple;
}

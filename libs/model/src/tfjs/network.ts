import type { ModelConfig } from '../config.js';
import { tfjsCells, type Back, type CellGradient, type CellStep, type GateSums, type TfjsCell } from './cells.js';
import type { Characters } from './characters.js';
import { normalize, type NormTrace } from './norm.js';
import type { Matrix, Ops, Rank, Rows } from './ops.js';
import type { Affine, GroupWeights, LayerWeights, Weights } from './weights.js';

/**
 * Time-major throughout: a matrix over a window has a row for each time step and stream, [T*B, N].
 */
export interface Network {
  readonly ops: Ops;
  readonly config: ModelConfig;
  readonly weights: Weights;
}

export interface LayerTrace {
  /** [T*B, I], in layers above the first: the output of the layer below after dropout. */
  readonly input: Matrix | undefined;
  /** T + 1 times S matrices [B, H]; number t is the state before time step t. */
  readonly states: readonly (readonly Matrix[])[];
  /** One per time step; empty if no backward pass follows. */
  readonly steps: readonly CellStep[];
  /**
   * The layer's output, [T*B, H]: h of every time step, normalised if the model has layer
   * normalisation.
   */
  readonly output: Matrix;
  readonly norm: NormTrace | undefined;
}

export interface ForwardOptions {
  /** Keep what a backward pass needs. */
  readonly trains: boolean;
  /** [T*B, H] for each layer whose output is dropped. */
  readonly masks: readonly (Matrix | undefined)[];
}

/** `start`: S matrices [B, H] for each layer. Call it inside a tidy. */
export function forward(
  network: Network,
  characters: Characters,
  T: number,
  start: readonly (readonly Matrix[])[],
  { trains, masks }: ForwardOptions,
): LayerTrace[] {
  const { ops, config, weights } = network;
  const cell = tfjsCells[config.cell];
  const traces: LayerTrace[] = [];
  weights.layers.forEach((layer, k) => {
    const below = traces.at(-1);
    const input = below && dropped(ops, below.output, masks[k - 1]);
    const projected = layer.groups.map(({ tables, inputParts }) => {
      if (!input) return tables.map((table) => characters.lookUp(table));
      return inputParts.map((part) => ops.unstack(affine(ops, input, part), T));
    });
    const { states, steps } = layerForward(ops, cell, layer, projected, start[k], T, trains);
    traces.push({ input, states, steps, ...handedUp(ops, layer, states) });
  });
  return traces;
}

function handedUp(ops: Ops, { norm }: LayerWeights, states: readonly (readonly Matrix[])[]): Pick<LayerTrace, 'output' | 'norm'> {
  const [, ...after] = states.map(([h]) => h);
  const h = ops.tf.concat(after, 0);
  if (!norm) return { output: h, norm: undefined };
  const { output, ...trace } = normalize(ops, h, norm);
  return { output, norm: trace };
}

/** The output layer: output of the last recurrent layer [T*B, H] -> logits [T*B, V]. */
export function logitsOf({ ops, weights }: Network, h: Matrix): Matrix {
  return affine(ops, h, { weight: weights.linearTransposed, bias: weights.linearBias });
}

export function dropped({ tf }: Ops, x: Matrix, mask: Matrix | undefined): Matrix {
  return mask ? tf.mul(x, mask) : x;
}

function affine({ tf }: Ops, x: Matrix, { weight, bias }: Affine): Matrix {
  return bias ? (tf.fused.matMul({ a: x, b: weight, bias }) as Matrix) : tf.matMul(x, weight);
}

/** `projected`: weight_ih x + bias for each group and part. */
function layerForward(
  ops: Ops,
  cell: TfjsCell,
  { groups }: LayerWeights,
  projected: readonly (readonly Rows[])[],
  start: readonly Matrix[],
  T: number,
  trains: boolean,
): Pick<LayerTrace, 'states' | 'steps'> {
  const states: (readonly Matrix[])[] = [start];
  const steps: CellStep[] = [];
  for (let t = 0; t < T; t++) {
    const step = tidied(ops, () => {
      const done = cell.forward(ops, gateSums(ops, groups, projected, t), states[t]);
      return trains ? done : { after: done.after, saved: [] };
    });
    states.push(step.after);
    if (trains) steps.push(step);
  }
  return { states, steps };
}

function gateSums(ops: Ops, groups: readonly GroupWeights[], projected: readonly (readonly Rows[])[], t: number): GateSums {
  const { tf } = ops;
  const gates = (part: Matrix, { hidden }: GroupWeights): Matrix[] => {
    const count = part.shape[1] / hidden.shape[1];
    return count === 1 ? [part] : tf.split(part, count, 1);
  };
  return {
    fromInput: (group) => projected[group].flatMap((rows) => gates(rows(t), groups[group])),
    fromHidden: (group, v) => groups[group].hiddenParts.flatMap((part) => gates(affine(ops, v, part), groups[group])),
    whole: (group, v) =>
      groups[group].hiddenParts.flatMap((part, i) => {
        return gates(tf.add(projected[group][i](t), affine(ops, v, part)), groups[group]);
      }),
  };
}

/**
 * For each group, gradients of a layer's gate sums, [T*B, gates * H], and the factor of its
 * recurrent weights, [T*B, H].
 */
export interface LayerGradient {
  readonly dInput: Matrix[];
  readonly dHidden: Matrix[];
  readonly recurrentInputs: Matrix[];
}

/** `dOutput`: d(loss)/dh [T*B, H] from above. Call it inside a tidy. */
export function layerBackward(
  ops: Ops,
  config: ModelConfig,
  { groups }: LayerWeights,
  { states, steps }: LayerTrace,
  dOutput: Matrix,
): LayerGradient {
  const { tf } = ops;
  const cell = tfjsCells[config.cell];
  const back: Back = (group, dSums) => tf.matMul(dSums, groups[group].hidden);
  const gradients = new Array<CellGradient>(steps.length);
  const fromAbove = ops.unstack(dOutput, steps.length);
  // Truncated: no gradient flows back from after the window.
  let dAfter = states[0].map((state): Matrix => tf.zeros<Rank.R2>(state.shape));
  for (let t = steps.length - 1; t >= 0; t--) {
    const [dH, ...rest] = dAfter;
    gradients[t] = tidied(ops, () => {
      return cell.backward(ops, { ...steps[t], before: states[t] }, [tf.add(fromAbove(t), dH), ...rest], back);
    });
    dAfter = gradients[t].dBefore;
  }
  const inputs = steps.map((step, t) => cell.recurrentInputs(step, states[t]));
  const overTime = (of: (t: number) => Matrix) => tf.concat(Array.from(steps.keys(), of), 0);
  const [{ dInput: one, dHidden: other }] = gradients;
  const dInput = groups.map((_, group) => overTime((t) => gradients[t].dInput[group]));
  return {
    dInput,
    dHidden: dInput.map((d, group) => (one[group] === other[group] ? d : overTime((t) => gradients[t].dHidden[group]))),
    recurrentInputs: groups.map((_, group) => overTime((t) => inputs[t][group])),
  };
}

/** tf.tidy for the plain objects of this file. */
function tidied<R extends CellStep | CellGradient>({ tf }: Ops, compute: () => R): R {
  return tf.tidy(() => ({ ...compute() }) as Record<keyof R & string, Matrix[]>) as unknown as R;
}

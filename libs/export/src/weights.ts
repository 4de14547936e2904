import { createLayout, type ModelConfig } from '@troupe/model';

/** A tensor of the layout. */
export interface Weight {
  /** Row-major. */
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** The tensors of a model by their names in the layout; with tied weights `linear.weight` is the embedding. */
export function weightsByName(model: ModelConfig, parameters: Float32Array): ReadonlyMap<string, Weight> {
  const layout = createLayout(model);
  const weights = new Map<string, Weight>();
  for (const { name, shape, offset, size } of layout.tensors) {
    weights.set(name, { shape, values: parameters.subarray(offset, offset + size) });
  }
  if (model.tied) weights.set('linear.weight', weights.get('embedding.weight')!);
  return weights;
}

/** [m, n] -> [n, m] */
export function transposed({ shape: [rows, columns], values }: Weight): Weight {
  const turned = new Float32Array(values.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) turned[j * rows + i] = values[i * columns + j];
  return { shape: [columns, rows], values: turned };
}

/** The same gates in another order: `order` names, for each place, the gate of ours that comes there. @param hidden rows of a gate */
export function withGates({ shape, values }: Weight, hidden: number, order: readonly number[]): Weight {
  const block = hidden * (shape[1] ?? 1);
  const moved = new Float32Array(values.length);
  for (const [place, gate] of order.entries()) moved.set(values.subarray(gate * block, (gate + 1) * block), place * block);
  return { shape, values: moved };
}

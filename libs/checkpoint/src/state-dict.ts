/**
 * The flat parameters as the state dict of a PyTorch module with `lstm = nn.LSTM` (or `gru = nn.GRU`, `rnn = nn.RNN`), `linear = nn.Linear`
 * and, where characters are embedded, `embedding = nn.Embedding`; layer normalisation is `norms = nn.ModuleList(nn.LayerNorm)`, applied to
 * what each layer hands up, which nn.LSTM does not do between its layers: load such a model layer by layer. Two things are kept once here and stand twice there:
 * - The bias of a layer. `bias_ih_l{k}` is ours and `bias_hh_l{k}` zeros, as only their sum counts. The exception is the candidate of a
 *   `gru-reset-after`, whose recurrent bias stands inside the reset gate: its `bias_hn_l{k}` is the last third of `bias_hh_l{k}`.
 * - A tied matrix, which is `embedding.weight` and `linear.weight`.
 *
 * PyTorch has no GRU that resets before the product; the tensors of a `gru` are named and shaped as nn.GRU's, and nn.GRU would compute
 * something else with them.
 */
import type { ModelConfig, ParameterLayout } from '@troupe/model';
import { CheckpointError } from './errors.js';
import { tensorOf, type Container, type Tensor } from './safetensors.js';

/** The tensors of a flat vector [P], their names behind `prefix`; views of it. */
export function carve(layout: ParameterLayout, flat: Float32Array, prefix = ''): Tensor[] {
  return layout.tensors.map(({ name, shape, offset, size }) => ({
    name: prefix + name,
    shape,
    values: flat.subarray(offset, offset + size),
  }));
}

/** What `carve` took apart. @throws CheckpointError `mismatch`, `corrupt` */
export function gather(layout: ParameterLayout, container: Container, prefix: string): Float32Array {
  const flat = new Float32Array(layout.size);
  for (const { name, shape, offset } of layout.tensors) flat.set(tensorOf(container, prefix + name, shape), offset);
  return flat;
}

/** In the order of PyTorch's state dict. */
export function stateDict({ tied }: ModelConfig, layout: ParameterLayout, parameters: Float32Array): Tensor[] {
  const tensors = carve(layout, parameters);
  const named = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  return tensors.flatMap((tensor) => {
    const names = biasNames(tensor.name);
    if (names?.hn === tensor.name) return [];
    if (names) return [tensor, { ...tensor, name: names.hh, values: recurrentBias(tensor, named.get(names.hn)) }];
    if (tied && tensor.name === 'linear.bias') return [{ ...named.get('embedding.weight')!, name: 'linear.weight' }, tensor];
    return [tensor];
  });
}

/**
 * The flat parameters [P]. What PyTorch has trained in `bias_hh_l{k}` goes to where it has the same effect.
 * @throws CheckpointError `mismatch`, `corrupt`
 */
export function fromStateDict({ tied }: ModelConfig, layout: ParameterLayout, container: Container): Float32Array {
  const parameters = new Float32Array(layout.size);
  const specs = new Map(layout.tensors.map((spec) => [spec.name, spec]));
  for (const { name, shape, offset, size } of layout.tensors) {
    const names = biasNames(name);
    if (names?.hn === name) continue;
    parameters.set(tensorOf(container, name, shape), offset);
    if (!names) continue;
    const second = tensorOf(container, names.hh, shape);
    const candidate = specs.get(names.hn);
    const folded = size - (candidate?.size ?? 0);
    if (candidate) parameters.set(second.subarray(folded), candidate.offset);
    // A zero is not added: -0 + 0 would change a bit.
    for (let i = 0; i < folded; i++) if (second[i] !== 0) parameters[offset + i] += second[i];
  }
  if (tied) checkTie(layout, container);
  return parameters;
}

/** A layer's biases: `ih` and `hh` as in PyTorch, `hn` ours. Undefined for a tensor that is no bias of a layer. */
function biasNames(name: string): { readonly hh: string; readonly hn: string } | undefined {
  const [, module, layer] = /^(\w+)\.bias_(?:ih|hn)_(l\d+)$/.exec(name) ?? [];
  return module === undefined ? undefined : { hh: `${module}.bias_hh_${layer}`, hn: `${module}.bias_hn_${layer}` };
}

/** bias_hh [G]: zeros, or zeros for r and z and bias_hn for n. */
function recurrentBias(bias: Tensor, candidate: Tensor | undefined): Float32Array {
  const values = new Float32Array(bias.values.length);
  if (candidate) values.set(candidate.values, values.length - candidate.values.length);
  return values;
}

/** Bit by bit: what is trained as one matrix must be one. */
function checkTie(layout: ParameterLayout, container: Container): void {
  const { shape } = layout.tensors.find(({ name }) => name === 'embedding.weight')!;
  const [embedding, output] = ['embedding.weight', 'linear.weight'].map(
    (name) => new Uint32Array(tensorOf(container, name, shape).buffer),
  );
  const at = embedding.findIndex((word, i) => word !== output[i]);
  if (at < 0) return;
  throw new CheckpointError(
    'mismatch',
    `the model ties its embedding to its output layer, but embedding.weight and linear.weight differ at element ${at}`,
    'Let the tool that wrote the file save the same matrix under both names, or use another checkpoint of the run.',
  );
}

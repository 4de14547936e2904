/**
 * Converts the flat parameters to and from the state dict of a PyTorch module with `lstm = nn.LSTM`
 * (or `gru = nn.GRU`, `rnn = nn.RNN`), `linear = nn.Linear` and, with an embedding, `embedding =
 * nn.Embedding`. Layer normalisation is `norms = nn.ModuleList(nn.LayerNorm)`, applied to the
 * output of each layer. nn.LSTM cannot do that between its layers, so load such a model layer by
 * layer. PyTorch stores two things twice that Troupe stores once:
 * - The bias of a layer. `bias_ih_l{k}` is our bias and `bias_hh_l{k}` is zeros, because only their
 *   sum matters. The exception is the candidate of a `gru-reset-after`, whose recurrent bias is
 *   inside the reset gate: its `bias_hn_l{k}` is the last third of `bias_hh_l{k}`.
 * - A tied matrix, stored as `embedding.weight` and as `linear.weight`.
 *
 * PyTorch has no GRU that resets before the product. The tensors of a `gru` have the names and
 * shapes of nn.GRU, but nn.GRU would compute something else with them.
 */
import type { ModelConfig, ParameterLayout } from '@troupe/model';
import { CheckpointError } from './errors.js';
import { tensorOf, type Container, type Tensor } from './safetensors.js';

/** Views of the tensors in a flat vector [P], each named with `prefix`. */
export function carve(layout: ParameterLayout, flat: Float32Array, prefix = ''): Tensor[] {
  return layout.tensors.map(({ name, shape, offset, size }) => ({
    name: prefix + name,
    shape,
    values: flat.subarray(offset, offset + size),
  }));
}

/** The inverse of `carve`. @throws CheckpointError `mismatch`, `corrupt` */
export function gather(layout: ParameterLayout, container: Container, prefix: string): Float32Array {
  const flat = new Float32Array(layout.size);
  for (const { name, shape, offset } of layout.tensors) flat.set(tensorOf(container, prefix + name, shape), offset);
  return flat;
}

/** The tensors in the order of PyTorch's state dict. */
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
 * The flat parameters [P]. Values that PyTorch has trained in `bias_hh_l{k}` are added where they
 * have the same effect.
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
    // Zeros are skipped, because -0 + 0 would change a bit.
    for (let i = 0; i < folded; i++) if (second[i] !== 0) parameters[offset + i] += second[i];
  }
  if (tied) checkTie(layout, container);
  return parameters;
}

/**
 * The names of a layer's biases: `hh` as in PyTorch, `hn` as in Troupe. Undefined if the tensor is
 * not the bias of a layer.
 */
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

/** Checks that both copies of a tied matrix have the same bits. */
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

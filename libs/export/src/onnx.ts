import { CELL_SHAPES, LAYER_NORM_EPSILON, type Cell, type ModelConfig } from '@troupe/model';
import { introduction, textFile, vocabularyFile, type ExportedFile } from './folder.js';
import { onnxModel, type Attribute, type Graph, type Initializer, type Node, type ValueInfo } from './onnx-format.js';
import { samplingScript } from './sampling-script.js';
import type { TrainedModel } from './web-model.js';
import { transposed, weightsByName, withGates, type Weight } from './weights.js';

/**
 * A folder for ONNX Runtime and other readers of ONNX: the graph, the vocabulary, and a script that samples in Node.
 *
 * Inputs: `ids` [B, T], int64; `h` [L, B, H], zeros at first; for an LSTM also `c`. Outputs: `logits`
 * [B, T, V]; `h_next` and `c_next`, which continue the text.
 */
export function onnxFolder(model: TrainedModel): readonly ExportedFile[] {
  const graph = graphOf(model.model, weightsByName(model.model, model.parameters));
  return [
    { name: 'model.onnx', bytes: onnxModel(graph, { vocabulary: JSON.stringify(model.vocabulary) }) },
    textFile('sample.mjs', samplingScript(ONNX_STEP)),
    textFile('README.md', introduction(model) + readme(model.model)),
    vocabularyFile(model),
  ];
}

interface CellOperator {
  readonly op: string;
  /** For each place of a gate in ONNX, the gate of ours: i, f, g, o become i, o, f, g; r, z, n become z, r, n. */
  readonly gates: readonly number[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

const OPERATORS: Readonly<Record<Cell, CellOperator>> = {
  lstm: { op: 'LSTM', gates: [0, 3, 1, 2], attributes: {} },
  gru: { op: 'GRU', gates: [1, 0, 2], attributes: { linear_before_reset: 0 } },
  'gru-reset-after': { op: 'GRU', gates: [1, 0, 2], attributes: { linear_before_reset: 1 } },
  'rnn-tanh': { op: 'RNN', gates: [0], attributes: { activations: ['Tanh'] } },
  'rnn-relu': { op: 'RNN', gates: [0], attributes: { activations: ['Relu'] } },
};

/** Collects the constants of a graph; each call returns the name of the value. */
interface Constants {
  tensor(name: string, weight: Weight): string;
  /** One number, or a list of them. */
  whole(name: string, value: number | readonly number[]): string;
}

function createConstants(initializers: Initializer[]): Constants {
  const add = (initializer: Initializer): string => {
    if (!initializers.some(({ name }) => name === initializer.name)) initializers.push(initializer);
    return initializer.name;
  };
  return {
    tensor: (name, weight) => add({ name, ...weight }),
    whole: (name, value) => {
      const list = typeof value === 'number' ? [value] : value;
      return add({ name, shape: typeof value === 'number' ? [] : [list.length], values: BigInt64Array.from(list, BigInt) });
    },
  };
}

function graphOf(model: ModelConfig, weights: ReadonlyMap<string, Weight>): Graph {
  const { cell, layers: L, hidden: H, vocabulary: V } = model;
  const states = CELL_SHAPES[cell].stateVectors === 2 ? ['h', 'c'] : ['h'];
  const initializers: Initializer[] = [];
  const constants = createConstants(initializers);
  const state = (name: string): ValueInfo => ({ name, type: 'float', shape: [L, 'B', H] });
  const ofLayers = (name: string) => Array.from({ length: L }, (_, k) => `${name}_${k}`);
  const nodes = [
    ...inputNodes(model, weights, constants),
    ...states.map((name) => ({ op: 'Split', inputs: [name], outputs: ofLayers(`${name}_before`), attributes: { axis: 0 } })),
    ...ofLayers('').flatMap((_, k) => layerNodes(model, weights, k, constants)),
    ...states.map((name) => ({
      op: 'Concat',
      inputs: ofLayers(`${name}_after`),
      outputs: [`${name}_next`],
      attributes: { axis: 0 },
    })),
    ...outputNodes(`x_${L}`, weights, constants),
  ];
  return {
    nodes,
    initializers,
    inputs: [{ name: 'ids', type: 'int64', shape: ['B', 'T'] }, ...states.map(state)],
    outputs: [{ name: 'logits', type: 'float', shape: ['B', 'T', V] }, ...states.map((name) => state(`${name}_next`))],
  };
}

/** ids [B, T] -> x_0 [T, B, E or V] */
function inputNodes(
  { embedding = 0, vocabulary }: ModelConfig,
  weights: ReadonlyMap<string, Weight>,
  { tensor, whole }: Constants,
): readonly Node[] {
  const turn: Node = { op: 'Transpose', inputs: ['ids'], outputs: ['steps'], attributes: { perm: [1, 0] } };
  if (embedding > 0) {
    const table = tensor('embedding.weight', weights.get('embedding.weight')!);
    return [turn, { op: 'Gather', inputs: [table, 'steps'], outputs: ['x_0'], attributes: { axis: 0 } }];
  }
  const offAndOn = tensor('off_and_on', { shape: [2], values: Float32Array.of(0, 1) });
  const inputs = ['steps', whole('vocabulary_size', vocabulary), offAndOn];
  return [turn, { op: 'OneHot', inputs, outputs: ['x_0'], attributes: { axis: 2 } }];
}

/** x_k [T, B, I] -> x_{k + 1} [T, B, H] */
function layerNodes(
  model: ModelConfig,
  weights: ReadonlyMap<string, Weight>,
  k: number,
  { tensor, whole }: Constants,
): readonly Node[] {
  const { cell, hidden: H, layerNorm = false } = model;
  const { op, gates, attributes } = OPERATORS[cell];
  const { module, stateVectors } = CELL_SHAPES[cell];
  const matrix = (name: string): string =>
    tensor(`${name}_l${k}`, ofOneDirection(weights.get(`${module}.${name}_l${k}`)!, H, gates));
  const states = stateVectors === 2 ? ['h', 'c'] : ['h'];
  const bias = tensor(`bias_l${k}`, biasOf(model, weights, k));
  // The place that stays empty is for the lengths of sequences.
  const inputs = [`x_${k}`, matrix('weight_ih'), matrix('weight_hh'), bias, '', ...states.map((name) => `${name}_before_${k}`)];
  const outputs = [`directions_${k}`, ...states.map((name) => `${name}_after_${k}`)];
  const next = `x_${k + 1}`;
  const direction = whole('axis_of_directions', [1]);
  return [
    { op, inputs, outputs, attributes: { hidden_size: H, ...attributes } },
    { op: 'Squeeze', inputs: [`directions_${k}`, direction], outputs: [layerNorm ? `hidden_${k}` : next] },
    ...(layerNorm ? [normNode(weights, k, tensor)] : []),
  ];
}

/** hidden_k -> x_{k + 1} */
function normNode(weights: ReadonlyMap<string, Weight>, k: number, tensor: Constants['tensor']): Node {
  const [weight, bias] = ['weight', 'bias'].map((name) => tensor(`norms.${k}.${name}`, weights.get(`norms.${k}.${name}`)!));
  const attributes = { epsilon: { float: LAYER_NORM_EPSILON } };
  return { op: 'LayerNormalization', inputs: [`hidden_${k}`, weight, bias], outputs: [`x_${k + 1}`], attributes };
}

/** x [T, B, H] -> logits [B, T, V] */
function outputNodes(x: string, weights: ReadonlyMap<string, Weight>, { tensor }: Constants): readonly Node[] {
  const matrix = tensor('linear.weight', transposed(weights.get('linear.weight')!));
  const bias = tensor('linear.bias', weights.get('linear.bias')!);
  return [
    { op: 'Transpose', inputs: [x], outputs: ['hidden'], attributes: { perm: [1, 0, 2] } },
    { op: 'MatMul', inputs: ['hidden', matrix], outputs: ['products'] },
    { op: 'Add', inputs: ['products', bias], outputs: ['logits'] },
  ];
}

/** Gates in the order of ONNX, with a first dimension for directions. */
function ofOneDirection(weight: Weight, hidden: number, gates: readonly number[]): Weight {
  const { shape, values } = withGates(weight, hidden, gates);
  return { shape: [1, ...shape], values };
}

/** [1, 2 * G]: the bias of the inputs, then that of the state, which is zero but for the candidate of a `gru-reset-after`. */
function biasOf({ cell, hidden: H }: ModelConfig, weights: ReadonlyMap<string, Weight>, k: number): Weight {
  const { module } = CELL_SHAPES[cell];
  const { gates } = OPERATORS[cell];
  const input = withGates(weights.get(`${module}.bias_ih_l${k}`)!, H, gates);
  const values = new Float32Array(2 * input.values.length);
  values.set(input.values);
  const candidate = weights.get(`${module}.bias_hn_l${k}`);
  // The candidate is the last gate in both orders.
  if (candidate !== undefined) values.set(candidate.values, values.length - H);
  return { shape: [1, values.length], values };
}

function readme({ cell, layers, hidden }: ModelConfig): string {
  const states = CELL_SHAPES[cell].stateVectors === 2 ? ['h', 'c'] : ['h'];
  const size = `[${layers}, B, ${hidden}]`;
  const rows = states.flatMap((name) => [
    `| input | \`${name}\` | float32 ${size} | the state; zeros at first |`,
    `| output | \`${name}_next\` | float32 ${size} | the state to continue with |`,
  ]);
  return `
\`model.onnx\` uses operator set 17 and nothing beyond ONNX. B streams of T characters each:

| | Name | Type | Meaning |
|---|---|---|---|
| input | \`ids\` | int64 [B, T] | characters |
| output | \`logits\` | float32 [B, T, V] | of the character that follows each |
${rows.join('\n')}

To sample in Node, install the package \`onnxruntime-node\` from npm (\`onnxruntime-web\` works as well), and type

    node sample.mjs --length 500
`;
}

/** What sampling-script.ts asks for. */
const ONNX_STEP = `const runtime = await import('onnxruntime-node').catch(() => import('onnxruntime-web'));
const { InferenceSession, Tensor } = runtime.InferenceSession ? runtime : runtime.default;
const session = await InferenceSession.create(await readFile(new URL('model.onnx', import.meta.url)));

/** A state of zeros for one stream. */
function firstState() {
  const inputs = session.inputMetadata.filter(({ name }) => name !== 'ids');
  return inputs.map(({ name, shape: [layers, , hidden] }) => [
    name,
    new Tensor('float32', new Float32Array(layers * hidden), [layers, 1, hidden]),
  ]);
}

/** Logits [V] of the character after \`id\`, and the state with which to go on. */
async function step(id, state) {
  const ids = new Tensor('int64', BigInt64Array.of(BigInt(id)), [1, 1]);
  const { logits, ...ends } = await session.run({ ids, ...Object.fromEntries(state) });
  return { logits: logits.data, state: state.map(([name]) => [name, ends[name + '_next']]) };
}
`;

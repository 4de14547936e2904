import { CELL_SHAPES, stateSize, type ModelConfig } from '@troupe/model';
import { introduction, textFile, vocabularyFile, type ExportedFile } from './folder.js';
import { samplingScript } from './sampling-script.js';
import { stepGraph, type TfjsConstant, type TfjsNode } from './tfjs-graph.js';
import type { TrainedModel } from './web-model.js';
import { weightsByName } from './weights.js';

/**
 * A folder for TensorFlow.js: a graph model of one time step, the vocabulary, and a script that
 * samples in Node. One step is what sampling needs, and TensorFlow.js has no layer for a GRU that
 * resets after the product.
 *
 * Inputs: `ids` [B], int32; `state` [B, S], zeros at first. Outputs: `logits` [B, V] and `next_state` [B, S].
 */
export function tfjsFolder(model: TrainedModel): readonly ExportedFile[] {
  const { nodes, constants } = stepGraph(model.model, weightsByName(model.model, model.parameters));
  return [
    textFile('model.json', `${JSON.stringify(modelJson(model.model, nodes, constants))}\n`),
    {
      name: 'weights.bin',
      bytes: constants.map(({ values }) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength)),
    },
    textFile('sample.mjs', samplingScript(TFJS_STEP)),
    textFile('README.md', introduction(model) + readme(model.model)),
    vocabularyFile(model),
  ];
}

function modelJson(model: ModelConfig, nodes: readonly TfjsNode[], constants: readonly TfjsConstant[]): object {
  const info = (name: string, dtype: string, sizes: readonly number[]) => ({
    name: `${name}:0`,
    dtype,
    tensorShape: { dim: sizes.map((size) => ({ size: String(size) })) },
  });
  return {
    format: 'graph-model',
    generatedBy: 'Troupe',
    convertedBy: null,
    signature: {
      inputs: { ids: info('ids', 'DT_INT32', [-1]), state: info('state', 'DT_FLOAT', [-1, stateSize(model)]) },
      outputs: {
        logits: info('logits', 'DT_FLOAT', [-1, model.vocabulary]),
        next_state: info('next_state', 'DT_FLOAT', [-1, stateSize(model)]),
      },
    },
    modelTopology: { node: nodes, library: {}, versions: { producer: 1 } },
    weightsManifest: [
      {
        paths: ['weights.bin'],
        weights: constants.map(({ name, shape, values }) => ({
          name,
          shape,
          dtype: values instanceof Int32Array ? 'int32' : 'float32',
        })),
      },
    ],
  };
}

function readme(model: ModelConfig): string {
  const order = CELL_SHAPES[model.cell].stateVectors === 2 ? 'h, then c, for each layer' : 'h of each layer';
  return `
\`model.json\` is a graph model of one time step for TensorFlow.js. It takes \`ids\`, int32 [B], and \`state\`, float32
[B, ${stateSize(model)}] (${order}; zeros at first), and gives \`logits\` [B, ${model.vocabulary}] of the next characters, and \`next_state\`.
In a browser:

    const model = await tf.loadGraphModel('model.json');
    const [logits, next] = model.execute({ ids, state }, ['logits', 'next_state']);

To sample in Node, install the package \`@tensorflow/tfjs\` from npm, and type

    node sample.mjs --length 500
`;
}

/** What sampling-script.ts asks for. */
const TFJS_STEP = `const tf = await import('@tensorflow/tfjs');
const { modelTopology, weightsManifest, signature } = JSON.parse(await readFile(new URL('model.json', import.meta.url), 'utf8'));
const weights = await readFile(new URL('weights.bin', import.meta.url));
const model = await tf.loadGraphModel(
  tf.io.fromMemory({
    modelTopology,
    signature,
    weightSpecs: weightsManifest[0].weights,
    weightData: weights.buffer.slice(weights.byteOffset, weights.byteOffset + weights.length),
  }),
);

/** A state of zeros for one stream. */
function firstState() {
  return new Float32Array(Number(signature.inputs.state.tensorShape.dim[1].size));
}

/** Logits [V] of the character after \`id\`, and the state with which to go on. */
async function step(id, state) {
  const [logits, next] = tf.tidy(() => {
    const inputs = { ids: tf.tensor1d([id], 'int32'), state: tf.tensor2d(state, [1, state.length]) };
    return model.execute(inputs, ['logits', 'next_state']).map((tensor) => tensor.dataSync());
  });
  return { logits, state: next };
}
`;

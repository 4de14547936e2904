import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createLayout, type Batch, type ModelConfig, type ParameterLayout } from '../src/index.js';

/**
 * PyTorch's results in float64 for one small model; tests/golden/make_fixtures.py writes them and
 * documents the format.
 */
export interface GoldenCase {
  readonly name: string;
  readonly config: ModelConfig;
  readonly layout: ParameterLayout;
  /** [P], exact in float32. */
  readonly parameters: Float32Array;
  readonly batch: Batch;
  readonly lossSum: number;
  /** [P] */
  readonly gradient: Float64Array;
  /** [B, L, S, H] */
  readonly endStates: Float64Array;
  /** [B, T, V] */
  readonly logits: Float64Array;
}

const folder = fileURLToPath(new URL('../../../tests/golden/fixtures/', import.meta.url));
const arrays = { F32: Float32Array, F64: Float64Array, U16: Uint16Array };
type Numbers = Float32Array | Float64Array | Uint16Array;

export function goldenCases(): GoldenCase[] {
  const names = fs.readdirSync(folder).filter((name) => name.endsWith('.safetensors'));
  if (names.length === 0) throw new Error(`no fixtures in ${folder}: run tests/golden/make_fixtures.py`);
  return names.sort().map(readCase);
}

function readCase(name: string): GoldenCase {
  const { metadata, tensors } = readTensors(new Uint8Array(fs.readFileSync(folder + name)));
  const get = (tensor: string) => {
    const found = tensors.get(tensor);
    if (!found) throw new Error(`${name} has no tensor ${tensor}`);
    return found;
  };
  const config: ModelConfig = {
    cell: metadata['cell'] as ModelConfig['cell'],
    layers: Number(metadata['layers']),
    hidden: Number(metadata['hidden']),
    vocabulary: Number(metadata['vocabulary']),
    embedding: Number(metadata['embedding']),
    tied: metadata['tied'] === 'true',
    layerNorm: metadata['layerNorm'] === 'true',
    dropoutOutput: Number(metadata['dropoutOutput'] ?? 0),
  };
  const layout = createLayout(config);
  const parameters = new Float32Array(layout.size);
  const gradient = new Float64Array(layout.size);
  for (const tensor of layout.tensors) {
    parameters.set(get(tensor.name), tensor.offset);
    gradient.set(get(`gradient.${tensor.name}`), tensor.offset);
  }
  const streams = Number(metadata['streams']);
  const batch: Batch = {
    streams,
    window: Number(metadata['window']),
    tokens: get('tokens') as Uint16Array,
    states: get('states') as Float32Array,
    ...(config.dropoutOutput && {
      dropout: {
        seed: Number(metadata['seed']),
        round: Number(metadata['round']),
        streams: Uint32Array.from({ length: streams }, (_, b) => b),
      },
    }),
  };
  const endStates = get('end_states') as Float64Array;
  const logits = get('logits') as Float64Array;
  return { name, config, layout, parameters, batch, lossSum: get('loss')[0], gradient, endStates, logits };
}

function readTensors(bytes: Uint8Array<ArrayBuffer>) {
  const headerLength = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const body = 8 + headerLength;
  const { __metadata__: metadata, ...entries } = JSON.parse(new TextDecoder().decode(bytes.subarray(8, body))) as {
    __metadata__: Record<string, string>;
  } & Record<string, { dtype: keyof typeof arrays; data_offsets: [number, number] }>;
  const tensors = new Map<string, Numbers>();
  for (const [name, { dtype, data_offsets }] of Object.entries(entries)) {
    const [from, to] = data_offsets;
    tensors.set(name, new arrays[dtype](bytes.buffer.slice(body + from, body + to)));
  }
  return { metadata, tensors };
}

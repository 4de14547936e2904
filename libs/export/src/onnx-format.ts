/** The messages of ONNX (onnx.proto) that the graph of a model needs, with their field numbers. */
import { bytesField, floatField, textField, varintField, type Blocks } from './protobuf.js';

/** IR version 8 and operator set 17, the first with LayerNormalization; ONNX Runtime reads both from 1.12 on. */
const IR_VERSION = 8;
const OPSET = 17;

const FLOAT = 1;
const INT64 = 7;

export type Attribute = number | readonly number[] | string | readonly string[] | { readonly float: number };

export interface Node {
  readonly op: string;
  /** Names of values; '' leaves an optional input out. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes?: Readonly<Record<string, Attribute>>;
}

/** A constant of the graph. */
export interface Initializer {
  readonly name: string;
  readonly shape: readonly number[];
  /** Little-endian. */
  readonly values: Float32Array | BigInt64Array;
}

/** An input or output: a number is a fixed dimension, a name one that may differ from call to call. */
export interface ValueInfo {
  readonly name: string;
  readonly type: 'float' | 'int64';
  readonly shape: readonly (number | string)[];
}

export interface Graph {
  readonly nodes: readonly Node[];
  readonly initializers: readonly Initializer[];
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
}

/** The file of a graph. */
export function onnxModel(graph: Graph, metadata: Readonly<Record<string, string>>): Blocks {
  return [
    ...varintField(1, IR_VERSION),
    ...textField(2, 'Troupe'),
    ...bytesField(7, graphProto(graph)),
    ...bytesField(8, varintField(2, OPSET)),
    ...Object.entries(metadata).flatMap(([key, value]) => bytesField(14, [...textField(1, key), ...textField(2, value)])),
  ];
}

function graphProto({ nodes, initializers, inputs, outputs }: Graph): Blocks {
  return [
    ...nodes.flatMap((node) => bytesField(1, nodeProto(node))),
    ...textField(2, 'model'),
    ...initializers.flatMap((tensor) => bytesField(5, tensorProto(tensor))),
    ...inputs.flatMap((value) => bytesField(11, valueProto(value))),
    ...outputs.flatMap((value) => bytesField(12, valueProto(value))),
  ];
}

function nodeProto({ op, inputs, outputs, attributes = {} }: Node): Blocks {
  return [
    ...inputs.flatMap((name) => textField(1, name)),
    ...outputs.flatMap((name) => textField(2, name)),
    ...textField(
      3,
      outputs.find((name) => name !== '')!,
    ),
    ...textField(4, op),
    ...Object.entries(attributes).flatMap(([name, value]) => bytesField(5, [...textField(1, name), ...attributeValue(value)])),
  ];
}

/** The value and the type of an attribute: FLOAT 1, INT 2, STRING 3, INTS 7, STRINGS 8. */
function attributeValue(value: Attribute): Blocks {
  if (typeof value === 'number') return [...varintField(3, value), ...varintField(20, 2)];
  if (typeof value === 'string') return [...textField(4, value), ...varintField(20, 3)];
  if ('float' in value) return [...floatField(2, value.float), ...varintField(20, 1)];
  const isText = typeof value[0] === 'string';
  const items = value.flatMap((item) => (typeof item === 'string' ? textField(9, item) : varintField(8, item)));
  return [...items, ...varintField(20, isText ? 8 : 7)];
}

function tensorProto({ name, shape, values }: Initializer): Blocks {
  return [
    ...shape.flatMap((dimension) => varintField(1, dimension)),
    ...varintField(2, values instanceof Float32Array ? FLOAT : INT64),
    ...textField(8, name),
    ...bytesField(9, new Uint8Array(values.buffer, values.byteOffset, values.byteLength)),
  ];
}

function valueProto({ name, type, shape }: ValueInfo): Blocks {
  const dimensions = shape.flatMap((size) => bytesField(1, typeof size === 'number' ? varintField(1, size) : textField(2, size)));
  const tensor = [...varintField(1, type === 'float' ? FLOAT : INT64), ...bytesField(2, dimensions)];
  return [...textField(1, name), ...bytesField(2, bytesField(1, tensor))];
}

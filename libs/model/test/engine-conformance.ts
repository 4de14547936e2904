import { modelConfig } from '@troupe/config';
import { afterEach, describe, expect, it } from 'vitest';
import {
  CELLS,
  createLayout,
  stateSize,
  usesDropout,
  type Batch,
  type Engine,
  type EngineLimits,
  type Evaluation,
  type GradientProgress,
  type ModelConfig,
} from '../src/index.js';
import { createReferenceEngine } from '../src/reference/index.js';
import { goldenCases, type GoldenCase } from './golden.js';

export type CreateEngine = (config: ModelConfig, limits: EngineLimits) => Engine | Promise<Engine>;

/** Greatest relative error: |a - b| / |b| in the Euclidean norm, per tensor. */
export interface Tolerances {
  readonly loss: number;
  readonly gradient: number;
  readonly states: number;
  readonly logits: number;
}

/** A model, by default an LSTM, and a batch. */
interface Shape extends Omit<ModelConfig, 'cell'>, Partial<Pick<ModelConfig, 'cell'>> {
  readonly streams: number;
  readonly window: number;
  readonly limits: EngineLimits;
}

/**
 * Sizes that no vector width or cache block divides, and batches smaller than the engine's limits.
 */
const ODD_SHAPES: readonly Shape[] = [
  { layers: 1, hidden: 5, vocabulary: 7, streams: 1, window: 1, limits: { maxStreams: 1, maxWindow: 1 } },
  { layers: 2, hidden: 5, vocabulary: 7, streams: 3, window: 6, limits: { maxStreams: 8, maxWindow: 9 } },
  { layers: 1, hidden: 33, vocabulary: 65, streams: 3, window: 9, limits: { maxStreams: 3, maxWindow: 16 } },
  { layers: 3, hidden: 33, vocabulary: 7, streams: 1, window: 5, limits: { maxStreams: 4, maxWindow: 5 } },
  { layers: 2, hidden: 16, vocabulary: 2, streams: 13, window: 1, limits: { maxStreams: 16, maxWindow: 8 } },
  { layers: 2, hidden: 70, vocabulary: 67, streams: 17, window: 19, limits: { maxStreams: 32, maxWindow: 20 } },
  { layers: 1, hidden: 1, vocabulary: 3, streams: 2, window: 3, limits: { maxStreams: 2, maxWindow: 3 } },
];

const describeShape = ({ cell = 'lstm', layers, hidden, vocabulary, embedding = 0, tied, ...rest }: Shape) =>
  [
    `${layers}x${hidden} ${cell}`,
    `V=${vocabulary}, B=${rest.streams}, T=${rest.window}`,
    ...(embedding > 0 ? [`${tied ? 'tied ' : ''}E=${embedding}`] : []),
    ...(rest.dropout ? [`dropout ${rest.dropout}`] : []),
    ...(rest.dropoutOutput ? [`output dropout ${rest.dropoutOutput}`] : []),
    ...(rest.layerNorm ? ['layer norm'] : []),
  ].join(', ');

/** For each cell: odd sizes, several layers, and every option of the model. */
const CELL_SHAPES: readonly Shape[] = CELLS.flatMap((cell) => [
  { cell, layers: 1, hidden: 5, vocabulary: 7, streams: 3, window: 4, limits: { maxStreams: 4, maxWindow: 4 } },
  { cell, layers: 3, hidden: 19, vocabulary: 6, streams: 5, window: 7, limits: { maxStreams: 8, maxWindow: 9 } },
  { cell, layers: 2, hidden: 40, vocabulary: 33, streams: 9, window: 11, limits: { maxStreams: 9, maxWindow: 11 } },
  { cell, layers: 2, hidden: 13, vocabulary: 21, embedding: 6, streams: 4, window: 8, limits: { maxStreams: 4, maxWindow: 8 } },
  { cell, layers: 1, hidden: 17, vocabulary: 9, embedding: 35, streams: 2, window: 5, limits: { maxStreams: 3, maxWindow: 5 } },
  {
    ...{ cell, layers: 2, hidden: 18, vocabulary: 11, embedding: 18, tied: true, streams: 5, window: 6 },
    limits: { maxStreams: 5, maxWindow: 8 },
  },
  { cell, layers: 3, hidden: 21, vocabulary: 9, dropout: 0.3, streams: 6, window: 5, limits: { maxStreams: 7, maxWindow: 5 } },
  {
    ...{ cell, layers: 2, hidden: 16, vocabulary: 12, embedding: 16, tied: true, dropout: 0.5, streams: 3, window: 7 },
    limits: { maxStreams: 3, maxWindow: 7 },
  },
  {
    ...{ cell, layers: 2, hidden: 27, vocabulary: 14, layerNorm: true, streams: 5, window: 6 },
    limits: { maxStreams: 5, maxWindow: 7 },
  },
  {
    ...{
      cell,
      layers: 3,
      hidden: 10,
      vocabulary: 8,
      embedding: 10,
      tied: true,
      dropout: 0.2,
      layerNorm: true,
      streams: 4,
      window: 5,
    },
    limits: { maxStreams: 4, maxWindow: 5 },
  },
  {
    cell,
    layers: 1,
    hidden: 11,
    vocabulary: 9,
    dropoutOutput: 0.4,
    streams: 4,
    window: 6,
    limits: { maxStreams: 5, maxWindow: 6 },
  },
  {
    ...{ cell, layers: 2, hidden: 18, vocabulary: 10, dropout: 0.25, dropoutOutput: 0.6, layerNorm: true, streams: 3, window: 5 },
    limits: { maxStreams: 3, maxWindow: 5 },
  },
]);

export interface ConformanceOptions {
  /** The engine hands its gradient over while it computes: of two layers, the upper one first. */
  readonly handsOver?: boolean;
}

/** Tests the behaviour of the Engine port. Every engine's test file calls this once. */
export function engineConformance(
  name: string,
  createEngine: CreateEngine,
  tolerances: Tolerances,
  { handsOver = false }: ConformanceOptions = {},
): void {
  describe(`${name} engine`, () => {
    const engines: Engine[] = [];
    const open = async (config: ModelConfig, limits: EngineLimits, parameters: Float32Array): Promise<Engine> => {
      const engine = await createEngine(config, limits);
      engines.push(engine);
      engine.setParameters(parameters);
      return engine;
    };
    afterEach(() => {
      for (const engine of engines.splice(0)) engine.dispose();
    });

    for (const golden of goldenCases()) againstPyTorch(golden, open, tolerances);
    for (const shape of [...ODD_SHAPES, ...CELL_SHAPES]) againstReference(shape, open, tolerances);
    for (const shape of PURITY_SHAPES) describe(describeShape(shape), () => purity(shape, open, tolerances));
    for (const shape of PURITY_SHAPES) progress(shape, open, handsOver);
    failuresInProgress(open, handsOver);
    for (const shape of DROPOUT_SHAPES) describe(describeShape(shape), () => dropout(shape, open));
    errors(open);
  });
}

type Open = (config: ModelConfig, limits: EngineLimits, parameters: Float32Array) => Promise<Engine>;

function againstPyTorch(golden: GoldenCase, open: Open, tolerances: Tolerances): void {
  const { config, layout, parameters, batch } = golden;
  const limits = { maxStreams: batch.streams + 1, maxWindow: batch.window + 3 };

  it(`gives PyTorch's loss, gradients and end states for ${golden.name}`, async () => {
    const engine = await open(config, limits, parameters);
    const result = await engine.gradient(batch);
    expect(result.tokens).toBe(batch.streams * batch.window);
    expect(Math.abs(result.lossSum / golden.lossSum - 1)).toBeLessThan(tolerances.loss);
    for (const { name, offset, size } of layout.tensors) {
      const error = relativeError(
        result.gradient.subarray(offset, offset + size),
        golden.gradient.subarray(offset, offset + size),
      );
      expect(error, name).toBeLessThan(tolerances.gradient);
    }
    expect(relativeError(result.endStates, golden.endStates)).toBeLessThan(tolerances.states);
  });

  it(`steps through PyTorch's logits for ${golden.name}`, async () => {
    const engine = await open(config, limits, parameters);
    const states = batch.states.slice();
    const logits = await stepThrough(engine, config, batch, states);
    expect(relativeError(logits, golden.logits)).toBeLessThan(tolerances.logits);
    expect(relativeError(states, golden.endStates)).toBeLessThan(tolerances.states);
  });
}

function againstReference(shape: Shape, open: Open, tolerances: Tolerances): void {
  it(`agrees with the reference engine on ${describeShape(shape)}`, async () => {
    const { config, parameters, batch } = problem(shape, 7);
    const engine = await open(config, shape.limits, parameters);
    const reference = createReferenceEngine(config, shape.limits);
    reference.setParameters(parameters);
    const expected = await reference.gradient(batch);
    const result = await engine.gradient(batch);
    expect(Math.abs(result.lossSum / expected.lossSum - 1)).toBeLessThan(tolerances.loss);
    expect(relativeError(result.gradient, expected.gradient)).toBeLessThan(tolerances.gradient);
    expect(relativeError(result.endStates, expected.endStates)).toBeLessThan(tolerances.states);
    expect(result.gradient.length).toBe(parameters.length);
    expect(result.endStates.length).toBe(batch.states.length);
  });
}

/** Model for the tests of the port's other promises. */
const SHAPE: Shape = { layers: 2, hidden: 9, vocabulary: 11, streams: 5, window: 6, limits: { maxStreams: 7, maxWindow: 8 } };

const PURITY_SHAPES: readonly Shape[] = [
  SHAPE,
  { ...SHAPE, cell: 'gru', dropout: 0.4 },
  { ...SHAPE, cell: 'gru-reset-after', embedding: 9, tied: true, dropout: 0.4 },
  { ...SHAPE, cell: 'rnn-relu', embedding: 4 },
  { ...SHAPE, cell: 'rnn-tanh', layerNorm: true, dropout: 0.4, dropoutOutput: 0.3 },
  { ...SHAPE, dropoutOutput: 0.3 },
];

function purity(SHAPE: Shape, open: Open, tolerances: Tolerances): void {
  it('returns for a batch the sums of the gradients and losses of its parts', async () => {
    const { config, parameters, batch } = problem(SHAPE, 1);
    const engine = await open(config, SHAPE.limits, parameters);
    const whole = copyOf(await engine.gradient(batch));
    const sum = { gradient: new Float64Array(parameters.length), lossSum: 0, endStates: [] as number[] };
    for (const part of [streamsOf(config, batch, 0, 2), streamsOf(config, batch, 2, 5)]) {
      const { gradient, lossSum, endStates } = await engine.gradient(part);
      gradient.forEach((value, i) => (sum.gradient[i] += value));
      sum.lossSum += lossSum;
      sum.endStates.push(...endStates);
    }
    expect(relativeError(whole.gradient, sum.gradient)).toBeLessThan(tolerances.gradient);
    expect(Math.abs(whole.lossSum / sum.lossSum - 1)).toBeLessThan(tolerances.loss);
    expect(relativeError(whole.endStates, sum.endStates)).toBeLessThan(tolerances.states);
  });

  it('evaluates to the loss and end states of a gradient pass without dropout', async () => {
    const { config, parameters, batch } = problem(SHAPE, 2);
    const plain = { ...config, dropout: 0, dropoutOutput: 0 };
    const trainer = await open(plain, SHAPE.limits, parameters);
    const trained = copyOf(await trainer.gradient(batch));
    const engine = await open(config, SHAPE.limits, parameters);
    const evaluated = await engine.evaluate(batch);
    expect(evaluated.tokens).toBe(trained.tokens);
    expect(Math.abs(evaluated.lossSum / trained.lossSum - 1)).toBeLessThan(tolerances.loss);
    expect(relativeError(evaluated.endStates, trained.endStates)).toBeLessThan(tolerances.states);
  });

  it('steps one character at a time to the end states of the whole window', async () => {
    const { config, parameters, batch } = problem(SHAPE, 3);
    const engine = await open(config, SHAPE.limits, parameters);
    const { endStates } = copyOf(await engine.evaluate(batch));
    const states = batch.states.slice();
    await stepThrough(engine, config, batch, states);
    expect(relativeError(states, endStates)).toBeLessThan(tolerances.states);
  });

  it('returns the same bits for the same call after any other calls', async () => {
    const { config, parameters, batch } = problem(SHAPE, 4);
    const engine = await open(config, SHAPE.limits, parameters);
    const first = copyOf(await engine.gradient(batch));
    const other = problem({ ...SHAPE, streams: 7, window: 8 }, 5).batch;
    await engine.gradient(other);
    await engine.evaluate(other);
    await engine.step(other.tokens.slice(0, 7), other.states.slice());
    expect(copyOf(await engine.gradient(batch))).toEqual(first);
    const fresh = await open(config, SHAPE.limits, parameters);
    expect(copyOf(await fresh.gradient(batch))).toEqual(first);
  });

  it('gives a stream the same end state in any batch position', async () => {
    const { config, parameters, batch } = problem(SHAPE, 6);
    const engine = await open(config, SHAPE.limits, parameters);
    const whole = copyOf(await engine.evaluate(batch));
    const size = stateSize(config);
    const alone = await engine.evaluate(streamsOf(config, batch, 4, 5));
    expect(relativeError(alone.endStates, whole.endStates.subarray(4 * size, 5 * size))).toBeLessThan(tolerances.states);
  });

  it('keeps its own copy of the parameters and does not modify the batch', async () => {
    const { config, parameters, batch } = problem(SHAPE, 8);
    const engine = await open(config, SHAPE.limits, parameters);
    const first = copyOf(await engine.gradient(batch));
    parameters.fill(0);
    const before = { tokens: batch.tokens.slice(), states: batch.states.slice() };
    expect(copyOf(await engine.gradient(batch))).toEqual(first);
    await engine.evaluate(batch);
    expect(batch.tokens).toEqual(before.tokens);
    expect(batch.states).toEqual(before.states);
  });

  it('computes with the parameters that were set last', async () => {
    const { config, parameters, batch } = problem(SHAPE, 9);
    const engine = await open(config, SHAPE.limits, parameters);
    const first = copyOf(await engine.gradient(batch));
    engine.setParameters(parameters.map((value) => value * 0.5));
    expect((await engine.gradient(batch)).lossSum).not.toBe(first.lossSum);
    engine.setParameters(parameters);
    expect(copyOf(await engine.gradient(batch))).toEqual(first);
  });

  it('accepts views into larger buffers', async () => {
    const { config, parameters, batch } = problem(SHAPE, 10);
    const engine = await open(config, SHAPE.limits, parameters);
    const expected = copyOf(await engine.gradient(batch));
    const tokens = new Uint16Array([9, 9, 9, ...batch.tokens, 9]).subarray(3, 3 + batch.tokens.length);
    const states = new Float32Array([9, ...batch.states, 9]).subarray(1, 1 + batch.states.length);
    engine.setParameters(new Float32Array([9, ...parameters, 9]).subarray(1, 1 + parameters.length));
    expect(copyOf(await engine.gradient({ ...batch, tokens, states }))).toEqual(expected);
  });
}

const DROPOUT_SHAPES: readonly Shape[] = [
  { ...SHAPE, dropout: 0.5 },
  { ...SHAPE, dropoutOutput: 0.5 },
];

function dropout(shape: Shape, open: Open): void {
  const { config, parameters, batch } = problem(shape, 12);

  it('drops different units in another round or with another seed, and none in evaluate and step', async () => {
    const engine = await open(config, shape.limits, parameters);
    const key = batch.dropout!;
    const losses: number[] = [];
    for (const change of [{}, { round: key.round + 1 }, { seed: key.seed + 1 }]) {
      losses.push((await engine.gradient({ ...batch, dropout: { ...key, ...change } })).lossSum);
    }
    losses.push((await engine.evaluate(batch)).lossSum);
    expect(new Set(losses).size).toBe(4);
    const evaluated = copyOf(await engine.evaluate(batch));
    const { streams, window, tokens, states } = batch;
    expect(copyOf(await engine.evaluate({ streams, window, tokens, states }))).toEqual(evaluated);
  });

  it('rejects a gradient without a dropout key, or with one of another length, as bad_shape', async () => {
    const engine = await open(config, shape.limits, parameters);
    const { streams, window, tokens, states, dropout: key } = batch;
    const badShape = { name: 'EngineError', code: 'bad_shape' };
    await expect(engine.gradient({ streams, window, tokens, states })).rejects.toMatchObject(badShape);
    const short = { ...key!, streams: key!.streams.subarray(1) };
    await expect(engine.gradient({ ...batch, dropout: short })).rejects.toMatchObject(badShape);
    expect((await engine.gradient(batch)).lossSum).toBeGreaterThan(0);
  });
}

interface Report {
  readonly from: number;
  /** Copy of the gradient from there on. */
  readonly values: Float32Array;
}

/** A listener that copies what is final. */
function recorder() {
  const reports: Report[] = [];
  const onProgress: GradientProgress = (gradient, from) => reports.push({ from, values: gradient.slice(from) });
  return { reports, onProgress };
}

function progress(shape: Shape, open: Open, handsOver: boolean): void {
  const { config, parameters, batch } = problem(shape, 13);

  it(`hands over only final values, from the end to the start, ${describeShape(shape)}`, async () => {
    const engine = await open(config, shape.limits, parameters);
    const plain = copyOf(await engine.gradient(batch));
    const { reports, onProgress } = recorder();
    // Leaves other values in the engine's memory.
    await engine.gradient(problem(shape, 16).batch);
    const told = copyOf(await engine.gradient(batch, onProgress));
    expect(told).toEqual(plain);
    let last = parameters.length;
    for (const { from, values } of reports) {
      expect(from).toBeLessThan(last);
      expect(values).toEqual(plain.gradient.subarray(from));
      last = from;
    }
    expect(last).toBeGreaterThanOrEqual(0);
    expect(copyOf(await engine.gradient(batch))).toEqual(plain);
  });

  it.runIf(handsOver)(`hands over each layer above the lowest, ${describeShape(shape)}`, async () => {
    const engine = await open(config, shape.limits, parameters);
    const { reports, onProgress } = recorder();
    await engine.gradient(batch, onProgress);
    const layer = createLayout(config).tensors.find(({ name }) => name.endsWith('weight_ih_l1'))!;
    expect(reports.map(({ from }) => from)).toContain(layer.offset);
  });
}

function failuresInProgress(open: Open, handsOver: boolean): void {
  const { config, parameters, batch } = problem(SHAPE, 14);
  const { limits } = SHAPE;
  const notFinite = { name: 'EngineError', code: 'not_finite' };

  it('rejects a gradient that turns out not to be finite after a part of it was handed over', async () => {
    const { model, infinite, good, window } = lateOverflow();
    const engine = await open(model, limits, infinite);
    const { reports, onProgress } = recorder();
    await expect(engine.gradient(window, onProgress)).rejects.toMatchObject(notFinite);
    if (handsOver) expect(reports.length).toBeGreaterThan(0);
    engine.setParameters(good);
    expect((await engine.gradient(window, onProgress)).tokens).toBe(window.streams * window.window);
  });

  it('rejects a gradient that fails before anything was handed over', async () => {
    const engine = await open(config, limits, parameters);
    const expected = copyOf(await engine.gradient(batch));
    for (const stream of [0, batch.streams - 1]) {
      const poisoned = { ...batch, states: batch.states.with(stream * stateSize(config), NaN) };
      await expect(engine.gradient(poisoned, () => {})).rejects.toMatchObject(notFinite);
    }
    expect(copyOf(await engine.gradient(batch, () => {}))).toEqual(expected);
  });

  it.runIf(handsOver)('rejects with the error of a listener, and keeps working', async () => {
    const engine = await open(config, limits, parameters);
    const expected = copyOf(await engine.gradient(batch));
    let calls = 0;
    const failing: GradientProgress = () => {
      calls++;
      throw new RangeError('the listener failed');
    };
    await expect(engine.gradient(batch, failing)).rejects.toThrow('the listener failed');
    expect(calls).toBe(1);
    expect(copyOf(await engine.gradient(batch))).toEqual(expected);
  });

  it.runIf(handsOver)('may be disposed of by a listener', async () => {
    const engine = await open(config, limits, parameters);
    const disposed = { name: 'EngineError', code: 'disposed' };
    await expect(engine.gradient(batch, () => engine.dispose())).rejects.toMatchObject(disposed);
    await expect(engine.gradient(batch)).rejects.toMatchObject(disposed);
  });
}

/**
 * A model whose loss is finite and whose gradient overflows in the lowest layer alone: the
 * characters are huge, the weights on them tiny.
 */
function lateOverflow() {
  const { config: model, batch } = problem(
    { cell: 'rnn-relu', layers: 2, hidden: 2, vocabulary: 2, embedding: 1, streams: 4, window: 3 },
    15,
  );
  const { size, tensors } = createLayout(model);
  const parametersWith = (scale: number): Float32Array => {
    const parameters = new Float32Array(size);
    const fill = (tensor: string, value: number): void => {
      const { offset, size: length } = tensors.find(({ name }) => name === tensor)!;
      parameters.fill(value, offset, offset + length);
    };
    fill('embedding.weight', scale);
    fill('rnn.weight_ih_l0', 1 / scale);
    fill('rnn.weight_ih_l1', 1);
    // Confident in character 1, and always wrong.
    fill('linear.weight', 10);
    const { offset } = tensors.find(({ name }) => name === 'linear.weight')!;
    parameters.fill(-10, offset, offset + model.hidden);
    return parameters;
  };
  const states = new Float32Array(batch.states.length);
  const window: Batch = { ...batch, tokens: new Uint16Array(batch.tokens.length), states };
  return { model, infinite: parametersWith(1e37), good: parametersWith(1), window };
}

function errors(open: Open): void {
  const { config, parameters, batch } = problem(SHAPE, 11);
  const { limits } = SHAPE;
  const tokens = (count: number) => new Uint16Array(count);
  const states = (streams: number) => new Float32Array(streams * stateSize(config));
  const misshapen: [string, Batch][] = [
    ['no streams', { streams: 0, window: 6, tokens: tokens(0), states: states(0) }],
    ['more streams than the limit', { streams: 8, window: 6, tokens: tokens(8 * 7), states: states(8) }],
    ['no time steps', { streams: 5, window: 0, tokens: tokens(5), states: states(5) }],
    ['more time steps than the limit', { streams: 5, window: 9, tokens: tokens(50), states: states(5) }],
    ['a fractional window', { streams: 2, window: 1.5, tokens: tokens(5), states: states(2) }],
    ['tokens of the wrong length', { ...batch, tokens: tokens(batch.tokens.length - 1) }],
    ['states of the wrong length', { ...batch, states: states(4) }],
    ['a token outside the vocabulary', { ...batch, tokens: batch.tokens.with(3, config.vocabulary) }],
    ['a last target outside the vocabulary', { ...batch, tokens: batch.tokens.with(-1, 65535) }],
  ];
  for (const [what, wrong] of misshapen) {
    it(`rejects ${what} as bad_shape and keeps working`, async () => {
      const engine = await open(config, limits, parameters);
      await expect(engine.gradient(wrong)).rejects.toMatchObject({ name: 'EngineError', code: 'bad_shape' });
      await expect(engine.evaluate(wrong)).rejects.toMatchObject({ name: 'EngineError', code: 'bad_shape' });
      expect((await engine.gradient(batch)).lossSum).toBeGreaterThan(0);
    });
  }

  it('rejects parameters of the wrong length and keeps the old ones', async () => {
    const engine = await open(config, limits, parameters);
    const { lossSum } = await engine.gradient(batch);
    for (const wrong of [parameters.slice(1), new Float32Array(parameters.length + 1)]) {
      expect(() => engine.setParameters(wrong)).toThrow(expect.objectContaining({ name: 'EngineError', code: 'bad_shape' }));
    }
    expect((await engine.gradient(batch)).lossSum).toBe(lossSum);
  });

  it('rejects a step with a token outside the vocabulary or states of the wrong length', async () => {
    const engine = await open(config, limits, parameters);
    const badShape = { name: 'EngineError', code: 'bad_shape' };
    await expect(engine.step(new Uint16Array([config.vocabulary]), states(1))).rejects.toMatchObject(badShape);
    await expect(engine.step(new Uint16Array([0]), states(2))).rejects.toMatchObject(badShape);
    await expect(engine.step(new Uint16Array(8), states(8))).rejects.toMatchObject(badShape);
  });

  it('reports NaN in any tensor as not_finite and recovers with good parameters', async () => {
    const engine = await open(config, limits, parameters);
    const good = copyOf(await engine.gradient(batch));
    for (const { name, offset, size } of createLayout(config).tensors) {
      engine.setParameters(parameters.slice().fill(NaN, offset, offset + size));
      await expect(engine.gradient(batch), name).rejects.toMatchObject({ name: 'EngineError', code: 'not_finite' });
    }
    engine.setParameters(parameters);
    expect(copyOf(await engine.gradient(batch))).toEqual(good);
  });

  it('reports infinite logits as not_finite', async () => {
    const engine = await open(config, limits, parameters.slice().fill(Infinity, parameters.length - config.vocabulary));
    await expect(engine.gradient(batch)).rejects.toMatchObject({ name: 'EngineError', code: 'not_finite' });
  });

  it('reports NaN in the hidden state of one stream as not_finite', async () => {
    const engine = await open(config, limits, parameters);
    const poisoned = { ...batch, states: batch.states.with(3, NaN) };
    await expect(engine.gradient(poisoned)).rejects.toMatchObject({ name: 'EngineError', code: 'not_finite' });
  });

  it('rejects every call after dispose, which may be called twice', async () => {
    const engine = await open(config, limits, parameters);
    engine.dispose();
    engine.dispose();
    const disposed = { name: 'EngineError', code: 'disposed' };
    expect(() => engine.setParameters(parameters)).toThrow(expect.objectContaining(disposed));
    await expect(engine.gradient(batch)).rejects.toMatchObject(disposed);
    await expect(engine.evaluate(batch)).rejects.toMatchObject(disposed);
    await expect(engine.step(new Uint16Array([0]), states(1))).rejects.toMatchObject(disposed);
  });
}

/**
 * Feeds the window one column at a time; returns logits [B, T, V] and leaves the end states in
 * `states`.
 */
async function stepThrough(engine: Engine, config: ModelConfig, batch: Batch, states: Float32Array): Promise<Float64Array> {
  const { streams: B, window: T, tokens } = batch;
  const V = config.vocabulary;
  const logits = new Float64Array(B * T * V);
  for (let t = 0; t < T; t++) {
    const column = Uint16Array.from({ length: B }, (_, b) => tokens[b * (T + 1) + t]);
    const step = await engine.step(column, states);
    for (let b = 0; b < B; b++) logits.set(step.subarray(b * V, (b + 1) * V), (b * T + t) * V);
  }
  return logits;
}

/** For engines with their own float32 exponentials for gates. */
export function saturatedGates(name: string, createEngine: CreateEngine): void {
  it(`${name} stays finite and correct far outside the range of float32 exponentials`, async () => {
    const { config, parameters, batch } = problem({ layers: 2, hidden: 12, vocabulary: 9, streams: 3, window: 5 }, 12);
    const limits = { maxStreams: batch.streams, maxWindow: batch.window };
    const large = parameters.map((value) => value * 300);
    const engine = await createEngine(config, limits);
    const reference = createReferenceEngine(config, limits);
    for (const one of [engine, reference]) one.setParameters(large);
    const expected = await reference.gradient(batch);
    const { lossSum, gradient } = await engine.gradient(batch);
    expect(Math.abs(lossSum / expected.lossSum - 1)).toBeLessThan(1e-5);
    expect(relativeError(gradient, expected.gradient)).toBeLessThan(1e-3);
    engine.dispose();
  });
}

/** A random model and batch; the same for the same shape and seed. */
export function problem({ streams, window, ...options }: Omit<Shape, 'limits'>, seed: number) {
  const config = modelConfig(options);
  const { cell, hidden, vocabulary } = config;
  const random = seeded(seed);
  const spread = (length: number, bound: number) => Float32Array.from({ length }, () => (random() * 2 - 1) * bound);
  // An unbounded ReLU would explode with the weights of the other cells.
  const parameters = spread(createLayout(config).size, (cell === 'rnn-relu' ? 1 : 2) / Math.sqrt(hidden));
  const tokens = Uint16Array.from({ length: streams * (window + 1) }, () => Math.floor(random() * vocabulary));
  const states = spread(streams * stateSize(config), 0.9);
  // As in the middle of a run: streams in arbitrary order, a seed with its top bit set.
  const key = {
    seed: 0x9e3779b9,
    round: 100 + seed,
    streams: Uint32Array.from({ length: streams }, (_, b) => (b * 37 + 5) % 1000),
  };
  const batch: Batch = { streams, window, tokens, states, ...(usesDropout(config) ? { dropout: key } : {}) };
  return { config, parameters, batch };
}

/** Numbers in [0, 1) for tests: Lehmer's multiplicative generator, 48271 mod 2^31 - 1. */
function seeded(seed: number): () => number {
  let state = seed * 7919 + 1;
  return () => {
    state = (state * 48271) % 0x7fffffff;
    return state / 0x7fffffff;
  };
}

function streamsOf(config: ModelConfig, batch: Batch, from: number, to: number): Batch {
  const columns = batch.window + 1;
  const size = stateSize(config);
  return {
    streams: to - from,
    window: batch.window,
    tokens: batch.tokens.slice(from * columns, to * columns),
    states: batch.states.slice(from * size, to * size),
    ...(batch.dropout ? { dropout: { ...batch.dropout, streams: batch.dropout.streams.slice(from, to) } } : {}),
  };
}

/** Copies results, which are valid only until the engine's next call. */
function copyOf<R extends Evaluation & { readonly gradient?: Float32Array }>(result: R): R {
  const gradient = result.gradient ? { gradient: result.gradient.slice() } : {};
  return { ...result, ...gradient, endStates: result.endStates.slice() };
}

export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(actual.length).toBe(expected.length);
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i++) {
    difference += (actual[i] - expected[i]) ** 2;
    norm += expected[i] ** 2;
  }
  return Math.sqrt(difference / norm);
}

import * as tf from '@tensorflow/tfjs';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { CELLS } from '../src/index.js';
import { createReferenceEngine } from '../src/reference/index.js';
import { createTfjsEngine, type TfjsApi } from '../src/tfjs/index.js';
import { engineConformance, problem, relativeError } from './engine-conformance.js';

const TOLERANCES = { loss: 1e-6, gradient: 1e-5, states: 1e-6, logits: 1e-6 };

// Otherwise the cpu backend prints an advertisement for another one.
tf.enableProdMode();
await tf.setBackend('cpu');

/**
 * The cpu backend under a name that the engine does not know as host memory: it takes the code
 * path of GPU backends, without a GPU.
 */
const DEVICE = 'elsewhere';
tf.registerBackend(DEVICE, () => new (tf.findBackend('cpu').constructor as new () => ReturnType<typeof tf.findBackend>)());
tf.copyRegisteredKernels('cpu', DEVICE);

for (const backend of ['cpu', DEVICE]) {
  engineConformance(
    `tfjs ${backend}`,
    async (config, limits) => {
      await tf.setBackend(backend);
      return createTfjsEngine(config, limits, tf);
    },
    TOLERANCES,
  );
}

const SHAPE = {
  layers: 2,
  hidden: 6,
  vocabulary: 8,
  embedding: 6,
  tied: true,
  dropout: 0.4,
  layerNorm: true,
  streams: 3,
  window: 4,
};
const limits = { maxStreams: 3, maxWindow: 4 };

describe.each(['cpu', DEVICE])('tensors on %s', (backend) => {
  beforeEach(() => tf.setBackend(backend));

  it.each(CELLS)('are all released, after each call and on dispose: %s', async (cell) => {
    const before = tf.memory().numTensors;
    const { config, parameters, batch } = problem({ ...SHAPE, cell }, 3);
    const engine = await createTfjsEngine(config, limits, tf);
    const counts: number[] = [];
    for (let round = 0; round < 3; round++) {
      engine.setParameters(parameters);
      await engine.gradient(batch);
      await engine.evaluate(batch);
      await engine.step(batch.tokens.slice(0, 2), new Float32Array((batch.states.length / 3) * 2));
      counts.push(tf.memory().numTensors);
    }
    expect(new Set(counts)).toEqual(new Set([counts[0]]));
    engine.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it('are released when a call fails', async () => {
    const before = tf.memory().numTensors;
    const { config, parameters, batch } = problem(SHAPE, 4);
    const engine = await createTfjsEngine(config, limits, failing('softmax', 'broken'));
    engine.setParameters(parameters);
    await engine.evaluate(batch);
    const between = tf.memory().numTensors;
    await expect(engine.gradient(batch)).rejects.toMatchObject({ code: 'unsupported' });
    expect(tf.memory().numTensors).toBe(between);
    engine.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });
});

/** tfjs with an operation that throws. */
function failing(operation: keyof TfjsApi, message: string): TfjsApi {
  return {
    ...tf,
    [operation]: () => {
      throw new Error(message);
    },
  };
}

describe('the backend', () => {
  beforeEach(() => tf.setBackend('cpu'));

  it('is named in the info', async () => {
    const { config } = problem(SHAPE, 5);
    expect((await createTfjsEngine(config, limits, tf)).info).toEqual({ name: 'tfjs', variant: 'cpu', device: 'cpu' });
    const named = await createTfjsEngine(config, limits, tf, { device: 'some GPU' });
    expect(named.info.device).toBe('some GPU');
  });

  it('is the one on which the engine was created, even if others were used since', async () => {
    const { config, parameters, batch } = problem(SHAPE, 6);
    const engine = await createTfjsEngine(config, limits, tf);
    await tf.setBackend(DEVICE);
    const other = await createTfjsEngine(config, limits, tf);
    const reference = createReferenceEngine(config, limits);
    for (const each of [reference, engine, other]) each.setParameters(parameters);
    const expected = await reference.gradient(batch);
    for (const each of [engine, other, engine]) {
      const { gradient } = await each.gradient(batch);
      expect(tf.getBackend()).toBe(each.info.variant);
      expect(relativeError(gradient, expected.gradient)).toBeLessThan(TOLERANCES.gradient);
    }
  });

  it('is rejected if it is webgl with 16-bit floats', async () => {
    const { config } = problem(SHAPE, 7);
    const webgl = (float32: boolean): TfjsApi => ({
      ...tf,
      getBackend: () => 'webgl',
      env: () => ({ ...tf.env(), getBool: (flag: string) => flag === 'WEBGL_RENDER_FLOAT32_ENABLED' && float32 }) as never,
    });
    await expect(createTfjsEngine(config, limits, webgl(false))).rejects.toMatchObject({
      name: 'EngineError',
      code: 'unsupported',
      remedy: expect.stringContaining('wasm') as string,
    });
    expect((await createTfjsEngine(config, limits, webgl(true))).info.variant).toBe('webgl');
  });

  it('that does not start is unsupported', async () => {
    const { config } = problem(SHAPE, 8);
    const broken = { ...tf, ready: () => Promise.reject(new Error('no such device')) };
    await expect(createTfjsEngine(config, limits, broken)).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('no such device') as string,
    });
  });

  it.each([
    ['Failed to allocate GPU texture: out of memory', 'out_of_memory'],
    ['Kernel RealDiv is not registered', 'unsupported'],
  ])('that throws "%s" is reported as %s', async (message, code) => {
    const { config, batch } = problem(SHAPE, 9);
    const engine = await createTfjsEngine(config, limits, failing('matMul', message));
    await expect(engine.gradient(batch)).rejects.toMatchObject({
      name: 'EngineError',
      code,
      message: expect.stringContaining(message) as string,
      cause: { message },
    });
  });

  it('with a lost WebGL context, which reads zeros, is reported as device_lost', async () => {
    let lost = false;
    const gl = { isContextLost: () => lost, getExtension: () => null, getParameter: () => null };
    const { config, batch } = problem(SHAPE, 10);
    const webgl = { ...tf, backend: () => ({ gpgpu: { gl } }) as never };
    const engine = await createTfjsEngine(config, limits, webgl);
    expect(engine.info.device).toBe('gpu');
    await engine.gradient(batch);
    lost = true;
    await expect(engine.gradient(batch)).rejects.toMatchObject({ code: 'device_lost' });
    await expect(engine.evaluate(batch)).rejects.toMatchObject({ code: 'device_lost' });
  });

  it('whose WebGPU device is lost is reported as device_lost, with the reason', async () => {
    let lose: (info: { message: string }) => void = () => {};
    const device = { lost: new Promise<{ message: string }>((resolve) => (lose = resolve)) };
    const { config, batch } = problem(SHAPE, 11);
    const adapterInfo = { vendor: 'acme', architecture: 'anvil', description: '' };
    const webgpu = { ...tf, backend: () => ({ device, adapterInfo }) as never };
    const engine = await createTfjsEngine(config, limits, webgpu);
    expect(engine.info.device).toBe('acme anvil');
    await engine.gradient(batch);
    lose({ message: 'unplugged' });
    await expect(engine.gradient(batch)).rejects.toMatchObject({ code: 'device_lost', message: 'unplugged' });
  });

  it('whose WebGPU device is lost is reported as device_lost even if the read fails before the loss is reported', async () => {
    let lose: (info: { message: string }) => void = () => {};
    const lost = new Promise<{ message: string }>((resolve) => (lose = resolve));
    const queue = { onSubmittedWorkDone: () => new Promise<void>((resolve) => setImmediate(resolve)) };
    const { config, batch } = problem(SHAPE, 12);
    const engine = await createTfjsEngine(config, limits, { ...tf, backend: () => ({ device: { lost, queue } }) as never });
    const data = vi.spyOn(tf.Tensor.prototype, 'data').mockRejectedValue(new Error('the buffer was unmapped'));
    await expect(engine.evaluate(batch)).rejects.toMatchObject({ code: 'unsupported' });
    const pending = engine.evaluate(batch);
    setImmediate(() => lose({ message: 'unplugged' }));
    await expect(pending).rejects.toMatchObject({ code: 'device_lost', message: 'unplugged' });
    data.mockRestore();
  });

  it('that is shared is held until the engine is disposed, or does not open', async () => {
    const { config } = problem(SHAPE, 15);
    let held = 0;
    const hold = () => {
      held++;
      return () => void held--;
    };
    const engine = await createTfjsEngine(config, limits, { ...tf, hold });
    expect(held).toBe(1);
    engine.dispose();
    engine.dispose();
    expect(held).toBe(0);
    const broken = { ...tf, hold, ready: () => Promise.reject(new Error('no such device')) };
    await expect(createTfjsEngine(config, limits, broken)).rejects.toMatchObject({ code: 'unsupported' });
    expect(held).toBe(0);
  });

  it('of an engine that is disposed during a call ends the call as disposed', async () => {
    const { config, batch } = problem(SHAPE, 13);
    const before = tf.memory().numTensors;
    for (const ticks of [0, 1, 3]) {
      const engine = await createTfjsEngine(config, limits, tf);
      const pending = engine.gradient(batch);
      for (let i = 0; i < ticks; i++) await Promise.resolve();
      engine.dispose();
      await expect(pending).rejects.toMatchObject({ name: 'EngineError', code: 'disposed' });
    }
    expect(tf.memory().numTensors).toBe(before);
  });

  it('does not compute from NaN, which its rectifier might swallow', async () => {
    const { config, parameters, batch } = problem({ ...SHAPE, cell: 'rnn-relu' }, 14);
    const engine = await createTfjsEngine(config, limits, tf);
    const notFinite = { name: 'EngineError', code: 'not_finite' };
    engine.setParameters(parameters);
    const states = batch.states.with(3, NaN);
    await expect(engine.evaluate({ ...batch, states })).rejects.toMatchObject(notFinite);
    await expect(engine.step(batch.tokens.slice(0, 3), states)).rejects.toMatchObject(notFinite);
    engine.setParameters(parameters.with(0, NaN));
    await expect(engine.evaluate(batch)).rejects.toMatchObject(notFinite);
  });
});

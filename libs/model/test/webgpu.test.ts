import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { CELLS, createLayout, stateSize, type Engine, type ModelConfig } from '../src/index.js';
import { createReferenceEngine } from '../src/reference/index.js';
import { onLost, scoped } from '../src/webgpu/device.js';
import { createWebgpuEngine, requestDevice, type OpenDevice, type WebgpuEngineOptions } from '../src/webgpu/index.js';
import { engineConformance, problem, relativeError, type Tolerances } from './engine-conformance.js';
import { openTestGpu } from './webgpu-adapter.js';

const F32: Tolerances = { loss: 1e-6, gradient: 1e-5, states: 1e-6, logits: 1e-6 };
/**
 * A float16 has 11 significant bits: rounding weights and outputs changes a gradient by a few
 * thousandths.
 */
const F16: Tolerances = { loss: 1e-3, gradient: 1e-2, states: 2e-3, logits: 5e-3 };

/**
 * Rounding the parameters alone, in the float64 reference, can carry a ReLU past its kink and
 * change a small model's gradient by 5 %.
 */
const KINK = 0.1;

const found = await openTestGpu();

if (typeof found === 'string') {
  console.warn(`SKIPPED: the webgpu engine is not tested, ${found}`);
  it.skip(`webgpu engine: ${found}`, () => undefined);
} else {
  const { gpu } = found;
  const open = await requestDevice(gpu);
  const { device, info, features } = open;
  afterAll(() => device.destroy());

  engineConformance('webgpu', (config, limits) => createWebgpuEngine(config, limits, device, { adapterInfo: info }), F32);
  agreement('with tiles for a GPU', open, { adapterInfo: { ...info, software: false } }, F32);
  if (!info.software) agreement('with tiles for a CPU', open, { adapterInfo: { ...info, software: true } }, F32);
  const lacksF16 = features.has('shader-f16') ? '' : 'the adapter has no shader-f16 (lavapipe of Mesa 25 does)';
  agreement('with f16', open, { adapterInfo: info, f16: true }, F16, lacksF16);
  const lacksSubgroups = info.subgroupMinSize >= 8 ? '' : 'the adapter has no subgroups of 8 (lavapipe of Mesa 25 does)';
  agreement('with subgroups', open, { adapterInfo: { ...info, software: false }, subgroups: true }, F32, lacksSubgroups);
  rectifiedNaN(open);
  deviceLoss(gpu);
  refusals(gpu, open);
}

/** Tests the tiles and options that the adapter itself would not choose, on every cell. */
function agreement(what: string, open: OpenDevice, options: WebgpuEngineOptions, tolerances: Tolerances, lacking = ''): void {
  if (lacking) {
    console.warn(`SKIPPED: webgpu ${what}, ${lacking}`);
    it.skip(`webgpu engine ${what}: ${lacking}`, () => undefined);
    return;
  }
  describe(`webgpu engine ${what}`, () => {
    const engines: Engine[] = [];
    afterEach(() => engines.splice(0).forEach((engine) => engine.dispose()));

    // Only the options with their own kernels: an adapter on a CPU compiles some of them for many
    // seconds.
    const models = CELLS.map((cell) =>
      cell === 'rnn-tanh'
        ? { cell, layers: 2, layerNorm: true, dropout: 0.3, dropoutOutput: 0.4 }
        : { cell, layers: cell === 'rnn-relu' ? 2 : 1 },
    );
    it.each(models)(
      'agrees with the reference on $cell, layers: $layers, twice with the same bits',
      async (model) => {
        const { config, parameters, batch } = problem({ hidden: 37, vocabulary: 43, streams: 17, window: 5, ...model }, 3);
        const limits = { maxStreams: 20, maxWindow: 6 };
        const engine = await createWebgpuEngine(config, limits, open.device, options);
        engines.push(engine);
        const reference = createReferenceEngine(config, limits);
        for (const each of [engine, reference]) each.setParameters(parameters);
        const expected = await reference.gradient(batch);
        const first = await engine.gradient(batch);
        expect(Math.abs(first.lossSum / expected.lossSum - 1)).toBeLessThan(tolerances.loss);
        expect(relativeError(first.endStates, expected.endStates)).toBeLessThan(tolerances.states);
        for (const { name, offset, size } of createLayout(config).tensors) {
          const [from, to] = [offset, offset + size];
          const error = relativeError(first.gradient.subarray(from, to), expected.gradient.subarray(from, to));
          expect(error, name).toBeLessThan(options.f16 && model.cell === 'rnn-relu' ? KINK : tolerances.gradient);
        }
        const bits = first.gradient.slice();
        expect((await engine.gradient(batch)).gradient).toEqual(bits);
      },
      COMPILE_MS,
    );
  });
}

/** Timeout for a slow compiler on a busy machine. */
const COMPILE_MS = 240_000;

const SMALL = { layers: 1, hidden: 5, vocabulary: 7, streams: 2, window: 3 };
const LIMITS = { maxStreams: 2, maxWindow: 3 };

function rectifiedNaN({ device, info }: OpenDevice): void {
  it('propagates NaN through the rectifier: rnn-relu reports it as not_finite', async () => {
    const { config, parameters, batch } = problem({ ...SMALL, cell: 'rnn-relu' }, 1);
    const engine = await createWebgpuEngine(config, LIMITS, device, { adapterInfo: info });
    engine.setParameters(parameters);
    const poisoned = { ...batch, states: batch.states.with(3, NaN) };
    const notFinite = { name: 'EngineError', code: 'not_finite' };
    await expect(engine.gradient(poisoned)).rejects.toMatchObject(notFinite);
    await expect(engine.evaluate(poisoned)).rejects.toMatchObject(notFinite);
    expect((await engine.step(new Uint16Array(2), batch.states.with(3, NaN))).some(Number.isNaN)).toBe(true);
    expect((await engine.evaluate(batch)).lossSum).toBeGreaterThan(0);
    engine.dispose();
  });
}

function deviceLoss(gpu: GPU): void {
  describe('webgpu engine whose device is lost', () => {
    const lost = { name: 'EngineError', code: 'device_lost', remedy: expect.stringMatching(/new device/) };

    async function openOwn() {
      const { device, info } = await requestDevice(gpu);
      const { config, parameters, batch } = problem(SMALL, 1);
      const engine = await createWebgpuEngine(config, LIMITS, device, { adapterInfo: info });
      engine.setParameters(parameters);
      return { device, engine, config, parameters, batch };
    }

    it('rejects the pending gradient and every later call as device_lost', async () => {
      const { device, engine, config, parameters, batch } = await openOwn();
      expect((await engine.gradient(batch)).lossSum).toBeGreaterThan(0);
      const pending = engine.gradient(batch);
      device.destroy();
      await expect(pending).rejects.toMatchObject(lost);
      await expect(engine.gradient(batch)).rejects.toMatchObject(lost);
      await expect(engine.evaluate(batch)).rejects.toMatchObject(lost);
      await expect(engine.step(new Uint16Array(1), new Float32Array(stateSize(config)))).rejects.toMatchObject(lost);
      expect(() => engine.setParameters(parameters)).toThrow(expect.objectContaining(lost));
      engine.dispose();
      await expect(engine.gradient(batch)).rejects.toMatchObject({ code: 'disposed' });
    });

    it('reports device_lost at the next call after the device was lost between calls, and opens no other engine on it', async () => {
      const { device, engine, config, batch } = await openOwn();
      await engine.gradient(batch);
      device.destroy();
      await device.lost;
      await expect(engine.gradient(batch)).rejects.toMatchObject(lost);
      await expect(createWebgpuEngine(config, LIMITS, device)).rejects.toMatchObject(lost);
      engine.dispose();
    });

    it('calls a listener that is added after the loss immediately', async () => {
      const device = { lost: Promise.resolve({ message: 'unplugged' }) } as unknown as GPUDevice;
      const reported: string[] = [];
      onLost(device, ({ message }) => reported.push(message));
      await device.lost;
      onLost(device, ({ code }) => reported.push(code));
      expect(reported).toEqual(['the device was lost: unplugged', 'device_lost']);
    });

    it('removes its listeners from a device on which it could not be opened', async () => {
      const { device, info } = await requestDevice(gpu);
      const [added, removed] = [vi.spyOn(device, 'addEventListener'), vi.spyOn(device, 'removeEventListener')];
      vi.spyOn(device, 'createComputePipelineAsync').mockRejectedValue(new Error('the compiler gave up'));
      await expect(createWebgpuEngine(problem(SMALL, 1).config, LIMITS, device, { adapterInfo: info })).rejects.toMatchObject({
        code: 'unsupported',
        message: expect.stringContaining('the compiler gave up'),
      });
      expect(added).toHaveBeenCalledOnce();
      expect(removed.mock.calls).toEqual(added.mock.calls);
      vi.restoreAllMocks();
      device.destroy();
    });

    it('cannot be created on a lost device', async () => {
      const { device, info } = await requestDevice(gpu);
      device.destroy();
      await expect(createWebgpuEngine(problem(SMALL, 1).config, LIMITS, device, { adapterInfo: info })).rejects.toMatchObject(
        lost,
      );
    });

    it('rejects the pending call as disposed when it is disposed during the call, and leaves the device open', async () => {
      const { device, engine, config, parameters, batch } = await openOwn();
      const pending = engine.gradient(batch);
      engine.dispose();
      await expect(pending).rejects.toMatchObject({ name: 'EngineError', code: 'disposed' });
      const next = await createWebgpuEngine(config, LIMITS, device);
      next.setParameters(parameters);
      expect((await next.gradient(batch)).lossSum).toBeGreaterThan(0);
      device.destroy();
    });
  });
}

function refusals(gpu: GPU, { device, info }: OpenDevice): void {
  describe('webgpu engine that cannot be created', () => {
    const { config } = problem(SMALL, 1);

    it('reports a host without WebGPU or without an adapter as absent, with a remedy', async () => {
      const absent = { name: 'EngineError', code: 'absent', remedy: expect.stringMatching(/driver/) };
      await expect(requestDevice(undefined)).rejects.toMatchObject(absent);
      await expect(requestDevice({ requestAdapter: async () => null } as unknown as GPU)).rejects.toMatchObject(absent);
    });

    it('reports an adapter without a device as unsupported', async () => {
      const busy = { features: new Set(), limits: {}, requestDevice: async () => Promise.reject(new Error('too many devices')) };
      const host = { requestAdapter: async () => busy } as unknown as GPU;
      const unsupported = { code: 'unsupported', message: expect.stringContaining('too many devices') };
      await expect(requestDevice(host)).rejects.toMatchObject(unsupported);
    });

    it('names the memory that a model needs and what to lower if the device binds less', async () => {
      const adapter = await gpu.requestAdapter();
      const small = await adapter!.requestDevice({ requiredLimits: { maxStorageBufferBindingSize: 2 ** 27 } });
      const wide: ModelConfig = { ...config, hidden: 512 };
      const error = {
        code: 'unsupported',
        message: expect.stringMatching(/\d+ MiB.*128 MiB/),
        remedy: expect.stringContaining('maxStreams'),
      };
      await expect(createWebgpuEngine(wide, { maxStreams: 2048, maxWindow: 64 }, small)).rejects.toMatchObject(error);
      small.destroy();
    });

    it('reports a device without memory for the model as out_of_memory', async () => {
      const noRoom = [null, null, { message: 'VK_ERROR_OUT_OF_DEVICE_MEMORY' }];
      const full = { pushErrorScope: () => undefined, popErrorScope: async () => noRoom.shift() } as unknown as GPUDevice;
      const outOfMemory = {
        code: 'out_of_memory',
        message: expect.stringContaining('3 MiB'),
        remedy: expect.stringContaining('maxStreams'),
      };
      await expect(
        scoped(
          full,
          () => 3 * 2 ** 20,
          () => undefined,
        ),
      ).rejects.toMatchObject(outOfMemory);
    });

    it('does not catch errors that the device reports while it waits', async () => {
      let open = 0;
      const scopes = { pushErrorScope: () => void open++, popErrorScope: async () => (open--, null) } as unknown as GPUDevice;
      const seen = await scoped(
        scopes,
        () => 0,
        async () => {
          const before = open;
          await Promise.resolve();
          return [before, open];
        },
      );
      expect(seen).toEqual([3, 0]);
    });

    it('rejects features that the device was not opened with', async () => {
      const plain = await (await gpu.requestAdapter())!.requestDevice();
      const unsupported = { code: 'unsupported', remedy: expect.stringContaining('option') };
      await expect(createWebgpuEngine(config, LIMITS, plain, { f16: true })).rejects.toMatchObject(unsupported);
      await expect(createWebgpuEngine(config, LIMITS, plain, { subgroups: true })).rejects.toMatchObject(unsupported);
      plain.destroy();
    });

    it('rejects a model that no engine can hold', async () => {
      await expect(createWebgpuEngine({ ...config, hidden: 0 }, LIMITS, device)).rejects.toMatchObject({ code: 'bad_shape' });
    });

    it('fails every call after an uncaptured error of the device', async () => {
      const own = await requestDevice(gpu);
      const { parameters, batch } = problem(SMALL, 1);
      const engine = await createWebgpuEngine(config, LIMITS, own.device);
      engine.setParameters(parameters);
      const reported = new Promise((resolve) => own.device.addEventListener('uncapturederror', resolve, { once: true }));
      own.device.createBuffer({ size: 16, usage: 0 });
      await reported;
      await expect(engine.gradient(batch)).rejects.toMatchObject({
        code: 'device_lost',
        message: expect.stringMatching(/refuses/),
        remedy: expect.stringMatching(/another engine/),
      });
      own.device.destroy();
    });

    it('destroys its own device, even if it cannot be created', async () => {
      const [used, unused] = [await requestDevice(gpu), await requestDevice(gpu)];
      (await createWebgpuEngine(config, LIMITS, used.device, { ownsDevice: true })).dispose();
      expect(await used.device.lost).toMatchObject({ reason: 'destroyed' });
      const failing = createWebgpuEngine({ ...config, hidden: 0 }, LIMITS, unused.device, { ownsDevice: true });
      await expect(failing).rejects.toMatchObject({ code: 'bad_shape' });
      expect(await unused.device.lost).toMatchObject({ reason: 'destroyed' });
    });

    it('names its device and variant', async () => {
      const engine = await createWebgpuEngine(config, LIMITS, device, { adapterInfo: info });
      expect(engine.info).toEqual({ name: 'webgpu', variant: 'f32', device: info.name });
      engine.dispose();
    });
  });
}

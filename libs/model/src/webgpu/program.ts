/// <reference types="@webgpu/types" />
import { checkBufferSize, USAGE } from './device.js';
import { assemble, CALL_FIELDS, type Features, type KernelSource } from './wgsl.js';

/** Sizes of a call, on which grids and fields depend. */
export interface Shape {
  readonly streams: number;
  readonly window: number;
}

export type Groups = readonly [number, number?, number?];

/** One dispatch, ready to be encoded for any shape of a call. */
export interface Task {
  readonly source: KernelSource;
  readonly buffers: readonly GPUBuffer[];
  readonly fields: (shape: Shape) => Readonly<Record<string, number>>;
  readonly groups: (shape: Shape) => Groups;
}

/**
 * A task that runs once, or tasks that run for every time step, from the first or from the last.
 */
export type Stage = Task | { readonly tasks: readonly Task[]; readonly direction: 'forward' | 'backward' };

interface Compiled {
  readonly pipeline: GPUComputePipeline;
  readonly bindGroup: GPUBindGroup;
  groups: Groups;
}

/** Distance of uniform bindings that every device allows, in bytes and words. */
const SLOT = 256;
const SLOT_WORDS = SLOT / 4;

/**
 * Buffers and dispatches of one engine, and its device if it owns that. All are created once; a
 * call only writes numbers and encodes.
 */
export class Program {
  readonly #device: GPUDevice;
  readonly #features: Features;
  readonly #ownsDevice: boolean;
  readonly #buffers: GPUBuffer[] = [];
  readonly #compiled = new Map<Task, Compiled>();
  #tasks: readonly Task[] = [];
  #frame!: { readonly call: GPUBuffer; readonly fields: GPUBuffer; readonly bindGroup: GPUBindGroup };
  #fields = new Uint32Array();
  #shape: Shape = { streams: 0, window: 0 };
  /** Bytes of all buffers. */
  bytes = 0;

  constructor(device: GPUDevice, features: Features, ownsDevice = false) {
    this.#device = device;
    this.#features = features;
    this.#ownsDevice = ownsDevice;
  }

  /** @throws EngineError `unsupported` if it is larger than the device can bind. */
  buffer(label: string, bytes: number, usage: number = USAGE.storage): GPUBuffer {
    const size = Math.max(16, Math.ceil(bytes / 16) * 16);
    checkBufferSize(this.#device, label, size);
    this.bytes += size;
    const buffer = this.#device.createBuffer({ label, size, usage });
    this.#buffers.push(buffer);
    return buffer;
  }

  /**
   * Compiles the tasks; requests all that may fail from the device before the first await.
   * `steps`: time steps of the longest window.
   */
  async compile(tasks: readonly Task[], steps: number): Promise<void> {
    const uniform = USAGE.uniform | USAGE.copyTarget;
    const call = this.buffer('numbers of the call', CALL_FIELDS.length * 4, uniform);
    const step = this.buffer('time steps', steps * SLOT, uniform);
    const fields = this.buffer('numbers of the kernels', tasks.length * SLOT, uniform);
    const counts = new Uint32Array(steps * SLOT_WORDS);
    for (let t = 0; t < steps; t++) counts[t * SLOT_WORDS] = t;
    this.#device.queue.writeBuffer(step, 0, counts);
    const { frameLayout } = poolOf(this.#device);
    const bindGroup = this.#device.createBindGroup({
      layout: frameLayout,
      entries: [
        { binding: 0, resource: { buffer: call } },
        { binding: 1, resource: { buffer: step, size: 16 } },
      ],
    });
    this.#frame = { call, fields, bindGroup };
    this.#fields = new Uint32Array(tasks.length * SLOT_WORDS);
    this.#tasks = tasks;
    await Promise.all(tasks.map((task, i) => this.#compileTask(task, i)));
    // Some tasks do not depend on a call and may be encoded before the first one.
    this.prepare(new Uint32Array(CALL_FIELDS.length), { streams: 1, window: 1 });
  }

  async #compileTask(task: Task, index: number): Promise<void> {
    const { pipeline, layout } = pipelineOf(this.#device, task.source, this.#features);
    const uniform = { binding: 0, resource: { buffer: this.#frame.fields, offset: index * SLOT, size: SLOT } };
    const storage = task.buffers.map((buffer, i) => ({ binding: i + 1, resource: { buffer } }));
    const bindGroup = this.#device.createBindGroup({ label: task.source.label, layout, entries: [uniform, ...storage] });
    this.#compiled.set(task, { pipeline: await pipeline, bindGroup, groups: [1] });
  }

  /** Sets the numbers `call` (CALL_FIELDS) and all grids for the passes that are encoded next. */
  prepare(call: Uint32Array<ArrayBuffer>, shape: Shape): void {
    this.#device.queue.writeBuffer(this.#frame.call, 0, call);
    if (shape.streams === this.#shape.streams && shape.window === this.#shape.window) return;
    this.#shape = { streams: shape.streams, window: shape.window };
    this.#tasks.forEach((task, i) => {
      const values = task.fields(shape);
      task.source.fields.forEach((name, word) => (this.#fields[i * SLOT_WORDS + word] = values[name]));
      this.#compiled.get(task)!.groups = task.groups(shape);
    });
    this.#device.queue.writeBuffer(this.#frame.fields, 0, this.#fields);
  }

  /** Encodes one pass over the stages, for the shape last prepared. */
  encode(encoder: GPUCommandEncoder, stages: readonly Stage[]): void {
    const pass = encoder.beginComputePass();
    const { bindGroup } = this.#frame;
    const { window } = this.#shape;
    let pipeline: GPUComputePipeline | undefined;
    const dispatch = (task: Task): void => {
      const compiled = this.#compiled.get(task)!;
      if (compiled.pipeline !== pipeline) pass.setPipeline((pipeline = compiled.pipeline));
      pass.setBindGroup(1, compiled.bindGroup);
      pass.dispatchWorkgroups(...compiled.groups);
    };
    pass.setBindGroup(0, bindGroup, [0]);
    for (const stage of stages) {
      if (!('tasks' in stage)) {
        dispatch(stage);
        continue;
      }
      for (let i = 0; i < window; i++) {
        const t = stage.direction === 'forward' ? i : window - 1 - i;
        pass.setBindGroup(0, bindGroup, [t * SLOT]);
        for (const task of stage.tasks) dispatch(task);
      }
    }
    pass.end();
  }

  destroy(): void {
    for (const buffer of this.#buffers) buffer.destroy();
    if (this.#ownsDevice) this.#device.destroy();
  }
}

/**
 * Pipelines and layouts belong to the device, so that engines of the same kind of model share
 * them.
 */
interface Pool {
  readonly frameLayout: GPUBindGroupLayout;
  readonly layouts: Map<string, GPUBindGroupLayout>;
  readonly pipelines: Map<string, Promise<GPUComputePipeline>>;
}

const pools = new WeakMap<GPUDevice, Pool>();

/** GPUShaderStage.COMPUTE. */
const COMPUTE = 0x4;

function poolOf(device: GPUDevice): Pool {
  const known = pools.get(device);
  if (known) return known;
  const frameLayout = device.createBindGroupLayout({
    entries: [
      { binding: 0, visibility: COMPUTE, buffer: { type: 'uniform' } },
      { binding: 1, visibility: COMPUTE, buffer: { type: 'uniform', hasDynamicOffset: true } },
    ],
  });
  const pool: Pool = { frameLayout, layouts: new Map(), pipelines: new Map() };
  pools.set(device, pool);
  return pool;
}

function pipelineOf(device: GPUDevice, source: KernelSource, features: Features) {
  const pool = poolOf(device);
  const layout = layoutOf(device, pool, source);
  const code = assemble(source, features);
  let pipeline = pool.pipelines.get(code);
  if (!pipeline) {
    pipeline = device.createComputePipelineAsync({
      label: source.label,
      layout: device.createPipelineLayout({ bindGroupLayouts: [pool.frameLayout, layout] }),
      compute: { module: device.createShaderModule({ label: source.label, code }) },
    });
    pool.pipelines.set(code, pipeline);
    pipeline.catch(() => pool.pipelines.delete(code));
  }
  return { pipeline, layout };
}

function layoutOf(device: GPUDevice, { layouts }: Pool, { bindings }: KernelSource): GPUBindGroupLayout {
  const key = bindings.map(({ access }) => access).join(' ');
  let layout = layouts.get(key);
  if (!layout) {
    layout = device.createBindGroupLayout({
      entries: [
        { binding: 0, visibility: COMPUTE, buffer: { type: 'uniform' } },
        ...bindings.map(({ access }, i) => ({
          binding: i + 1,
          visibility: COMPUTE,
          buffer: { type: access === 'read' ? ('read-only-storage' as const) : ('storage' as const) },
        })),
      ],
    });
    layouts.set(key, layout);
  }
  return layout;
}

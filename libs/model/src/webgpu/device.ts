/// <reference types="@webgpu/types" />
import { EngineError } from '../engine.js';

/** What the engine needs to know about an adapter but the device does not tell. */
export interface DeviceInfo {
  /** Name of the GPU: vendor, architecture, device, as far as the host discloses them. */
  readonly name: string;
  /** Smallest number of threads in a subgroup; 0 if unknown. */
  readonly subgroupMinSize: number;
  /** The adapter computes on a CPU. */
  readonly software: boolean;
}

export interface OpenDevice {
  readonly device: GPUDevice;
  readonly info: DeviceInfo;
  /** The features that the device has, out of shader-f16, subgroups and timestamp-query. */
  readonly features: ReadonlySet<string>;
}

const WISHED = ['shader-f16', 'subgroups', 'timestamp-query'] as const;

/** Limits whose defaults are small for a model; adapters often offer more. */
const RAISED = ['maxBufferSize', 'maxStorageBufferBindingSize', 'maxComputeWorkgroupStorageSize'] as const;

/**
 * Opens the fastest adapter of `gpu` (`navigator.gpu`, or `create([])` of the npm package
 * `webgpu`) with its greatest limits.
 * @throws EngineError `absent` without an adapter, `unsupported` if the adapter returns no device.
 */
export async function requestDevice(gpu: GPU | undefined): Promise<OpenDevice> {
  const adapter = await gpu?.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) {
    throw new EngineError(
      'absent',
      gpu ? 'WebGPU finds no adapter' : 'this host has no WebGPU',
      "install or update the GPU's driver (Linux: Vulkan), turn on WebGPU in the browser, or use the engine wasm",
    );
  }
  const features = WISHED.filter((feature) => adapter.features.has(feature)) as GPUFeatureName[];
  try {
    const device = await adapter.requestDevice({
      requiredFeatures: features,
      requiredLimits: Object.fromEntries(RAISED.map((limit) => [limit, adapter.limits[limit]])),
    });
    hosts.set(device, gpu!);
    return { device, info: describe(adapter.info), features: new Set(features) };
  } catch (cause) {
    throw new EngineError(
      'unsupported',
      `the adapter returns no device: ${reason(cause)}`,
      'restart the browser or use the engine wasm',
      {
        cause,
      },
    );
  }
}

/**
 * Keeps GPU objects alive: Dawn in Node aborts the process if its GPU object is collected while a
 * device is in use.
 */
const hosts = new WeakMap<GPUDevice, GPU>();

const SOFTWARE = /swiftshader|llvmpipe|lavapipe|software|basic render/i;

/** `info` is absent on hosts whose devices do not describe their adapter yet. */
export function describe(info: GPUAdapterInfo | undefined): DeviceInfo {
  const words = [info?.vendor, info?.architecture, info?.device, info?.description].filter((word) => word);
  const name = words.join(' ') || 'unnamed GPU';
  const software = (info?.isFallbackAdapter ?? false) || SOFTWARE.test(name);
  return { name, subgroupMinSize: info?.subgroupMinSize ?? 0, software };
}

export function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Values of GPUBufferUsage and GPUMapMode, which hosts without WebGPU globals lack. */
export const USAGE = { mapRead: 0x1, copySource: 0x4, copyTarget: 0x8, uniform: 0x40, storage: 0x80 } as const;
export const MAP_READ = 0x1;

const MIB = 2 ** 20;

/** @throws EngineError `unsupported` if a buffer is larger than the device can bind. */
export function checkBufferSize(device: GPUDevice, what: string, bytes: number): void {
  const most = Math.min(device.limits.maxBufferSize, device.limits.maxStorageBufferBindingSize);
  if (bytes <= most) return;
  throw new EngineError(
    'unsupported',
    `${what} take ${Math.ceil(bytes / MIB)} MiB, but this device binds at most ${Math.floor(most / MIB)} MiB`,
    'lower maxStreams, maxWindow or the hidden units of the model, or use the engine wasm',
  );
}

/**
 * Runs `create` and turns what the device reports into an EngineError; `bytes` returns how much
 * was requested. `create` must make all its requests to the device before its first await: error
 * scopes belong to the device, and if they stayed open longer, they would catch the errors of
 * other users of the device.
 */
export async function scoped<T>(device: GPUDevice, bytes: () => number, create: () => T | Promise<T>): Promise<T> {
  device.pushErrorScope('out-of-memory');
  device.pushErrorScope('internal');
  device.pushErrorScope('validation');
  const creation = (async () => create())().then(
    (result) => ({ result, thrown: undefined }),
    (thrown: unknown) => ({ result: undefined, thrown }),
  );
  const scopes = Promise.all([device.popErrorScope(), device.popErrorScope(), device.popErrorScope()]);
  const [{ result, thrown }, [validation, internal, memory]] = await Promise.all([creation, scopes]);
  if (memory) {
    throw new EngineError(
      'out_of_memory',
      `the device cannot allocate ${Math.ceil(bytes() / MIB)} MiB for the model: ${memory.message}`,
      'lower maxStreams, maxWindow or the hidden units of the model, or close other programs that use the GPU',
    );
  }
  if (thrown instanceof EngineError) throw thrown;
  const error = validation ?? internal ?? thrown;
  if (error !== undefined) throw unusable(error);
  return result as T;
}

export function unusable(error: unknown): EngineError {
  const message = error instanceof Error || !isMessage(error) ? reason(error) : error.message;
  return new EngineError(
    'unsupported',
    `the device refuses the engine's work: ${message}`,
    'update the driver or use the engine wasm',
    {
      cause: error,
    },
  );
}

function isMessage(error: unknown): error is { readonly message: string } {
  return typeof error === 'object' && error !== null && 'message' in error;
}

type LossListener = (error: EngineError) => void;

/**
 * Listeners for the loss of a device. device.lost itself would keep every listener as long as the
 * device lives.
 */
interface LossWatch {
  readonly listeners: Set<LossListener>;
  loss: EngineError | undefined;
}

const watches = new WeakMap<GPUDevice, LossWatch>();

/**
 * Calls `listener` when the device is lost, immediately if it already is; the returned function
 * removes the listener.
 */
export function onLost(device: GPUDevice, listener: LossListener): () => void {
  const watch = watches.get(device) ?? watchLoss(device);
  if (watch.loss) listener(watch.loss);
  else watch.listeners.add(listener);
  return () => watch.listeners.delete(listener);
}

function watchLoss(device: GPUDevice): LossWatch {
  const watch: LossWatch = { listeners: new Set(), loss: undefined };
  watches.set(device, watch);
  void device.lost.then(({ message }) => {
    watch.loss = deviceLost(message);
    for (const listener of watch.listeners) listener(watch.loss);
  });
  return watch;
}

/**
 * For an engine that can no longer compute although the device is present: to its user the same as
 * a lost device.
 */
export function broken(error: unknown): EngineError {
  const { message } = unusable(error);
  return new EngineError('device_lost', message, 'use another engine; the work of the call is lost', { cause: error });
}

export function deviceLost(message: string): EngineError {
  return new EngineError(
    'device_lost',
    `the device was lost: ${message || 'no reason given'}`,
    'open a new device and create a new engine, or use the engine wasm; the work of the call is lost',
  );
}

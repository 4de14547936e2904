import { EngineError } from '../engine.js';
import type { TfjsApi } from './ops.js';

const ANOTHER = 'use another engine, or create this one again';

export interface DeviceWatch {
  /** Why the device is gone, or undefined while it is present. */
  lost(): string | undefined;
  /**
   * Resolves when the cause of a failure is known: a read may be rejected before the device loss
   * behind it is reported.
   */
  settled(): Promise<void>;
}

/** The parts of backends that are used here but are not in the interface of tfjs-core. */
interface BackendInternals {
  /** webgpu */
  readonly device?: {
    readonly lost?: Promise<{ readonly message?: string }>;
    readonly queue?: { onSubmittedWorkDone(): Promise<unknown> };
  };
  readonly adapterInfo?: { readonly vendor?: string; readonly architecture?: string; readonly description?: string };
  /** webgl */
  readonly gpgpu?: { readonly gl?: WebGl };
  /** tensorflow (tfjs-node) */
  readonly isUsingGpuDevice?: boolean;
}

interface WebGl {
  isContextLost(): boolean;
  getExtension(name: string): { readonly UNMASKED_RENDERER_WEBGL: number } | null;
  getParameter(name: number): unknown;
}

/** A lost WebGL context throws nothing and reads zeros, so this is checked after every read. */
export function watchDevice(tf: TfjsApi): DeviceWatch {
  const { device, gpgpu } = tf.backend() as BackendInternals;
  let lost: string | undefined;
  device?.lost?.then(
    ({ message }) => (lost = message || 'the GPU device was lost'),
    () => (lost = 'the GPU device was lost'),
  );
  return {
    lost: () => (gpgpu?.gl?.isContextLost() ? 'the WebGL context was lost' : lost),
    async settled() {
      try {
        // Waits for either, because the queue of a lost device may never answer.
        await Promise.race([device?.lost, device?.queue?.onSubmittedWorkDone()]);
      } catch {
        return;
      }
    },
  };
}

/** Where the backend computes. */
export function deviceName(tf: TfjsApi): string {
  const { adapterInfo, gpgpu, isUsingGpuDevice } = tf.backend() as BackendInternals;
  if (adapterInfo) {
    const { description, vendor, architecture } = adapterInfo;
    return description || [vendor, architecture].filter(Boolean).join(' ') || 'gpu';
  }
  const renderer = gpgpu?.gl?.getExtension('WEBGL_debug_renderer_info');
  if (renderer) return String(gpgpu!.gl!.getParameter(renderer.UNMASKED_RENDERER_WEBGL));
  return gpgpu || isUsingGpuDevice ? 'gpu' : 'cpu';
}

/** @throws EngineError `unsupported` unless the backend computes in float32. */
export function checkPrecision(tf: TfjsApi): void {
  if (tf.getBackend() !== 'webgl' || tf.env().getBool('WEBGL_RENDER_FLOAT32_ENABLED')) return;
  throw new EngineError(
    'unsupported',
    "tfjs's webgl backend has only 16-bit floats on this device, which is not enough for gradients",
    'use the webgpu or wasm backend, or the wasm engine',
  );
}

const OUT_OF_MEMORY =
  /out of memory|\boom\b|cannot enlarge memory|allocation fail|failed to allocate|array buffer allocation|invalid typed array length/i;

/** Converts what tfjs threw to an error of the port. */
export function asEngineError(error: unknown, watch?: DeviceWatch): EngineError {
  if (error instanceof EngineError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const gone = watch?.lost();
  if (gone !== undefined) return deviceLost(gone, error);
  if (OUT_OF_MEMORY.test(message)) {
    const remedy = 'make batch, window or model smaller, or use a device with more memory';
    return new EngineError('out_of_memory', `tfjs ran out of memory: ${message}`, remedy, { cause: error });
  }
  return new EngineError('unsupported', `tfjs failed: ${message}`, 'use another backend of tfjs or another engine', {
    cause: error,
  });
}

export function deviceLost(reason: string, cause?: unknown): EngineError {
  return new EngineError('device_lost', reason, ANOTHER, { cause });
}

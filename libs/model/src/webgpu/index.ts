/// <reference types="@webgpu/types" />
import { checkEngineConfig } from '../batch.js';
import type { ModelConfig } from '../config.js';
import { EngineError, type Engine, type EngineLimits } from '../engine.js';
import { describe, type DeviceInfo } from './device.js';
import { openEngine } from './engine.js';
import { Program } from './program.js';
import { buildRecurrent } from './recurrent/network.js';
import { planRecurrent } from './recurrent/plan.js';
import type { Features } from './wgsl.js';

export { requestDevice, type DeviceInfo, type OpenDevice } from './device.js';

export interface WebgpuEngineOptions {
  /**
   * Store weights and outputs of layers in float16; sums and gates stay float32. Needs less memory
   * and traffic; gradients agree with those of float32 to about 1e-3 (rnn-relu: to a few per cent,
   * if rounding carries a unit past its kink). Needs the feature shader-f16. Default: false.
   */
  readonly f16?: boolean;
  /**
   * Sum rows through subgroups of 8 or more threads. Needs the feature subgroups. Default: false.
   */
  readonly subgroups?: boolean;
  /**
   * From requestDevice: the GPU's name for `info`, the size of subgroups, and whether it is a real
   * GPU. Absent: what the device tells.
   */
  readonly adapterInfo?: DeviceInfo;
  /**
   * The engine owns the device: dispose() destroys it, and so does a failure to create the engine.
   * Default: false.
   */
  readonly ownsDevice?: boolean;
}

/**
 * Computes on a GPU. `device` comes from requestDevice or is the caller's own; dispose() leaves it
 * open unless `ownsDevice`. All memory is allocated here, for limits.maxStreams x limits.maxWindow
 * characters; calls neither allocate on the device nor compile.
 * @throws EngineError `unsupported` (a requested feature is missing, a buffer is larger than the
 * device can bind), `out_of_memory`, `bad_shape`.
 */
export async function createWebgpuEngine(
  config: ModelConfig,
  limits: EngineLimits,
  device: GPUDevice,
  options: WebgpuEngineOptions = {},
): Promise<Engine> {
  const { ownsDevice = false, adapterInfo = describe(device.adapterInfo) } = options;
  try {
    checkEngineConfig(config, limits);
    const { name, software, subgroupMinSize } = adapterInfo;
    const features = pickFeatures(device, options, subgroupMinSize);
    const variant = [features.f16 ? 'f16' : 'f32', ...(features.subgroups ? ['subgroups'] : [])].join(' ');
    const plan = planRecurrent(config, limits, !software);
    const program = new Program(device, features, ownsDevice);
    return await openEngine(plan, device, program, () => buildRecurrent(plan, program, features), {
      name: 'webgpu',
      variant,
      device: name,
    });
  } catch (error) {
    if (ownsDevice) device.destroy();
    throw error;
  }
}

/** Number of lanes that must share a subgroup. */
const SUBGROUP = 8;

function pickFeatures(
  device: GPUDevice,
  { f16 = false, subgroups = false }: WebgpuEngineOptions,
  subgroupMinSize: number,
): Features {
  if (f16 && !device.features.has('shader-f16')) throw lacking('shader-f16', 'f16');
  if (subgroups && !(device.features.has('subgroups') && subgroupMinSize >= SUBGROUP)) {
    throw lacking(`subgroups of ${SUBGROUP} threads`, 'subgroups');
  }
  return { f16, subgroups };
}

function lacking(feature: string, option: string): EngineError {
  return new EngineError('unsupported', `this device has no ${feature}`, `leave out the option ${option}`);
}

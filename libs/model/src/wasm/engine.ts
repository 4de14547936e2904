import { checkBatch, checkDropoutKey, checkParameters, checkStep } from '../batch.js';
import type { ModelConfig } from '../config.js';
import { usesDropout, type DropoutKey } from '../dropout.js';
import {
  EngineError,
  type Batch,
  type Engine,
  type EngineInfo,
  type EngineLimits,
  type Evaluation,
  type Gradient,
  type GradientProgress,
} from '../engine.js';
import { layOut } from './memory-map.js';
import { CELL_PASSES } from './cells/index.js';
import { allocate, compileKernels, instantiate } from './kernels.js';
import { backward, forward, loss } from './network.js';
import { packBackward, packForward } from './pack.js';
import { describeVariant, tileColumns, type Variant } from './variants.js';
import { FLOAT, type Workspace } from './workspace.js';

/** @throws EngineError `out_of_memory`. */
export async function openEngine(config: ModelConfig, limits: EngineLimits, variant: Variant): Promise<Engine> {
  const cell = CELL_PASSES[config.cell];
  const map = layOut(config, cell, limits, tileColumns(variant));
  const memory = allocate(map.bytes);
  const kernels = await instantiate(await compileKernels(variant.set), memory);
  const workspace: Workspace = { config, cell, map, kernels, tile: variant.tile, memory: new Float32Array(memory.buffer) };
  return new WasmEngine(workspace, limits, describeVariant(variant));
}

class WasmEngine implements Engine {
  readonly info: EngineInfo;
  readonly limits: EngineLimits;
  #workspace: Workspace | undefined;
  #packed = { forward: false, backward: false };

  constructor(workspace: Workspace, limits: EngineLimits, variant: string) {
    this.info = { name: 'wasm', variant, device: 'cpu' };
    this.limits = limits;
    this.#workspace = workspace;
  }

  setParameters(parameters: Float32Array): void {
    const { config, map, memory } = this.#open();
    checkParameters(config, parameters);
    memory.set(parameters, map.flat.value / FLOAT);
    this.#packed = { forward: false, backward: false };
  }

  async gradient(batch: Batch, onProgress?: GradientProgress): Promise<Gradient> {
    const workspace = this.#open();
    const { config, map, kernels } = workspace;
    checkDropoutKey(config, batch);
    const key = usesDropout(config) ? batch.dropout : undefined;
    const evaluation = this.#evaluate(workspace, batch, key);
    if (!Number.isFinite(evaluation.lossSum)) throw notFinite('loss');
    if (!this.#packed.backward) packBackward(workspace);
    this.#packed.backward = true;
    const gradient = view(workspace, map.flat.gradient, map.size);
    const handOver = onProgress && ((address: number) => onProgress(gradient, (address - map.flat.gradient) / FLOAT));
    backward(workspace, batch.streams, batch.window, key, handOver);
    // The listener may have disposed of this engine.
    this.#open();
    if (kernels.allFinite(map.size, map.flat.gradient) === 0) throw notFinite('gradient');
    return { ...evaluation, gradient };
  }

  async evaluate(batch: Batch): Promise<Evaluation> {
    return this.#evaluate(this.#open(), batch);
  }

  async step(tokens: Uint16Array, states: Float32Array): Promise<Float32Array> {
    const workspace = this.#open();
    const { config, map, kernels, memory } = workspace;
    const { vocabulary: V } = config;
    checkStep(config, this.limits, tokens, states);
    const B = tokens.length;
    new Uint32Array(memory.buffer, map.inputs, B).set(tokens);
    loadStates(workspace, B, states);
    this.#forward(workspace, B, 1);
    storeStates(workspace, B, 1, states);
    kernels.copyRows(B, V, map.logits, map.paddedVocabulary, map.stepLogits, V);
    return view(workspace, map.stepLogits, B * V);
  }

  dispose(): void {
    this.#workspace = undefined;
  }

  #open(): Workspace {
    if (!this.#workspace) throw new EngineError('disposed', 'this engine was disposed', 'create a new engine');
    return this.#workspace;
  }

  #evaluate(workspace: Workspace, batch: Batch, key?: DropoutKey): Evaluation {
    const { config, map } = workspace;
    checkBatch(config, this.limits, batch);
    const { streams: B, window: T, states } = batch;
    loadTokens(workspace, batch);
    loadStates(workspace, B, states);
    if (key) new Uint32Array(workspace.memory.buffer, map.streamIds, B).set(key.streams);
    this.#forward(workspace, B, T, key);
    const endStates = view(workspace, map.endStates, states.length);
    storeStates(workspace, B, T, endStates);
    return { lossSum: loss(workspace, B, T), tokens: B * T, endStates };
  }

  #forward(workspace: Workspace, B: number, T: number, key?: DropoutKey): void {
    if (!this.#packed.forward) packForward(workspace);
    this.#packed.forward = true;
    forward(workspace, B, T, key);
  }
}

function view({ memory }: Workspace, address: number, length: number): Float32Array {
  return memory.subarray(address / FLOAT, address / FLOAT + length);
}

/** Splits tokens [B, T+1] into inputs and targets, [T, B] each. */
function loadTokens({ map, memory }: Workspace, { streams: B, window: T, tokens }: Batch): void {
  const inputs = new Uint32Array(memory.buffer, map.inputs, T * B);
  const targets = new Uint32Array(memory.buffer, map.targets, T * B);
  for (let b = 0; b < B; b++) {
    for (let t = 0; t < T; t++) {
      inputs[t * B + b] = tokens[b * (T + 1) + t];
      targets[t * B + b] = tokens[b * (T + 1) + t + 1];
    }
  }
}

/** Copies states [B, L, S, H] to the first blocks [B, H'] of each layer's state vectors. */
function loadStates({ config, map, memory }: Workspace, B: number, states: Float32Array): void {
  const { hidden: H } = config;
  const { paddedHidden } = map;
  let from = 0;
  for (let b = 0; b < B; b++) {
    for (const { states: vectors } of map.layers) {
      for (const address of vectors) {
        const to = address / FLOAT + b * paddedHidden;
        memory.set(states.subarray(from, from + H), to);
        memory.fill(0, to + H, to + paddedHidden);
        from += H;
      }
    }
  }
}

/** Copies the blocks of the state vectors after T time steps to states [B, L, S, H]. */
function storeStates({ config, map, memory }: Workspace, B: number, T: number, states: Float32Array): void {
  const { hidden: H } = config;
  const { paddedHidden } = map;
  let to = 0;
  for (let b = 0; b < B; b++) {
    for (const { states: vectors } of map.layers) {
      for (const address of vectors) {
        const from = address / FLOAT + (T * B + b) * paddedHidden;
        states.set(memory.subarray(from, from + H), to);
        to += H;
      }
    }
  }
}

function notFinite(what: string): EngineError {
  return new EngineError(
    'not_finite',
    `the ${what} is not a finite number`,
    'return to the last good parameters and states, with a lower learning rate or a smaller clipping norm',
  );
}

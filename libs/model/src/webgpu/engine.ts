/// <reference types="@webgpu/types" />
import { checkBatch, checkDropoutKey, checkParameters, checkStep } from '../batch.js';
import { dropoutScale, dropoutThreshold } from '../dropout.js';
import {
  EngineError,
  type Batch,
  type Engine,
  type EngineInfo,
  type EngineLimits,
  type Evaluation,
  type Gradient,
} from '../engine.js';
import { parameterCount, stateSize } from '../layout.js';
import { broken, deviceLost, MAP_READ, onLost, reason, scoped, unusable, USAGE } from './device.js';
import { FLAG } from './kernels.js';
import { FLOAT, tasksOf, type Network } from './network.js';
import type { Plan } from './plan.js';
import type { Program, Shape, Stage } from './program.js';
import { writeIds } from './upload.js';
import { CALL_FIELDS } from './wgsl.js';

/**
 * `build` creates the network of `plan` in `program`.
 * @throws EngineError `unsupported`, `out_of_memory`, `device_lost`.
 */
export async function openEngine(
  plan: Plan,
  device: GPUDevice,
  program: Program,
  build: () => Network,
  info: EngineInfo,
): Promise<Engine> {
  let release = (): void => program.destroy();
  try {
    const engine = await scoped(
      device,
      () => program.bytes,
      async () => {
        const network = build();
        const staging = program.buffer('results read back', stagingBytes(plan), MAP_READ | USAGE.copyTarget);
        // Before waiting for the compiler, so that the engine notices what happens to the device
        // in the meantime.
        const opened = new WebgpuEngine(plan, device, program, network, staging, info);
        release = () => opened.dispose();
        await program.compile(
          tasksOf([...network.pack, ...network.forward, ...network.loss, ...network.backward]),
          plan.limits.maxWindow,
        );
        return opened;
      },
    );
    engine.checkUsable();
    return engine;
  } catch (error) {
    release();
    throw error instanceof EngineError ? error : unusable(error);
  }
}

function stagingBytes({ config, limits, rows, vocabulary }: Plan): number {
  const states = limits.maxStreams * stateSize(config);
  return (Math.max(parameterCount(config) + rows, limits.maxStreams * vocabulary) + states + 4) * FLOAT;
}

/** A range of a buffer to read back, in numbers of 4 bytes. */
interface Piece {
  readonly buffer: GPUBuffer;
  readonly from: number;
  readonly length: number;
}

class WebgpuEngine implements Engine {
  readonly info: EngineInfo;
  readonly limits: EngineLimits;
  readonly #plan: Plan;
  readonly #device: GPUDevice;
  readonly #program: Program;
  readonly #network: Network;
  readonly #staging: GPUBuffer;
  readonly #ids: Uint32Array<ArrayBuffer>;
  readonly #call = new Uint32Array(CALL_FIELDS.length);
  readonly #back: Float32Array<ArrayBuffer>;
  readonly #unwatch: () => void;
  #failure: EngineError | undefined;
  /** Rejects the pending wait for the device. */
  #interrupt: ((error: EngineError) => void) | undefined;

  constructor(plan: Plan, device: GPUDevice, program: Program, network: Network, staging: GPUBuffer, info: EngineInfo) {
    this.info = info;
    this.limits = plan.limits;
    this.#plan = plan;
    this.#device = device;
    this.#program = program;
    this.#network = network;
    this.#staging = staging;
    this.#ids = new Uint32Array(network.ids.size / 4);
    this.#back = new Float32Array(staging.size / FLOAT);
    this.#unwatch = onLost(device, (error) => this.#fail(error));
    device.addEventListener('uncapturederror', this.#onError);
  }

  setParameters(parameters: Float32Array): void {
    this.checkUsable();
    checkParameters(this.#plan.config, parameters);
    this.#device.queue.writeBuffer(this.#network.parameters, 0, parameters);
    this.#submit(this.#network.pack, FLAG.parameters);
  }

  async gradient(batch: Batch): Promise<Gradient> {
    this.checkUsable();
    const { config } = this.#plan;
    checkBatch(config, this.limits, batch);
    checkDropoutKey(config, batch);
    const { pack: _, forward, loss, backward } = this.#network;
    this.#upload(batch, true);
    const size = parameterCount(config);
    const read = await this.#compute(
      [...forward, ...loss, ...backward],
      [this.#piece(0, size), ...this.#evaluationPieces(batch)],
    );
    return { ...this.#evaluation(batch, read.slice(1)), gradient: read[0] };
  }

  async evaluate(batch: Batch): Promise<Evaluation> {
    this.checkUsable();
    checkBatch(this.#plan.config, this.limits, batch);
    this.#upload(batch, false);
    const { forward, loss } = this.#network;
    return this.#evaluation(batch, await this.#compute([...forward, ...loss], this.#evaluationPieces(batch)));
  }

  async step(tokens: Uint16Array, states: Float32Array): Promise<Float32Array> {
    this.checkUsable();
    const { config, vocabulary: padded } = this.#plan;
    checkStep(config, this.limits, tokens, states);
    const { vocabulary: V } = config;
    const streams = tokens.length;
    const ids = new Uint16Array(2 * streams);
    tokens.forEach((token, b) => (ids[2 * b] = token));
    this.#upload({ streams, window: 1, tokens: ids, states }, false);
    const { forward, statesOffset, logits } = this.#network;
    const pieces = [this.#piece(statesOffset, states.length), { buffer: logits, from: 0, length: streams * padded }];
    const [endStates, rows] = await this.#compute(forward, pieces);
    states.set(endStates);
    for (let b = 1; b < streams; b++) rows.copyWithin(b * V, b * padded, b * padded + V);
    return rows.subarray(0, streams * V);
  }

  dispose(): void {
    if (this.#failure?.code === 'disposed') return;
    this.#unwatch();
    this.#device.removeEventListener('uncapturederror', this.#onError);
    this.#failure = undefined;
    this.#fail(new EngineError('disposed', 'the engine was disposed', 'create a new engine'));
    this.#program.destroy();
  }

  readonly #onError = (event: GPUUncapturedErrorEvent): void => this.#fail(broken(event.error));

  /** From now on every call fails with this error, including the pending one. */
  #fail(error: EngineError): void {
    this.#failure ??= error;
    this.#interrupt?.(this.#failure);
  }

  /** @throws EngineError `device_lost`, `disposed`. */
  checkUsable(): void {
    if (this.#failure) throw this.#failure;
  }

  #piece(from: number, length: number): Piece {
    return { buffer: this.#network.results, from, length };
  }

  #evaluationPieces({ streams, window, states }: Batch): Piece[] {
    const { statesOffset, lossOffset, flags } = this.#network;
    return [
      this.#piece(statesOffset, states.length),
      this.#piece(lossOffset, streams * window),
      { buffer: flags, from: 0, length: 2 },
    ];
  }

  #evaluation({ streams, window }: Batch, [endStates, losses, flags]: Float32Array[]): Evaluation {
    let lossSum = 0;
    for (const loss of losses) lossSum += loss;
    // Reads bits: the flags are whole numbers.
    const flagged = new Uint32Array(flags.buffer, flags.byteOffset, 2);
    if (flagged[FLAG.parameters] || flagged[FLAG.call] || !Number.isFinite(lossSum)) throw notFinite();
    return { lossSum, tokens: streams * window, endStates };
  }

  #upload(batch: Batch, dropping: boolean): void {
    const { queue } = this.#device;
    const { ids, states } = this.#network;
    queue.writeBuffer(ids, 0, this.#ids, 0, writeIds(this.#ids, this.#plan.config.vocabulary, batch));
    queue.writeBuffer(states, 0, batch.states);
    this.#prepare(batch, dropping ? batch : undefined);
  }

  /** The numbers of the call, in the order of CALL_FIELDS. */
  #prepare(shape: Shape, batch?: Batch): void {
    const { dropout = 0, dropoutOutput = 0, layers, vocabulary } = this.#plan.config;
    const { streams, window } = shape;
    const { seed = 0, round = 0 } = batch?.dropout ?? {};
    const mask = (p: number) => (batch?.dropout ? [dropoutThreshold(p), floatBits(dropoutScale(p))] : NO_MASK);
    this.#call.set([
      streams,
      window,
      streams * window,
      vocabulary,
      layers,
      seed,
      round,
      ...mask(dropout),
      ...mask(dropoutOutput),
    ]);
    this.#program.prepare(this.#call, shape);
  }

  #submit(stages: readonly Stage[], flag: number, pieces: readonly Piece[] = []): void {
    const encoder = this.#device.createCommandEncoder();
    encoder.clearBuffer(this.#network.flags, flag * 4, 4);
    this.#program.encode(encoder, stages);
    let to = 0;
    for (const { buffer, from, length } of pieces) {
      encoder.copyBufferToBuffer(buffer, from * FLOAT, this.#staging, to * FLOAT, length * FLOAT);
      to += length;
    }
    this.#device.queue.submit([encoder.finish()]);
  }

  /**
   * Runs the stages in one submission and returns the pieces, views of memory that the next call
   * overwrites.
   */
  async #compute(stages: readonly Stage[], pieces: readonly Piece[]): Promise<Float32Array[]> {
    this.#submit(stages, FLAG.call, pieces);
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
    await this.#map(length * FLOAT);
    this.#back.set(new Float32Array(this.#staging.getMappedRange(0, length * FLOAT)));
    this.#staging.unmap();
    let from = 0;
    return pieces.map((piece) => this.#back.subarray(from, (from += piece.length)));
  }

  async #map(bytes: number): Promise<void> {
    try {
      await new Promise<void>((resolve, reject) => {
        this.#interrupt = reject;
        // Only the loss of the device can make this fail: sizes are checked, and dispose()
        // interrupts by itself.
        this.#staging.mapAsync(MAP_READ, 0, bytes).then(resolve, (error: unknown) => this.#fail(deviceLost(reason(error))));
      });
    } finally {
      this.#interrupt = undefined;
    }
    this.checkUsable();
  }
}

const word = new DataView(new ArrayBuffer(4));
const NO_MASK = [0, floatBits(1)];

function floatBits(value: number): number {
  word.setFloat32(0, value);
  return word.getUint32(0);
}

function notFinite(): EngineError {
  return new EngineError(
    'not_finite',
    'the loss, the gradient or an input of the computation is not a finite number',
    'return to the last good parameters and states, with a lower learning rate or a smaller clipping norm',
  );
}

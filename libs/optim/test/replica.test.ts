import { describe, expect, it } from 'vitest';
import {
  averageDecay,
  createReplica,
  createVectorMemory,
  optimizerStateBytes,
  snapshotBytes,
  type OptimizerConfig,
  type Replica,
  type ScaledHalves,
} from '../src/index.js';

const SGD: OptimizerConfig = { kind: 'sgd', momentum: 0.9, weightDecay: 0.01, nesterov: false };
const ADAM: OptimizerConfig = { kind: 'adam', beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.01 };
const ADAMW: OptimizerConfig = { ...ADAM, kind: 'adamw' };
const NESTEROV: OptimizerConfig = { ...SGD, nesterov: true };
const OPTIMIZERS = [SGD, NESTEROV, ADAM, ADAMW];
const SIZE = 1_003;

const wave = (size: number, phase: number) => Float32Array.from({ length: size }, (_, i) => Math.sin(i * 0.7 + phase));

/** `values` in halves, cut inside a vector. */
function halved(values: Float32Array): ScaledHalves[] {
  const memory = createVectorMemory(0);
  return [values.subarray(0, 37), values.subarray(37)].map((part, k) => {
    const halves = new Uint16Array(part.length);
    memory.encodeHalf(part, 2 ** (k + 9), halves);
    return { values: halves, scale: 2 ** -(k + 9) };
  });
}

function decoded(parts: readonly ScaledHalves[]): Float32Array {
  const memory = createVectorMemory(0);
  const floats = parts.map(({ values, scale }) => {
    const part = new Float32Array(values.length);
    memory.decodeHalf(values, scale, part);
    return [...part];
  });
  return Float32Array.from(floats.flat());
}

function trained(optimizer: OptimizerConfig, steps = 20, kind?: 'typescript'): Replica {
  const replica = createReplica({ size: SIZE, optimizer, ...(kind && { kind }) });
  replica.setParameters(wave(SIZE, 0));
  for (let t = 0; t < steps; t++) replica.step(wave(SIZE, t + 1), 0.01 / (t + 1));
  return replica;
}

/** torch.optim.SGD / Adam / AdamW (2.x, foreach=False) for one parameter in float64. */
function torch(optimizer: OptimizerConfig, start: number, gradients: readonly number[], rates: readonly number[]): number {
  let [p, first, second] = [start, 0, 0];
  gradients.forEach((gradient, k) => {
    const decay = optimizer.weightDecay;
    if (optimizer.kind === 'sgd') {
      const g = gradient + decay * p;
      first = k === 0 ? g : optimizer.momentum * first + g;
      p -= rates[k] * (optimizer.nesterov ? g + optimizer.momentum * first : first);
      return;
    }
    if (optimizer.kind === 'adamw') p *= 1 - rates[k] * decay;
    const g = optimizer.kind === 'adam' ? gradient + decay * p : gradient;
    first = optimizer.beta1 * first + (1 - optimizer.beta1) * g;
    second = optimizer.beta2 * second + (1 - optimizer.beta2) * g * g;
    const denominator = Math.sqrt(second) / Math.sqrt(1 - optimizer.beta2 ** (k + 1)) + optimizer.epsilon;
    p -= (rates[k] / (1 - optimizer.beta1 ** (k + 1))) * (first / denominator);
  });
  return p;
}

describe.each(OPTIMIZERS)('$kind', (optimizer) => {
  it("follows PyTorch's formula in float64 over 20 steps", () => {
    const { parameters } = trained(optimizer);
    const steps = Array.from({ length: 20 }, (_, t) => t);
    const rates = steps.map((t) => 0.01 / (t + 1));
    const waves = steps.map((t) => wave(SIZE, t + 1));
    for (let i = 0; i < SIZE; i++) {
      const gradients = waves.map((values) => values[i]);
      expect(Math.abs(parameters[i] - torch(optimizer, wave(SIZE, 0)[i], gradients, rates))).toBeLessThan(2e-6);
    }
  });

  it('reaches the same bits with either kernels', () => {
    expect(trained(optimizer, 20, 'typescript').snapshot()).toEqual(trained(optimizer).snapshot());
  });

  it('continues from a snapshot exactly as if never stopped', () => {
    const whole = trained(optimizer);
    const half = trained(optimizer, 9);
    const resumed = createReplica({ size: SIZE, optimizer });
    const snapshot = half.snapshot();
    expect(snapshot.length).toBe(snapshotBytes(SIZE, optimizer));
    expect(snapshot.length).toBe(4 * SIZE + optimizerStateBytes(SIZE, optimizer));
    resumed.restore(snapshot);
    for (let t = 9; t < 20; t++) resumed.step(wave(SIZE, t + 1), 0.01 / (t + 1));
    expect(resumed.snapshot()).toEqual(whole.snapshot());
  });

  it('continues from exported state exactly as if never stopped', () => {
    const half = trained(optimizer, 9);
    const resumed = createReplica({ size: SIZE, optimizer });
    resumed.setParameters(half.parameters);
    resumed.importState(half.exportState());
    resumed.step(wave(SIZE, 1), 0.1);
    half.step(wave(SIZE, 1), 0.1);
    expect(resumed.snapshot()).toEqual(half.snapshot());
  });

  it('steps from halves exactly as from their floats', () => {
    const [coded, plain] = [trained(optimizer), trained(optimizer)];
    for (let t = 0; t < 3; t++) {
      const update = halved(wave(SIZE, t));
      coded.step(update, 0.02);
      plain.step(decoded(update), 0.02);
      expect(coded.digest()).toBe(plain.digest());
    }
    expect(coded.snapshot()).toEqual(plain.snapshot());
  });

  it('rejects halves that are not finite, or overflow by their scale, and stays unchanged', () => {
    const replica = trained(optimizer);
    const before = replica.snapshot();
    const [head, tail] = halved(wave(SIZE, 1));
    const unsound: ScaledHalves[][] = [
      [head, { ...tail, values: tail.values.with(SIZE - 38, 0x7c00) }],
      [{ ...head, values: head.values.with(0, 0x7e01) }, tail],
      [head, { ...tail, scale: NaN }],
      [head, { ...tail, scale: Infinity }],
      [{ ...head, scale: 2 ** 127 }, tail],
    ];
    for (const update of unsound)
      expect(() => replica.step(update, 0.1)).toThrow(expect.objectContaining({ code: 'not_finite' }));
    expect(() => replica.step([head], 0.1)).toThrow(expect.objectContaining({ code: 'bad_length' }));
    expect(replica.snapshot()).toEqual(before);
    expect(replica.digest()).toBe(restored(optimizer, before).digest());
  });

  it('steps part by part to the same bits, and refuses a part that is not finite or too long', () => {
    const [one, other] = [trained(optimizer, 3), trained(optimizer, 3)];
    const parts = halved(wave(SIZE, 5));
    one.step(parts, 0.1);
    const step = other.beginStep(0.1);
    for (const part of parts) step.add(part);
    step.finish();
    expect([other.digest(), other.snapshot()]).toEqual([one.digest(), one.snapshot()]);
    const [head] = parts;
    const poisoned = { ...head, values: head.values.with(0, 0x7e01) };
    expect(() => other.beginStep(Infinity)).toThrow(expect.objectContaining({ code: 'not_finite' }));
    expect(() => other.beginStep(0.1).add(poisoned)).toThrow(expect.objectContaining({ code: 'not_finite' }));
    expect(() => other.beginStep(0.1).add({ values: wave(SIZE + 1, 1) })).toThrow(
      expect.objectContaining({ code: 'bad_length' }),
    );
    const short = other.beginStep(0.1);
    short.add(head);
    expect(() => short.finish()).toThrow(expect.objectContaining({ code: 'bad_length' }));
    expect(other.digest()).not.toBe(one.digest());
  });

  it('returns the digest of its current parameters, whatever set them', () => {
    const replica = trained(optimizer, 3);
    const check = (): void => expect(replica.digest()).toBe(createVectorMemory(0).digest(replica.parameters));
    const early = replica.snapshot();
    check();
    replica.step(halved(wave(SIZE, 5)), 0.1);
    check();
    replica.setParameters(wave(SIZE, 9));
    check();
    replica.step(wave(SIZE, 5), 0.1);
    check();
    replica.restore(early);
    check();
    replica.importState(trained(optimizer, 5).exportState());
    check();
  });

  it('rejects a non-finite update, a wrong length and a damaged snapshot, and stays unchanged', () => {
    const replica = trained(optimizer);
    const before = replica.snapshot();
    const poisoned = wave(SIZE, 1);
    poisoned[SIZE - 1] = NaN;
    const damaged = replica.snapshot();
    new DataView(damaged.buffer).setUint32(damaged.length - 4, 0x7ff80000, true);
    const lacking = { ...replica.exportState(), scalars: [] };
    expect(() => replica.step(poisoned, 0.1)).toThrow(expect.objectContaining({ code: 'not_finite' }));
    expect(() => replica.step(wave(SIZE, 1), Infinity)).toThrow(expect.objectContaining({ code: 'not_finite' }));
    expect(() => replica.step(wave(SIZE - 1, 1), 0.1)).toThrow(expect.objectContaining({ code: 'bad_length' }));
    expect(() => replica.setParameters(wave(SIZE + 1, 1))).toThrow(expect.objectContaining({ code: 'bad_length' }));
    expect(() => replica.restore(before.subarray(1))).toThrow(expect.objectContaining({ code: 'bad_length' }));
    expect(() => replica.restore(damaged)).toThrow(expect.objectContaining({ code: 'bad_state' }));
    expect(() => replica.importState(lacking)).toThrow(expect.objectContaining({ code: 'bad_state' }));
    expect(replica.snapshot()).toEqual(before);
  });
});

function restored(optimizer: OptimizerConfig, snapshot: Uint8Array): Replica {
  const replica = createReplica({ size: SIZE, optimizer });
  replica.restore(snapshot);
  return replica;
}

it('moves every parameter by about the learning rate in the first step of Adam', () => {
  const replica = createReplica({ size: 3, optimizer: { ...ADAM, kind: 'adam', weightDecay: 0 } });
  replica.step(Float32Array.of(1e-3, -5, 400), 0.25);
  expect([...replica.parameters].map((value) => Math.round(value * 1e4) / 1e4)).toEqual([-0.25, 0.25, -0.25]);
});

it('sums a constant gradient geometrically under momentum', () => {
  const replica = createReplica({ size: 1, optimizer: { kind: 'sgd', momentum: 0.5, weightDecay: 0, nesterov: false } });
  for (let t = 0; t < 3; t++) replica.step(Float32Array.of(1), 1);
  expect(replica.parameters[0]).toBe(-(1 + 1.5 + 1.75));
});

it('gives equal replicas equal digests, and a different one after a step', () => {
  const [a, b] = [trained(ADAM), trained(ADAM)];
  expect(a.digest()).toBe(b.digest());
  b.step(wave(SIZE, 3), 0.01);
  expect(a.digest()).not.toBe(b.digest());
});

describe('the average of the parameters', () => {
  const { fround } = Math;
  const averaging = (optimizer: OptimizerConfig, decay: number, kind?: 'typescript') => {
    const replica = createReplica({ size: SIZE, optimizer, averageDecay: decay, ...(kind && { kind }) });
    replica.setParameters(wave(SIZE, 0));
    return replica;
  };
  const averageOf = ({ average }: Replica): Float32Array => average!;

  it.each(OPTIMIZERS)(
    'follows the parameters of $kind by the stated float32 operations, and changes none of them',
    (optimizer) => {
      const replica = averaging(optimizer, 0.9);
      const plain = trained(optimizer, 0);
      const expected = wave(SIZE, 0);
      expect(averageOf(replica)).toEqual(expected);
      for (let t = 1; t <= 120; t++) {
        for (const each of [replica, plain]) each.step(t % 2 ? wave(SIZE, t) : halved(wave(SIZE, t)), 0.01);
        const take = fround(1 - averageDecay(0.9, t));
        plain.parameters.forEach((p, i) => (expected[i] = expected[i] + fround(take * fround(p - expected[i]))));
      }
      expect(averageOf(replica)).toEqual(expected);
      expect(averageOf(replica)).not.toEqual(replica.parameters);
      expect(replica.snapshot()).toEqual(plain.snapshot());
    },
  );

  it('has the same bits with either kernels, and when it continues from its values', () => {
    const [wasm, scalar] = [averaging(ADAM, 0.99), averaging(ADAM, 0.99, 'typescript')];
    for (let t = 0; t < 9; t++) for (const each of [wasm, scalar]) each.step(wave(SIZE, t), 0.01);
    expect(averageOf(scalar)).toEqual(averageOf(wasm));
    const resumed = averaging(ADAM, 0.99);
    resumed.setParameters(wasm.parameters, averageOf(wasm));
    resumed.importState(wasm.exportState());
    for (const each of [wasm, resumed]) each.step(wave(SIZE, 9), 0.01);
    expect(averageOf(resumed)).toEqual(averageOf(wasm));
  });

  it('stays exactly at parameters that do not move', () => {
    const replica = averaging(SGD, 0.9999);
    for (let t = 0; t < 50; t++) replica.step(wave(SIZE, t), 0);
    expect(averageOf(replica)).toEqual(wave(SIZE, 0));
  });

  it('forgets the first parameters at once', () => {
    expect([1, 8, 90, 4489, 1e6].map((steps) => averageDecay(0.998, steps))).toEqual([2 / 11, 0.5, 0.91, 4490 / 4499, 0.998]);
  });

  it('starts from what is set or restored, and is not there without a decay', () => {
    const replica = averaging(ADAM, 0.9);
    replica.step(wave(SIZE, 1), 0.01);
    replica.restore(trained(ADAM, 3).snapshot());
    expect(averageOf(replica)).toEqual(replica.parameters);
    replica.setParameters(wave(SIZE, 5));
    expect(averageOf(replica)).toEqual(wave(SIZE, 5));
    expect(() => replica.setParameters(wave(SIZE, 5), wave(SIZE - 1, 5))).toThrow(
      expect.objectContaining({ code: 'bad_length' }),
    );
    expect(trained(ADAM, 1).average).toBeUndefined();
  });
});

it.each(OPTIMIZERS)('is as new after a reset: $kind', (optimizer) => {
  const used = trained(optimizer);
  used.reset(wave(SIZE, 0));
  const fresh = trained(optimizer, 0);
  for (const replica of [used, fresh]) replica.step(wave(SIZE, 9), 0.01);
  expect(used.digest()).toBe(fresh.digest());
  expect(used.exportState()).toEqual(fresh.exportState());
});

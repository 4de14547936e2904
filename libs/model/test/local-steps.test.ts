import { modelConfig } from '@troupe/config';
import { clipScale, createReplica, type OptimizerConfig } from '@troupe/optim';
import { describe, expect, it } from 'vitest';
import {
  createLayout,
  dropoutKeyOf,
  initialParameters,
  localLease,
  stateSize,
  takeLocalSteps,
  type Gradient,
  type LocalWindows,
} from '../src/index.js';
import { createReferenceEngine } from '../src/reference/index.js';

const model = modelConfig({ vocabulary: 7, layers: 2, hidden: 5, dropout: 0.3, dropoutOutput: 0.2 });
const [B, T, H, SEED] = [2, 3, 4, 11];
const layout = createLayout(model);
const parameters = initialParameters(model, layout, 1);
const ADAM: OptimizerConfig = { kind: 'adamw', beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.1 };
const SGD: OptimizerConfig = { kind: 'sgd', momentum: 0, weightDecay: 0, nesterov: false };

const windows: LocalWindows = {
  streams: [4, 5],
  window: T,
  first: 40,
  tokens: Uint16Array.from({ length: H * B * (T + 1) }, (_, i) => (i * 5) % 7),
  states: Float32Array.from({ length: B * stateSize(model) }, (_, i) => Math.sin(i) / 2),
  learningRates: Float32Array.of(0.01, 0.02, 0.03, 0.04),
  clip: 0,
};

function engineOf(): ReturnType<typeof createReferenceEngine> {
  const engine = createReferenceEngine(model, { maxStreams: B, maxWindow: T });
  engine.setParameters(parameters);
  return engine;
}

function take(lease: Partial<LocalWindows> = {}, optimizer = ADAM, isOvertaken?: (done: number) => boolean) {
  const ports = {
    engine: engineOf(),
    optimizer: createReplica({ size: layout.size, optimizer }),
    ...(isOvertaken && { isOvertaken }),
  };
  return takeLocalSteps(parameters, localLease(model, SEED, { ...windows, ...lease }), ports);
}

/** The same in float64, written out. */
async function byHand({ clip, wrapStep }: { readonly clip: number; readonly wrapStep?: number }) {
  const engine = engineOf();
  const p = Float64Array.from(parameters);
  const [m, v] = [new Float64Array(p.length), new Float64Array(p.length)];
  let states = windows.states;
  let lossSum = 0;
  for (let h = 0; h < H; h++) {
    if (h === wrapStep) states = new Float32Array(states.length);
    engine.setParameters(Float32Array.from(p));
    const result = await engine.gradient({
      streams: B,
      window: T,
      tokens: windows.tokens.subarray(h * B * (T + 1), (h + 1) * B * (T + 1)),
      states,
      ...dropoutKeyOf(model, { seed: SEED, round: 40 + h, streams: [4, 5] }),
    });
    states = result.endStates.slice();
    lossSum += result.lossSum;
    const mean = Float64Array.from(result.gradient, (value) => value / (B * T));
    const scale = clipScale(Math.hypot(...mean), clip);
    const rate = windows.learningRates[h];
    for (let i = 0; i < p.length; i++) {
      const g = mean[i] * scale;
      m[i] = 0.9 * m[i] + 0.1 * g;
      v[i] = 0.99 * v[i] + 0.01 * g * g;
      p[i] -= rate * 0.1 * p[i];
      p[i] -= (rate * (m[i] / (1 - 0.9 ** (h + 1)))) / (Math.sqrt(v[i] / (1 - 0.99 ** (h + 1))) + 1e-8);
    }
  }
  return { difference: parameters.map((value, i) => (value - p[i]) * H * B * T), states, lossSum };
}

function expectNear(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number): void {
  const norm = Math.hypot(...Array.from(expected));
  const off = Math.hypot(...Array.from(actual, (value, i) => value - expected[i]));
  expect(off).toBeLessThan(tolerance * norm);
}

describe('the steps of a track', () => {
  it.each([{ clip: 0 }, { clip: 0.05 }, { clip: 0, wrapStep: 2 }])('are those of the inner optimizer: %j', async (lease) => {
    const [result, expected] = [(await take(lease))!, await byHand(lease)];
    expect(result.tokens).toBe(H * B * T);
    expect(result.lossSum).toBeCloseTo(expected.lossSum, 4);
    expectNear(result.gradient, expected.difference, 1e-3);
    expectNear(result.endStates, expected.states, 1e-4);
  });

  it('give the gradient times the learning rate, if there is one and the optimizer is plain', async () => {
    const first = { tokens: windows.tokens.subarray(0, B * (T + 1)), learningRates: Float32Array.of(0.5) };
    const { gradient } = (await take(first, SGD))!;
    const key = dropoutKeyOf(model, { seed: SEED, round: 40, streams: [4, 5] });
    const exact = await engineOf().gradient({ streams: B, window: T, tokens: first.tokens, states: windows.states, ...key });
    expectNear(
      gradient,
      exact.gradient.map((value) => value * 0.5),
      1e-5,
    );
  });

  it('are a pure function: what the optimizer and the engine did before changes no bit', async () => {
    const [engine, optimizer] = [engineOf(), createReplica({ size: layout.size, optimizer: ADAM })];
    const again = async (lease: Partial<LocalWindows> = {}): Promise<Gradient> => {
      engine.setParameters(parameters);
      const result = await takeLocalSteps(parameters, localLease(model, SEED, { ...windows, ...lease }), { engine, optimizer });
      return { ...result!, gradient: result!.gradient.slice(), endStates: result!.endStates.slice() };
    };
    const first = await again();
    await again({ first: 7, states: new Float32Array(windows.states.length) });
    expect(await again()).toEqual(first);
    expect(await again({ first: 7 })).not.toEqual(first);
  });

  it('end between two steps when the lease is no longer needed', async () => {
    const asked: number[] = [];
    const result = await take({}, ADAM, (done) => {
      asked.push(done);
      return done === 2;
    });
    expect([result, asked]).toEqual([undefined, [0, 1, 2]]);
  });

  it('fail when they diverge', async () => {
    const rates = (last: number) => ({ learningRates: Float32Array.of(0.1, 0.1, last) });
    const diverged = { name: 'EngineError', code: 'not_finite' };
    await expect(take(rates(3e38), { ...SGD, weightDecay: 1 })).rejects.toMatchObject(diverged);
    await expect(take({ learningRates: Float32Array.of(3e38, 0.1) }, { ...SGD, weightDecay: 1 })).rejects.toMatchObject(diverged);
  });
});

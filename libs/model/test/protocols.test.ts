import { describe, expect, it } from 'vitest';
import {
  createRandom,
  evaluateBlocks,
  evaluateDynamically,
  evaluateLoss,
  gradientSizes,
  stateSize,
  type DynamicOptions,
} from '../src/index.js';
import { createReferenceEngine, referenceGradient, referenceLoss } from '../src/reference/index.js';
import { problem } from './engine-conformance.js';

const { config, parameters } = problem({ layers: 2, hidden: 6, vocabulary: 5, layerNorm: true, streams: 1, window: 1 }, 4);
const random = createRandom(5);
const tokens = Uint16Array.from({ length: 94 }, () => random.uint32() % 5);
const zeros = () => new Float32Array(stateSize(config));
const point = Float64Array.from(parameters);

function open(maxStreams: number, maxWindow: number) {
  const engine = createReferenceEngine(config, { maxStreams, maxWindow });
  engine.setParameters(parameters);
  return engine;
}

describe('blocks', () => {
  it('are each read from a state of zeros, follow each other, and leave out what fills none', async () => {
    // 93 targets are 4 blocks of 20; the last 13 do not count.
    const windows = [0, 20, 40, 60].map((from) => tokens.slice(from, from + 21));
    const losses = windows.map(
      (window) => referenceLoss(config, point, { streams: 1, window: 20, tokens: window, states: zeros() }).lossSum,
    );
    const expected = losses.reduce((sum, loss) => sum + loss, 0);
    for (const maxStreams of [1, 3, 4, 9]) {
      const report = await evaluateBlocks(open(maxStreams, 20), config, tokens, { block: 20 });
      expect(report.tokens).toBe(80);
      expect(report.lossPerChar).toBe(report.lossSum / 80);
      expect(Math.abs(report.lossSum / expected - 1)).toBeLessThan(1e-12);
    }
    const carried = await evaluateLoss(open(1, 50), config, tokens.subarray(0, 81), { window: 20, lanes: 1, warmup: 0 });
    expect(Math.abs(carried.lossSum / expected - 1)).toBeGreaterThan(1e-4);
  });

  it('report their progress, and refuse a text shorter than one', async () => {
    const seen: number[][] = [];
    await evaluateBlocks(open(3, 20), config, tokens, { block: 20, onProgress: (...now) => seen.push(now) });
    expect(seen).toEqual([
      [60, 80],
      [80, 80],
    ]);
    const badShape = expect.objectContaining({ code: 'bad_shape' });
    await expect(evaluateBlocks(open(1, 20), config, tokens.subarray(0, 20), { block: 20 })).rejects.toEqual(badShape);
    await expect(evaluateBlocks(open(1, 20), config, tokens, { block: 0 })).rejects.toEqual(badShape);
  });

  it('end with the reason of the signal', async () => {
    const reason = new Error('enough');
    await expect(evaluateBlocks(open(1, 20), config, tokens, { block: 20, signal: AbortSignal.abort(reason) })).rejects.toBe(
      reason,
    );
  });
});

describe('dynamic evaluation', () => {
  const evaluate = (options: Partial<DynamicOptions>, part = tokens) =>
    evaluateDynamically(open(1, 50), config, parameters, part, { segment: 20, rate: 0.5, decay: 0.1, ...options });

  it('counts each segment before it learns from it, carries the state, and moves back to the trained parameters', async () => {
    const p = point.slice();
    let states = zeros();
    let expected = 0;
    for (let at = 0; at < 93; at += 20) {
      const window = Math.min(20, 93 - at);
      const result = referenceGradient(config, p, { streams: 1, window, tokens: tokens.slice(at, at + window + 1), states });
      expected += result.lossSum;
      states = Float32Array.from(result.endStates);
      result.gradient.forEach((g, i) => {
        p[i] += 0.1 * (point[i] - p[i]) - (0.5 / window) * g;
      });
    }
    const { lossSum, tokens: counted } = await evaluate({});
    expect(counted).toBe(93);
    expect(Math.abs(lossSum / expected - 1)).toBeLessThan(1e-6);
    expect(Math.abs(lossSum / (await evaluate({ decay: 0 })).lossSum - 1)).toBeGreaterThan(1e-5);
  });

  it('divides steps and multiplies ways back by the usual size of each gradient', async () => {
    const sizes = await gradientSizes(open(1, 50), config, tokens, { segment: 20, segments: 2 });
    const squares = new Float64Array(point.length);
    let states = zeros();
    for (const at of [0, 20]) {
      const result = referenceGradient(config, point, { streams: 1, window: 20, tokens: tokens.slice(at, at + 21), states });
      states = Float32Array.from(result.endStates);
      result.gradient.forEach((g, i) => (squares[i] += (g / 20) ** 2 / 2));
    }
    squares.forEach((square, i) => expect(sizes[i]).toBeCloseTo(Math.sqrt(square), 6));
    const mean = sizes.reduce((sum, size) => sum + size, 0) / sizes.length;
    const part = tokens.subarray(0, 61);
    const p = point.slice();
    let expected = 0;
    states = zeros();
    for (const at of [0, 20, 40]) {
      const result = referenceGradient(config, p, { streams: 1, window: 20, tokens: part.slice(at, at + 21), states });
      expected += result.lossSum;
      states = Float32Array.from(result.endStates);
      result.gradient.forEach((g, i) => {
        const back = Math.min(1, (0.4 * sizes[i]) / mean);
        p[i] += back * (point[i] - p[i]) - (0.02 / (sizes[i] + mean)) * (g / 20);
      });
    }
    const { lossSum } = await evaluate({ sizes, rate: 0.02, decay: 0.4 }, part);
    expect(Math.abs(lossSum / expected - 1)).toBeLessThan(1e-6);
  });

  it('is the carried evaluation when nothing is learned, and lower on a text that repeats itself', async () => {
    const carried = await evaluateLoss(open(1, 50), config, tokens, { window: 20, lanes: 1, warmup: 0 });
    expect((await evaluate({ rate: 0 })).lossSum).toBeCloseTo(carried.lossSum, 9);
    const repeated = new Uint16Array(400).map((_, i) => [0, 3, 1, 4][i % 4]);
    const [static_, learned] = [await evaluate({ rate: 0 }, repeated), await evaluate({ decay: 0 }, repeated)];
    expect(learned.lossPerChar).toBeLessThan(static_.lossPerChar - 0.3);
  });

  it('gives the same bits each time, and leaves the trained parameters as they are', async () => {
    const before = parameters.slice();
    expect((await evaluate({})).lossSum).toBe((await evaluate({})).lossSum);
    expect(parameters).toEqual(before);
  });

  it.each([{ segment: 0 }, { rate: -1 }, { rate: NaN }, { decay: 2 }])('refuses %o', async (options) => {
    await expect(evaluate(options)).rejects.toMatchObject({ code: 'bad_shape' });
  });

  it('refuses a text of one character, and ends with the reason of the signal', async () => {
    await expect(evaluate({}, tokens.subarray(0, 1))).rejects.toMatchObject({ code: 'bad_shape' });
    const reason = new Error('enough');
    await expect(evaluate({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });
});

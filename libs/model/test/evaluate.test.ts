import { expect, it } from 'vitest';
import { createRandom, evaluateLoss, type Batch, type EvaluateOptions } from '../src/index.js';
import { createReferenceEngine, referenceLoss } from '../src/reference/index.js';
import { problem } from './engine-conformance.js';

const { config, parameters } = problem({ layers: 2, hidden: 8, vocabulary: 6, streams: 1, window: 1 }, 4);
const random = createRandom(5);
const tokens = Uint16Array.from({ length: 803 }, () => random.uint32() % 6);

function open(maxStreams = 16) {
  const engine = createReferenceEngine(config, { maxStreams, maxWindow: 50 });
  engine.setParameters(parameters);
  return engine;
}
const evaluate = (options: Partial<EvaluateOptions>, part = tokens, engine = open()) =>
  evaluateLoss(engine, config, part, { window: 50, lanes: 1, warmup: 40, ...options });

/** One window over the whole text. */
function exactLoss(part: Uint16Array): number {
  const states = new Float32Array(2 * 2 * 8);
  const batch: Batch = { streams: 1, window: part.length - 1, tokens: part, states };
  return referenceLoss(config, Float64Array.from(parameters), batch).lossSum;
}

it('carries the hidden state over the whole text with one lane', async () => {
  const { lossSum, tokens: counted, lossPerChar } = await evaluate({});
  expect(counted).toBe(802);
  expect(Math.abs(lossSum / exactLoss(tokens) - 1)).toBeLessThan(1e-7);
  expect(lossPerChar).toBe(lossSum / 802);
});

it('returns the same loss for any window', async () => {
  const { lossSum } = await evaluate({ window: 50 });
  for (const window of [1, 7]) expect(Math.abs((await evaluate({ window })).lossSum / lossSum - 1)).toBeLessThan(1e-7);
});

it('agrees closely between 1 lane and 8 warmed lanes, and more closely with more warm-up', async () => {
  const exact = await evaluate({});
  const lanes = await Promise.all([0, 10, 100].map((warmup) => evaluate({ lanes: 8, warmup })));
  const gaps = lanes.map(({ lossPerChar }) => Math.abs(lossPerChar - exact.lossPerChar));
  expect(gaps[2]).toBeLessThan(1e-6);
  expect(gaps[2]).toBeLessThan(gaps[1]);
  expect(gaps[1]).toBeLessThan(gaps[0]);
});

it('counts every target exactly once for any number of lanes and any length', async () => {
  for (const length of [2, 3, 17, 100]) {
    for (const lanes of [1, 3, 8, 16]) {
      // Warmed from the very start, so that a target counted twice or omitted changes the sum.
      const part = tokens.subarray(0, length);
      const { lossSum, tokens: counted } = await evaluate({ lanes, warmup: 1000, window: 7 }, part);
      expect(counted).toBe(length - 1);
      expect(Math.abs(lossSum / exactLoss(part) - 1), `${length} in ${lanes}`).toBeLessThan(1e-6);
    }
  }
});

it('reports progress up to the last character', async () => {
  const seen: number[] = [];
  await evaluate({ lanes: 3, onProgress: (done, total) => seen.push(done / total) });
  expect(seen.at(-1)).toBe(1);
  expect(seen).toEqual([...seen].sort((a, b) => a - b));
});

it('stops with the reason of the signal', async () => {
  const controller = new AbortController();
  const reason = new Error('enough');
  const onProgress = () => controller.abort(reason);
  await expect(evaluate({ signal: controller.signal, onProgress })).rejects.toBe(reason);
});

it('rejects a text of one character and options out of range', async () => {
  await expect(evaluate({}, tokens.subarray(0, 1))).rejects.toMatchObject({ code: 'bad_shape' });
  for (const options of [{ window: 0 }, { lanes: 0 }, { warmup: -1 }, { window: 51 }, { lanes: 17 }]) {
    await expect(evaluate(options)).rejects.toMatchObject({ code: 'bad_shape' });
  }
});

it('reports a diverged model as not_finite', async () => {
  const engine = open();
  engine.setParameters(parameters.slice().fill(NaN));
  await expect(evaluate({}, tokens, engine)).rejects.toMatchObject({ code: 'not_finite' });
});

import type { Training } from '@troupe/conductor';
import type { GradientFlow } from '@troupe/run';
import { describe, expect, it } from 'vitest';
import { createGradientFlows } from '../src/gradient-flows.js';

const WINDOW = 8;

const trainingOf = (rounds: number, cell = 'lstm', size = 1_000): Training =>
  ({
    config: { streams: 1, window: WINDOW, rounds, model: { cell }, localSteps: 1 },
    layout: { size },
    replica: { parameters: new Float32Array(1) },
    streams: { streamWindow: () => new Uint16Array(9) },
    states: { of: () => new Float32Array(2) },
    stateFloats: 2,
  }) as unknown as Training;

/** Completes all rounds, each of `roundMs`, with a flow of `costMs`, as the module counts it. @returns the flows */
async function train(rounds: number, roundMs: number, costMs: number, cell?: string): Promise<GradientFlow[]> {
  const found: GradientFlow[] = [];
  let now = 0;
  const flows = createGradientFlows(trainingOf(rounds, cell, (costMs * 5e5) / (4 * WINDOW)), {
    side: { flow: async () => [[0.123456]] },
    nowMs: () => now,
    onFlow: (flow) => found.push(flow),
    onFailed: (error) => expect.fail(error.message),
  });
  for (let round = 1; round <= rounds; round++) {
    now += roundMs;
    flows.onRound(round);
    await flows.settled();
  }
  return found;
}

describe('gradient flows', () => {
  it('of a model that is too large are not computed, and that is reported once', () => {
    const failures: Error[] = [];
    let asked = 0;
    const flows = createGradientFlows(trainingOf(10, 'lstm', 1e9), {
      side: { flow: async () => [[++asked]] },
      nowMs: () => 0,
      onFlow: () => undefined,
      onFailed: (error) => failures.push(error),
    });
    flows.onRound(1);
    flows.onRound(10);
    expect([asked, failures.length]).toEqual([0, 1]);
  });

  it('are spread over a short run, from the first round to the last', async () => {
    const rounds = (await train(500, 100, 200)).map(({ round }) => round);
    expect(rounds[0]).toBe(1);
    expect(rounds.at(-1)).toBe(500);
    expect(rounds.length).toBeGreaterThanOrEqual(10);
    for (let i = 1; i < rounds.length; i++) expect(rounds[i] - rounds[i - 1]).toBeLessThanOrEqual(100);
  });

  it('take one per cent of a long run, and an allowance at its start', async () => {
    const [rounds, roundMs, costMs] = [5_000, 100, 2_000];
    const flows = await train(rounds, roundMs, costMs);
    // The last one is always computed.
    expect((flows.length - 1) * costMs).toBeLessThanOrEqual(2_000 + 0.01 * rounds * roundMs);
    expect(flows.length).toBeGreaterThan(2);
  });

  it('of the last round is computed even when another one is under way', async () => {
    const found: number[] = [];
    const flows = createGradientFlows(trainingOf(3), {
      side: { flow: async () => [[1]] },
      nowMs: () => 0,
      onFlow: ({ round }) => found.push(round),
      onFailed: (error) => expect.fail(error.message),
    });
    for (const round of [1, 2, 3]) flows.onRound(round);
    await flows.settled();
    expect(found).toEqual([1, 3]);
  });

  it('say which state they are of', async () => {
    expect((await train(1, 1, 1, 'lstm'))[0]).toEqual({ round: 1, layers: [[0.1235]], state: 'hc' });
    expect((await train(1, 1, 1, 'gru'))[0].state).toBe('h');
  });

  it('begin with the hidden states that workers get, which are zeros where the streams wrap', async () => {
    const training = trainingOf(4);
    Object.assign(training, {
      streams: { ...training.streams, windowsPerPass: 2 },
      states: { of: () => Float32Array.of(1, 2) },
    });
    const began: [number, number[]][] = [];
    let round = 1;
    const flows = createGradientFlows(training, {
      side: { flow: async (_parameters, { states }) => (began.push([round, [...states]]), [[1]]) },
      nowMs: () => 1e9 * round,
      onFlow: () => undefined,
      onFailed: (error) => expect.fail(error.message),
    });
    for (; round <= 3; round++) {
      flows.onRound(round);
      await flows.settled();
    }
    expect(began).toEqual([
      [1, [1, 2]],
      [2, [0, 0]],
      [3, [1, 2]],
    ]);
  });
});

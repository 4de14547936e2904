import { CollectiveError, type CollectiveHost, type ReduceCounted, type ReduceUpdate } from '@troupe/collective';
import { beforeEach, describe, expect, it } from 'vitest';
import { createConductor, type Conductor, type Training } from '../src/index.js';
import { CONFIG, smallTraining } from './fixture.js';

let training: Training;
let saved: { readonly round: number; readonly parameter: number }[];
let conductor: Conductor;
let happen: (next: ReduceCounted | ReduceUpdate | Error) => void;

/** An all-reduce in which happens what the test says. */
function createHost(): CollectiveHost {
  const waiting: (ReduceCounted | ReduceUpdate | Error)[] = [];
  let wake = (): void => undefined;
  happen = (next) => {
    waiting.push(next);
    wake();
  };
  const nothing = (): void => undefined;
  return {
    admit: nothing,
    dismiss: nothing,
    openRound: nothing,
    grant: nothing,
    close: nothing,
    async receive() {
      while (waiting.length === 0) await new Promise<void>((resolve) => (wake = resolve));
      const next = waiting.shift()!;
      if (next instanceof Error) throw next;
      return next;
    },
  };
}

beforeEach(async () => {
  saved = [];
  training = smallTraining();
  const unstopped = new AbortController().signal;
  conductor = await createConductor(
    {
      training,
      stopRules: { maxLoss: 3, patience: 0 },
      cadences: { evaluateEvery: 0, checkpointEvery: 0, sampleEvery: 0 },
      token: 'open sesame',
      reduceToken: 'secret',
      reduceAddress: '/reduce',
      side: { pending: 0, evaluate: async () => ({ lossPerChar: 1, tokens: 1 }), sample: async () => new Uint16Array(0) },
      writer: {
        place: 'memory',
        newest: undefined,
        async save({ round, parameters }) {
          saved.push({ round, parameter: parameters[0] });
          return `memory/${round}`;
        },
        offer: () => undefined,
        settled: async () => undefined,
      },
      ports: {
        nowMs: () => 0,
        sleep: (_, signal) =>
          new Promise((_resolve, reject) => {
            signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
          }),
        deadline: () => unstopped,
        timestamp: () => 'today',
        secret: () => 'c0ffee',
        collective: { host: async () => createHost() },
        report: () => undefined,
      },
    },
    unstopped,
  );
});

/** All streams of the first round, and the update that follows from them. */
function completeRound(): void {
  const { stateFloats, layout } = training;
  const tokens = CONFIG.streams * CONFIG.window;
  const common = { round: 0, tokens, lossSum: 2 * tokens };
  const endStates = new Float32Array(CONFIG.streams * stateFloats).fill(0.5);
  happen({ kind: 'counted', leaseId: 'l', workerId: 'w', streams: [0, 1, 2], computeMs: 1, endStates, ...common });
  const figures = { gradientNorm: 1, clipScale: 1, learningRate: 0.5 };
  happen({ kind: 'update', ...common, ...figures, update: new Float32Array(layout.size).fill(0.125) });
}

describe('a coordinator that fails', () => {
  const failure = new CollectiveError('not_finite', 'the update must not be applied', 'Lower the learning rate.');

  it('saves what is trained', async () => {
    const conducted = expect(conductor.conduct(new AbortController().signal)).rejects.toBe(failure);
    completeRound();
    happen(failure);
    await conducted;
    conductor.close();
    expect(saved).toEqual([{ round: 1, parameter: training.replica.parameters[0] }]);
  });

  it('in the middle of a step saves nothing, because hidden states and parameters are of different rounds', async () => {
    training.replica.step = () => {
      throw new Error('out of memory');
    };
    const conducted = expect(conductor.conduct(new AbortController().signal)).rejects.toThrow('out of memory');
    completeRound();
    await conducted;
    conductor.close();
    expect(saved).toEqual([]);
  });
});

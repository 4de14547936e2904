import type { Checkpoint } from '@troupe/checkpoint';
import {
  CollectiveError,
  type CollectiveHost,
  type HostOptions,
  type ReduceCounted,
  type ReduceUpdate,
} from '@troupe/collective';
import { beforeEach, describe, expect, it } from 'vitest';
import type { RunEvent } from '@troupe/run';
import {
  createBanList,
  createConductor,
  createTokenGate,
  writeInTurn,
  type Conductor,
  type ConductorOptions,
  type Training,
} from '../src/index.js';
import { CONFIG, smallTraining, turn, type TrainingOptions } from './fixture.js';

let training: Training;
let checkpoint: Checkpoint | undefined;
let saved: { readonly round: number; readonly parameter: number }[];
let reports: RunEvent[];
let conductor: Conductor;
let hosted: HostOptions;
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
    subscribe: nothing,
    dismiss: nothing,
    usePeers: nothing,
    openRound: nothing,
    grant: nothing,
    rule: nothing,
    close: nothing,
    async receive() {
      while (waiting.length === 0) await new Promise<void>((resolve) => (wake = resolve));
      const next = waiting.shift()!;
      if (next instanceof Error) throw next;
      return next;
    },
  };
}

type Options = TrainingOptions &
  Partial<Pick<ConductorOptions, 'cadences' | 'stopRules'>> & {
    evaluate?(): Promise<number>;
    /** Every deadline of a minute is over at once. */
    readonly hurried?: boolean;
  };

const NEVER = { evaluateEvery: 0, checkpointEvery: 0, sampleEvery: 0 };

async function open({
  cadences = NEVER,
  stopRules,
  evaluate = async () => 1,
  hurried = false,
  ...options
}: Options = {}): Promise<void> {
  [saved, reports] = [[], []];
  training = smallTraining(options);
  const unstopped = new AbortController().signal;
  conductor = await createConductor(
    {
      training,
      stopRules: stopRules ?? { maxLoss: 3, patience: 0 },
      cadences,
      gate: createTokenGate('open sesame'),
      bans: createBanList({ now: () => 0 }),
      reduceToken: 'secret',
      reduceAddress: '/reduce',
      reducers: ['ws://sums:7071'],
      side: {
        pending: 0,
        evaluate: async () => ({ lossPerChar: await evaluate(), tokens: 1 }),
        sample: async () => new Uint16Array(0),
      },
      writer: writeInTurn({
        place: 'memory',
        holds: async () => true,
        async write(written, best) {
          const { round, parameters } = written;
          const [parameter] = parameters;
          for (let i = 0; i < 5; i++) await turn();
          if (!best) {
            saved.push({ round, parameter });
            checkpoint = written;
          }
          return `memory/${round}`;
        },
        onFailed: (error) => expect.fail(error.message),
      }),
      ports: {
        nowMs: () => 0,
        sleep: (_, signal) =>
          new Promise((_resolve, reject) => {
            signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
          }),
        deadline: (ms) => (hurried && ms === 60_000 ? AbortSignal.abort(new Error('a minute is over')) : unstopped),
        timestamp: () => 'today',
        secret: () => 'c0ffee',
        sha256: () => new Uint8Array(32),
        collective: {
          async host(options) {
            hosted = options;
            return createHost();
          },
        },
        report: (event) => reports.push(event),
      },
    },
    unstopped,
  );
}

beforeEach(() => open());

it('tells the all-reduce service its secret and its reducers', () => {
  expect(hosted).toMatchObject({ address: '/reduce', token: 'secret', reducers: ['ws://sums:7071'] });
});

/** All streams of a round, and the update that follows from them. `trainLoss`: nats/char. */
function completeRound(round = 0, trainLoss = 2): void {
  const { stateFloats, layout } = training;
  const tokens = CONFIG.streams * CONFIG.window;
  const common = { round, tokens, lossSum: trainLoss * tokens };
  const endStates = new Float32Array(CONFIG.streams * stateFloats).fill(0.5);
  happen({ kind: 'counted', leaseId: 'l', workerId: 'w', streams: [0, 1, 2], computeMs: 1, serviceMs: 0, endStates, ...common });
  const figures = { gradientNorm: 1, clipScale: 1, learningRate: 0.5 };
  happen({ kind: 'update', ...common, ...figures, parts: [{ values: new Float32Array(layout.size).fill(0.125) }] });
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
    training.replica.beginStep = () => {
      throw new Error('out of memory');
    };
    const conducted = expect(conductor.conduct(new AbortController().signal)).rejects.toThrow('out of memory');
    completeRound();
    await conducted;
    conductor.close();
    expect(saved).toEqual([]);
  });
});

describe('a run that diverges', () => {
  const cadences = { evaluateEvery: 4, checkpointEvery: 4, sampleEvery: 0 };
  const reproducible = { config: { leaseStreams: 1, rounds: 30 }, evaluateEvery: 4, cadences };

  it('waits for its validations longer than a minute if it is reproducible, and says so', async () => {
    const { evaluate, end } = validations('slow', [1.5, 1.75, 1.25]);
    await open({ ...reproducible, stopRules: { maxLoss: 3, patience: 1 }, evaluate, hurried: true });
    const conducted = conductor.conduct(new AbortController().signal);
    diverge();
    await someTurns();
    expect(reports).toContainEqual({ event: 'note', level: 'info', text: expect.stringContaining('3 pending valid') as string });
    end();
    await conducted;
    conductor.close();
    expect(reports.at(-1)).toMatchObject({ event: 'finished', round: 8, reason: 'stopped' });
  });

  it('ends at once, while it waits for its validations, when it is asked to stop', async () => {
    const { evaluate } = validations('slow', [1.5, 1.75, 1.25]);
    await open({ ...reproducible, evaluate });
    const stop = new AbortController();
    const conducted = expect(conductor.conduct(stop.signal)).rejects.toMatchObject({ code: 'diverged' });
    diverge();
    await someTurns();
    stop.abort(new Error('asked to stop'));
    await conducted;
    conductor.close();
  });

  /** From the sixth round on the loss is above the limit. The tenth of these rounds is round 15. */
  function diverge(from = 0, to = 15): void {
    for (let round = from; round < to; round++) completeRound(round, round < 5 ? 2 : 1e6);
  }

  /** Validations that end at once, or only when the run has diverged. */
  function validations(speed: 'fast' | 'slow', losses: readonly number[]): { evaluate(): Promise<number>; end(): void } {
    const left = [...losses];
    let end = (): void => undefined;
    const ended = speed === 'fast' ? Promise.resolve() : new Promise<void>((resolve) => (end = resolve));
    const evaluate = async (): Promise<number> => {
      const loss = left.shift()!;
      await ended;
      return loss;
    };
    return { evaluate, end: () => end() };
  }

  async function someTurns(): Promise<void> {
    for (let i = 0; i < 100; i++) await turn();
  }

  it.each(['fast', 'slow'] as const)('ends where patience ended before, with %s validations', async (speed) => {
    const { evaluate, end } = validations(speed, [1.5, 1.75, 1.25]);
    await open({ ...reproducible, stopRules: { maxLoss: 3, patience: 1 }, evaluate });
    const conducted = conductor.conduct(new AbortController().signal);
    diverge();
    await someTurns();
    end();
    await conducted;
    conductor.close();
    expect(saved.at(-1)).toMatchObject({ round: 8 });
    expect(reports.at(-1)).toMatchObject({ event: 'finished', round: 8, reason: 'stopped', validationLoss: 1.75 });
    expect(conductor.status()).toMatchObject({ phase: 'over', phaseReason: 'stopped' });
  });

  it.each(['fast', 'slow'] as const)(
    'keeps the last good checkpoint of a reproducible run, with %s validations',
    async (speed) => {
      const { evaluate, end } = validations(speed, [1.5, 1.25, 1.125]);
      await open({ ...reproducible, evaluate });
      const conducted = expect(conductor.conduct(new AbortController().signal)).rejects.toMatchObject({ code: 'diverged' });
      diverge();
      await someTurns();
      end();
      await conducted;
      conductor.close();
      expect(saved.map(({ round }) => round)).toEqual([4]);
    },
  );

  it('does so at the same round when it was stopped and resumed while its loss was above the limit', async () => {
    await open(reproducible);
    const stop = new AbortController();
    const conducted = conductor.conduct(stop.signal);
    diverge(0, 12);
    await someTurns();
    stop.abort();
    await conducted;
    conductor.close();
    expect(checkpoint).toMatchObject({ round: 12, history: { roundsAboveLimit: 7 } });
    await open({ ...reproducible, checkpoint: checkpoint! });
    const diverged = expect(conductor.conduct(new AbortController().signal)).rejects.toMatchObject({ code: 'diverged' });
    diverge(12, 30);
    await diverged;
    conductor.close();
    expect(conductor.shell.round).toBe(15);
  });

  it('is warned of once, when its loss becomes high', async () => {
    await open(reproducible);
    const conducted = expect(conductor.conduct(new AbortController().signal)).rejects.toMatchObject({ code: 'diverged' });
    diverge();
    await conducted;
    conductor.close();
    const kinds = reports.flatMap((event) => (event.event === 'note' && event.level === 'warn' ? [event.text] : []));
    expect(kinds).toEqual([expect.stringContaining('training is unstable')]);
  });

  it('names the last checkpoint although it was still being written', async () => {
    await open({ config: { rounds: 30 }, cadences: { ...cadences, checkpointEvery: 5 } });
    const conducted = expect(conductor.conduct(new AbortController().signal)).rejects.toMatchObject({
      code: 'diverged',
      remedy: expect.stringContaining('Continue from the last checkpoint, memory/5,'),
    });
    diverge();
    await conducted;
    conductor.close();
  });
});

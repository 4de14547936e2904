import type { Checkpoint } from '@troupe/checkpoint';
import type { RunEvent } from '@troupe/run';
import { beforeEach, describe, expect, it } from 'vitest';
import type { SavedBest } from '../src/best-model.js';
import type { ConductorEvent } from '../src/events.js';
import { FollowUps, type ValidationFailed } from '../src/follow-ups.js';
import type { Evaluation, Training, ValidationHistory } from '../src/training.js';
import { CONFIG, createDeadlines, smallTraining, turn, type Deadlines } from './fixture.js';

const REPRODUCIBLE = { config: { leaseStreams: 1 } };
/** How long saving a reproducible run waits for its validations. */
const VALIDATION_MS = 60_000;

interface Saved {
  readonly round: number;
  readonly best: boolean;
  readonly offered: boolean;
  readonly parameter: number;
  readonly evaluations: readonly Evaluation[];
}

let training: Training;
let followUps: FollowUps;
let deadlines: Deadlines;
let reports: RunEvent[];
let put: ConductorEvent[];
let saved: Saved[];
/** Validations that have started. A loss or an error ends them. */
let validations: { readonly parameter: number; end(loss: number | Error): void }[];
let samples: { readonly parameter: number; readonly length: number; readonly seed: number; readonly prime: string }[];
let diskFull: boolean;
/** The number of best models, from now on, whose write fails. */
let bestFails: number;
/** Pauses between two tries of a validation, ms. */
let pauses: number[];
let failures: ValidationFailed[];
let settled: Promise<void>;
let jumps: Set<number>;
/** The oldest checkpoint on disk. */
let heldSince: number | undefined;

type Options = Parameters<typeof smallTraining>[0] & { readonly patience?: number };

function open({ patience = 0, ...options }: Options = {}, best?: SavedBest): void {
  [bestFails, pauses, failures] = [0, [], []];
  [jumps, heldSince] = [new Set(), 0];
  [deadlines, reports, put, saved, validations, samples, diskFull] = [createDeadlines(), [], [], [], [], [], false];
  settled = Promise.resolve();
  training = smallTraining(options);
  let running = Promise.resolve();
  let pending = 0;
  const inTurn = async <T>(job: () => Promise<T>): Promise<T> => {
    const before = running;
    let done = (): void => undefined;
    running = new Promise((resolve) => (done = resolve));
    pending++;
    try {
      await before;
      return await job();
    } finally {
      pending--;
      done();
    }
  };
  const note = ({ round, parameters, history }: Checkpoint, best: boolean, offered: boolean): void => {
    const { evaluations } = history as ValidationHistory;
    saved.push({ round, best, offered, parameter: parameters[0], evaluations });
  };
  followUps = new FollowUps({
    training,
    loss: { aboveLimit: 0 },
    best,
    async readBest() {
      const onDisk = saved.filter((one) => one.best).at(-1);
      return onDisk && { round: onDisk.round, parameters: new Float32Array([onDisk.parameter]) };
    },
    patience,
    jumps,
    side: {
      get pending() {
        return pending;
      },
      evaluate: ([parameter]) =>
        inTurn(async () => {
          const loss = await new Promise<number | Error>((end) => validations.push({ parameter, end }));
          if (loss instanceof Error) throw loss;
          return { lossPerChar: loss, tokens: 40 };
        }),
      sample: ([parameter], { prime, length, seed }) =>
        inTurn(async () => {
          samples.push({ parameter, length, seed, prime: training.vocabulary.decode(prime) });
          return training.vocabulary.encode('why');
        }),
    },
    writer: {
      place: 'the disk',
      holds: async (round) => heldSince !== undefined && heldSince <= round,
      newest: 'disk/2',
      async save(checkpoint, best) {
        if (diskFull || (best && bestFails-- > 0)) return undefined;
        note(checkpoint, best, false);
        return `disk/${best ? 'best' : checkpoint.round}`;
      },
      offer: (checkpoint) => note(checkpoint, false, true),
      settled: () => settled,
    },
    ports: {
      report: (event) => reports.push(event),
      timestamp: () => 'today',
      deadline: deadlines.start,
      sleep: async (ms) => void pauses.push(ms),
    },
    put: (event) => put.push(event),
    fail: (error) => failures.push(error),
  });
}

beforeEach(() => open());

/** The job is due after `round` rounds, when the first parameter is `round`. */
function due(type: 'evaluate' | 'sample' | 'checkpoint', round: number): void {
  moveTo(round);
  followUps.handle({ type: 'outcome', outcome: { type, round }, round });
}

function moveTo(round: number): void {
  training.replica.setParameters(new Float32Array(training.layout.size).fill(round));
}

async function endValidation(loss: number | Error): Promise<void> {
  await turn();
  validations.at(-1)!.end(loss);
  await turn();
}

const orders = (): string[] =>
  put.flatMap((event) => (event.type === 'order' && 'by' in event.order ? `${event.order.type} by ${event.order.by}` : []));
const told = (event: RunEvent['event']) => reports.filter((one) => one.event === event);
const never = new AbortController().signal;

describe('a validation', () => {
  it('uses the parameters of its round, even if training continues', async () => {
    due('evaluate', 2);
    moveTo(3);
    await endValidation(1.5);
    expect(validations[0].parameter).toBe(2);
    expect(told('evaluation')).toEqual([{ event: 'evaluation', round: 2, validationLoss: 1.5, characters: 40, best: true }]);
    expect(training.history.evaluations).toEqual([{ round: 2, validationLoss: 1.5 }]);
  });

  it('is skipped while the previous one runs', async () => {
    due('evaluate', 2);
    due('evaluate', 4);
    await endValidation(1.5);
    due('evaluate', 6);
    await endValidation(1.25);
    expect(training.history.evaluations.map(({ round }) => round)).toEqual([2, 6]);
    expect(orders()).toEqual([]);
  });

  it('saves its checkpoint as the best only if its loss is the lowest so far', async () => {
    for (const [round, loss] of [
      [2, 1.5],
      [4, 1.75],
      [6, 1.25],
    ]) {
      due('evaluate', round);
      await endValidation(loss);
    }
    expect(saved.map(({ round, best, parameter }) => [round, best, parameter])).toEqual([
      [2, true, 2],
      [6, true, 6],
    ]);
    expect(saved[1].evaluations.map(({ round }) => round)).toEqual([2, 4, 6]);
    expect(training.history.best).toEqual({ round: 6, validationLoss: 1.25 });
  });

  it('is reported when it fails, and the next one runs', async () => {
    due('evaluate', 2);
    await endValidation(new Error('thread lost'));
    expect(told('note')).toMatchObject([{ level: 'warn', text: expect.stringContaining('thread lost') }]);
    due('evaluate', 4);
    await endValidation(1);
    expect(training.history.evaluations).toEqual([{ round: 4, validationLoss: 1 }]);
  });
});

describe('a validation of a run that averages its parameters', () => {
  /** The average stays where it is while the parameters move. */
  const moveParameters = (round: number): void => void training.replica.parameters.fill(round);

  beforeEach(() => {
    open({ config: { ema: 0.9 } });
    training.replica.setParameters(new Float32Array(training.layout.size).fill(-1));
  });

  async function validate(round: number, trained: number, average: number): Promise<void> {
    moveParameters(round);
    followUps.handle({ type: 'outcome', outcome: { type: 'evaluate', round }, round });
    await endValidation(trained);
    await endValidation(average);
  }

  it('measures both, reports both, and saves the better one as the best', async () => {
    await validate(2, 2.5, 2.25);
    await validate(4, 2, 2.125);
    await validate(6, 2.25, 1.5);
    expect(validations.map(({ parameter }) => parameter)).toEqual([2, -1, 4, -1, 6, -1]);
    const evaluations = reports.filter(({ event }) => event === 'evaluation');
    expect(evaluations).toMatchObject([
      { round: 2, validationLoss: 2.5, averageLoss: 2.25, best: true },
      { round: 4, validationLoss: 2, averageLoss: 2.125, best: true },
      { round: 6, validationLoss: 2.25, averageLoss: 1.5, best: true },
    ]);
    expect(saved.filter(({ best }) => best).map(({ parameter }) => parameter)).toEqual([-1, 4, -1]);
    expect(training.history.best).toEqual({ round: 6, validationLoss: 2.25, averageLoss: 1.5 });
  });

  it('counts as better for patience if either of the two is', async () => {
    open({ config: { ema: 0.9, rounds: 100 }, patience: 1 });
    await validate(2, 2, 2.5);
    await validate(4, 2.5, 1.9);
    expect(put).toEqual([]);
    await validate(6, 1.95, 2);
    expect(put).toEqual([{ type: 'order', order: { type: 'stop' } }]);
  });

  it('decides which of the two writes the next samples', async () => {
    due('sample', 1);
    await turn();
    training.replica.setParameters(new Float32Array(training.layout.size).fill(-1));
    await validate(2, 2.5, 2.25);
    followUps.handle({ type: 'outcome', outcome: { type: 'sample', round: 2 }, round: 2 });
    await turn();
    expect(samples.map(({ parameter }) => parameter)).toEqual([1, -1]);
  });

  it('says at the end of the run that the average is the best model, and lets it write', async () => {
    moveParameters(6);
    const ended = followUps.conclude({ round: 6, outcome: 'completed' }, 'disk/6', new AbortController().signal);
    await endValidation(2.5);
    await endValidation(2.25);
    await ended;
    expect(reports.at(-1)).toMatchObject({
      validationLoss: 2.5,
      averageLoss: 2.25,
      bestValidationLoss: 2.25,
      bestIsAverage: true,
    });
    expect(samples.at(-1)).toMatchObject({ parameter: -1 });
  });
});

describe('a sample', () => {
  it('starts at a line break, with a seed from the config and the round', async () => {
    due('sample', 3);
    await turn();
    expect(samples).toEqual([{ parameter: 3, length: 200, seed: CONFIG.seed + 3, prime: '\n' }]);
    expect(told('sample')).toEqual([{ event: 'sample', round: 3, text: 'why' }]);
  });

  it('waits for one other job, and is skipped if more are pending', async () => {
    due('evaluate', 2);
    due('sample', 3);
    due('sample', 4);
    await endValidation(1);
    expect(told('sample').map((event) => 'round' in event && event.round)).toEqual([3]);
  });
});

describe('a checkpoint that is due', () => {
  it('is offered to the writer at once', () => {
    due('checkpoint', 2);
    expect(saved).toEqual([{ round: 2, best: false, offered: true, parameter: 2, evaluations: [] }]);
  });

  it('waits for its validations in a reproducible run, and only the newest one waits behind it', async () => {
    open({ ...REPRODUCIBLE, evaluateEvery: 3 });
    due('evaluate', 3);
    for (const round of [3, 4, 5]) due('checkpoint', round);
    await turn();
    expect(saved).toEqual([]);
    await endValidation(1.5);
    const common = { best: false, offered: true, evaluations: [{ round: 3, validationLoss: 1.5 }] };
    expect(saved.filter(({ best }) => !best)).toEqual([3, 5].map((round) => ({ ...common, round, parameter: round })));
    expect(told('note')).toEqual([]);
  });

  it('is written with its validations although validation is slower than the cadence', async () => {
    open({ config: { leaseStreams: 1, rounds: 20 } });
    for (const round of [2, 4]) {
      due('evaluate', round);
      due('checkpoint', round);
    }
    // Each validation takes until the one after the next is due.
    for (let round = 6; round <= 18; round += 2) {
      due('evaluate', round);
      due('checkpoint', round);
      await endValidation(1 / round);
    }
    const regular = saved.filter(({ best }) => !best);
    expect(regular.map(({ round, offered }) => [round, offered])).toEqual([
      [2, true],
      [6, true],
      [10, true],
      [14, true],
    ]);
    for (const { round, parameter, evaluations } of regular) {
      expect(parameter).toBe(round);
      expect(evaluations.map((evaluation) => evaluation.round)).toEqual(Array.from({ length: round / 2 }, (_, i) => 2 * i + 2));
    }
  });
});

describe('a reproducible run', () => {
  beforeEach(() => open(REPRODUCIBLE));

  it('skips no validation: it pauses while more than two are pending', async () => {
    due('evaluate', 2);
    due('evaluate', 4);
    expect(orders()).toEqual([]);
    due('evaluate', 6);
    expect(orders()).toEqual(['pause by validation']);
    await endValidation(1.5);
    expect(orders()).toEqual(['pause by validation', 'resume by validation']);
    await endValidation(1.4);
    await endValidation(1.3);
    expect(training.history.evaluations.map(({ round }) => round)).toEqual([2, 4, 6]);
    expect(orders()).toHaveLength(2);
  });

  it('is saved with the validations up to its round and none after', async () => {
    due('evaluate', 2);
    moveTo(3);
    const path = followUps.saveNow(3);
    await turn();
    expect(saved).toEqual([]);
    due('evaluate', 4);
    await endValidation(1.5);
    await endValidation(1.25);
    expect(await path).toBe('disk/3');
    expect(saved.find(({ round }) => round === 3)).toMatchObject({ parameter: 3, evaluations: [{ round: 2 }] });
  });

  it('is not saved when its validations take too long, and reports that', async () => {
    due('evaluate', 2);
    const path = followUps.saveNow(3);
    await turn();
    deadlines.expire(VALIDATION_MS);
    expect(await path).toBeUndefined();
    expect(saved).toEqual([]);
    expect(told('note')).toMatchObject([{ level: 'warn', text: expect.stringContaining('round 3 was not saved') }]);
  });
});

describe('a validation of a reproducible run that fails', () => {
  beforeEach(() => open(REPRODUCIBLE));

  it('is tried again, and changes nothing in what is saved', async () => {
    due('evaluate', 2);
    due('evaluate', 4);
    due('checkpoint', 4);
    await endValidation(new Error('out of memory'));
    expect(told('note')).toMatchObject([{ level: 'warn', text: expect.stringContaining('tried again: out of memory') }]);
    expect(pauses).toEqual([1_000]);
    await endValidation(1.5);
    await endValidation(1.25);
    expect(validations.map(({ parameter }) => parameter)).toEqual([2, 2, 4]);
    const evaluations = [
      { round: 2, validationLoss: 1.5 },
      { round: 4, validationLoss: 1.25 },
    ];
    expect(saved.at(-1)).toEqual({ round: 4, best: false, offered: true, parameter: 4, evaluations });
    expect(failures).toEqual([]);
  });

  it('again and again ends the run, which is not saved without it', async () => {
    due('evaluate', 2);
    due('evaluate', 4);
    due('checkpoint', 4);
    for (let tries = 0; tries < 5; tries++) await endValidation(new Error('out of memory'));
    expect(pauses).toEqual([1_000, 2_000, 4_000, 8_000]);
    expect(failures).toMatchObject([
      {
        code: 'validation_failed',
        message: 'the validation of round 2 failed 5 times: out of memory',
        remedy: expect.stringContaining('Continue from the last checkpoint, disk/2, with --resume.'),
      },
    ]);
    expect(await followUps.saveNow(4)).toBeUndefined();
    expect(saved).toEqual([]);
    expect(told('note').at(-1)).toMatchObject({ text: 'round 4 was not saved: its validations failed' });
    // The next one does not run without it: which model is the best depends on both.
    expect(validations.map(({ parameter }) => parameter)).toEqual([2, 2, 2, 2, 2]);
  });

  it('because the run is over leaves no checkpoint without it behind', async () => {
    due('evaluate', 2);
    due('checkpoint', 2);
    await turn();
    followUps.close();
    await endValidation(new Error('the thread has ended'));
    await turn();
    expect([saved, failures, pauses, told('note')]).toEqual([[], [], [], []]);
  });

  it('does not count when it ends after the run', async () => {
    due('evaluate', 2);
    due('checkpoint', 2);
    await turn();
    followUps.close();
    await endValidation(1.5);
    await turn();
    expect([saved, reports]).toEqual([[], []]);
  });

  it('after the last round ends the run with an error, and leaves the file of that round as it is', async () => {
    moveTo(6);
    training.history.evaluations.push({ round: 2, validationLoss: 1 }, { round: 4, validationLoss: 2 });
    const done = followUps.conclude({ round: 6, outcome: 'completed' }, 'disk/first', never);
    const ended = expect(done).rejects.toMatchObject({ code: 'validation_failed', message: expect.stringContaining('round 6') });
    for (let tries = 0; tries < 5; tries++) await endValidation(new Error('out of memory'));
    await ended;
    expect([saved, told('finished')]).toEqual([[], []]);
  });
});

describe('a best model whose file cannot be written', () => {
  it('is written with the next validation, although that one is not better', async () => {
    bestFails = 1;
    due('evaluate', 2);
    await endValidation(1.25);
    expect(saved).toEqual([]);
    due('evaluate', 4);
    await endValidation(1.5);
    expect(saved).toMatchObject([{ round: 2, best: true, parameter: 2 }]);
  });

  it('gives way to a better one', async () => {
    bestFails = 1;
    due('evaluate', 2);
    await endValidation(1.25);
    due('evaluate', 4);
    await endValidation(1);
    due('evaluate', 6);
    await endValidation(2);
    expect(saved).toMatchObject([{ round: 4, best: true }]);
  });

  it('is written at the end of the run', async () => {
    bestFails = 1;
    due('evaluate', 2);
    await endValidation(1.25);
    await followUps.conclude({ round: 3, outcome: 'stopped' }, 'disk/3', never);
    expect(saved).toMatchObject([{ round: 2, best: true }]);
    expect(reports.at(-1)).toMatchObject({ bestCheckpoint: 'disk/best', bestValidationLoss: 1.25 });
  });

  it('is not named at the end: the figure there is that of the file', async () => {
    open({}, { path: 'disk/earlier best', round: 1, validationLoss: 2 });
    bestFails = 9;
    due('evaluate', 2);
    await endValidation(1.25);
    await followUps.conclude({ round: 3, outcome: 'stopped' }, 'disk/3', never);
    expect(reports.at(-1)).toMatchObject({ bestCheckpoint: 'disk/earlier best', bestValidationLoss: 2 });
  });

  it('that was lost in a crash gives way to the best one that can be saved', async () => {
    training.history.best = { round: 1, validationLoss: 1 };
    due('evaluate', 2);
    await endValidation(1.25);
    expect(saved).toMatchObject([{ round: 2, best: true }]);
    expect(told('evaluation')).toMatchObject([{ best: false }]);
  });
});

describe('a model that is worse than guessing', () => {
  it('is never the best', async () => {
    const chance = Math.log(training.vocabulary.size);
    due('evaluate', 2);
    await endValidation(chance + 0.01);
    due('evaluate', 4);
    await endValidation(NaN);
    expect([saved, training.history.best]).toEqual([[], undefined]);
    expect(told('evaluation')).toMatchObject([{ best: false }, { best: false }]);
    due('evaluate', 5);
    await endValidation(chance - 0.01);
    expect(saved).toMatchObject([{ round: 5, best: true }]);
  });
});

describe('patience', () => {
  async function validate(...losses: number[]): Promise<void> {
    for (const [i, loss] of losses.entries()) {
      due('evaluate', i + 1);
      await endValidation(loss);
    }
  }

  it('ends when that many validations in a row were not better than the best', async () => {
    open({ patience: 2 });
    await validate(1.5, 1.25, 1.25);
    expect(put).toEqual([]);
    await validate(1.5);
    due('evaluate', 5);
    await endValidation(1.75);
    expect(put.at(-1)).toEqual({ type: 'order', order: { type: 'stop' } });
    expect(told('note').at(-1)).toMatchObject({ text: expect.stringContaining('not improved since round 2, for 2 validations') });
  });

  it('is endless by default', async () => {
    await validate(1, 2, 2, 2, 2);
    expect(put).toEqual([]);
  });

  it('of a reproducible run ends it as it was at that validation, however far it is by then', async () => {
    open({ config: { leaseStreams: 1, rounds: 9 }, patience: 1 });
    due('evaluate', 2);
    await endValidation(1.5);
    due('evaluate', 4);
    due('checkpoint', 5);
    due('evaluate', 6);
    await endValidation(1.75);
    moveTo(7);
    const first = await followUps.saveNow(7);
    await followUps.conclude({ round: 7, outcome: 'stopped' }, first, never);
    expect(validations.map(({ parameter }) => parameter)).toEqual([2, 4]);
    const evaluations = [1.5, 1.75].map((validationLoss, i) => ({ round: 2 * i + 2, validationLoss }));
    expect(saved.filter(({ best }) => !best)).toEqual([{ round: 4, best: false, offered: false, parameter: 4, evaluations }]);
    expect(reports.at(-1)).toMatchObject({ event: 'finished', round: 4, reason: 'stopped', bestRound: 2, validationLoss: 1.75 });
  });

  it('does not stop a run whose last round is complete when the validation ends', async () => {
    open({ patience: 1 });
    await validate(1);
    due('evaluate', 4);
    followUps.handle({ type: 'outcome', outcome: { type: 'finish', round: 6, outcome: 'completed' }, round: 6 });
    await endValidation(2);
    expect(training.history.evaluations.map(({ round }) => round)).toEqual([1, 4]);
    expect([put, told('note')]).toEqual([[], []]);
  });

  it('that has ended stops a run that resumes', () => {
    open({ patience: 1 });
    training.history.evaluations.push({ round: 1, validationLoss: 1 }, { round: 2, validationLoss: 2 });
    followUps.checkPatience();
    expect(put.at(-1)).toEqual({ type: 'order', order: { type: 'stop' } });
  });
});

describe('the end of a run', () => {
  /** After 6 rounds, which are already saved. */
  async function conclude(outcome: 'completed' | 'stopped', stop = never): Promise<void> {
    moveTo(6);
    await followUps.conclude({ round: 6, outcome }, 'disk/first', stop);
  }

  it.each([
    ['the best model, if that is an earlier one', 1.2, 1.8, { round: 6, bestRound: 2 }, 2],
    ['the last model, if that is the best one', 1.8, 1.2, { round: 6 }, 6],
  ])('ends with a sample of %s', async (_, early, late, expected, parameter) => {
    due('evaluate', 2);
    await endValidation(early);
    const done = conclude('completed');
    await endValidation(late);
    await done;
    expect(told('sample')).toEqual([{ event: 'sample', text: 'why', ...expected }]);
    expect(samples.at(-1)).toMatchObject({ parameter });
  });

  it('validates, samples and saves once more if the run is completed', async () => {
    const done = conclude('completed');
    await endValidation(1.25);
    await done;
    expect(samples).toEqual([{ parameter: 6, length: 600, seed: CONFIG.seed + 6, prime: '\n' }]);
    expect(saved.map(({ round, best }) => [round, best])).toEqual([
      [6, true],
      [6, false],
    ]);
    expect(saved[1].evaluations).toEqual([{ round: 6, validationLoss: 1.25 }]);
    expect(reports.at(-1)).toEqual({
      event: 'finished',
      round: 6,
      reason: 'completed',
      checkpoint: 'disk/6',
      validationLoss: 1.25,
      bestCheckpoint: 'disk/best',
      bestRound: 6,
      bestValidationLoss: 1.25,
    });
  });

  it('tells the validation of the last round from that of the best model', async () => {
    open({}, { path: 'disk/earlier best', round: 4, validationLoss: 1 });
    const done = conclude('completed');
    await endValidation(1.25);
    await done;
    const best = { bestCheckpoint: 'disk/earlier best', bestRound: 4, bestValidationLoss: 1 };
    expect(reports.at(-1)).toMatchObject({ validationLoss: 1.25, ...best });
  });

  it('does not validate the last round twice', async () => {
    training.history.evaluations.push({ round: 6, validationLoss: 1 });
    await conclude('completed');
    expect([validations, samples.length]).toEqual([[], 1]);
  });

  it('does not wait for the validation after a request to stop', async () => {
    const stop = new AbortController();
    const done = conclude('completed', stop.signal);
    await turn();
    stop.abort();
    await done;
    expect(told('note')).toMatchObject([{ text: 'round 6 is saved without its validation, because the run was stopped' }]);
    expect(reports.at(-1)).toEqual({ event: 'finished', round: 6, reason: 'completed', checkpoint: 'disk/first' });
  });

  it('neither validates nor saves again if the run was stopped, and reports the earlier best checkpoint', async () => {
    open({}, { path: 'disk/earlier best', round: 4, validationLoss: 1.5 });
    await conclude('stopped');
    expect([validations, samples, saved]).toEqual([[], [], []]);
    expect(reports).toEqual([
      {
        event: 'finished',
        round: 6,
        reason: 'stopped',
        checkpoint: 'disk/first',
        bestCheckpoint: 'disk/earlier best',
        bestRound: 4,
        bestValidationLoss: 1.5,
      },
    ]);
  });

  it('waits until every checkpoint is written', async () => {
    let written = (): void => undefined;
    settled = new Promise((resolve) => (written = resolve));
    const done = conclude('stopped');
    await turn();
    expect(reports).toEqual([]);
    written();
    await done;
    expect(told('finished')).toHaveLength(1);
  });

  it('fails when the last round is not on disk', async () => {
    diskFull = true;
    const saving = followUps.conclude({ round: 6, outcome: 'stopped' }, undefined, never);
    await expect(saving).rejects.toMatchObject({
      name: 'NotSaved',
      message: 'round 6 could not be saved',
      remedy: expect.stringContaining('the disk'),
    });
    expect(told('finished')).toEqual([]);
  });

  it('reports the first checkpoint when the second save fails', async () => {
    training.history.evaluations.push({ round: 6, validationLoss: 1 });
    diskFull = true;
    await conclude('completed');
    expect(reports.at(-1)).toMatchObject({ event: 'finished', checkpoint: 'disk/first' });
  });

  it('does not report validations that fail afterwards', async () => {
    due('evaluate', 2);
    await conclude('stopped');
    await endValidation(new Error('thread closed'));
    expect(told('note')).toEqual([]);
  });
});

describe('a validation loss that jumps', () => {
  const trained = (round: number, loss: number): void =>
    followUps.handle({ type: 'updated', update: { round, lossSum: loss * 10, tokens: 10 } as never, readyWorkers: 1 });

  async function validated(round: number, loss: number, trainLoss: number): Promise<void> {
    due('evaluate', round);
    trained(round, trainLoss);
    await endValidation(loss);
  }
  const tainted = () => put.filter(({ type }) => type === 'tainted');

  it('takes the run back to the validation before, once', async () => {
    await validated(1, 1, 1);
    expect(followUps.lastValidated).toBe(1);
    await validated(2, 9, 9);
    expect(tainted()).toEqual([expect.objectContaining({ since: 1 })]);
    expect([...jumps]).toEqual([2]);
    training.history.evaluations.pop();
    await validated(2, 9, 9);
    expect(tainted()).toHaveLength(1);
    expect(reports.at(-1)).toMatchObject({ level: 'warn', text: expect.stringMatching(/going back has not helped/) as string });
  });

  it('does not while the training loss is low, without a checkpoint of before, nor after the last round', async () => {
    await validated(1, 1, 1);
    await validated(2, 9, 1);
    await validated(3, 1, 1);
    heldSince = undefined;
    await validated(4, 9, 9);
    expect(reports.at(-1)).toMatchObject({ level: 'warn', text: expect.stringMatching(/no checkpoint of before/) as string });
    heldSince = 0;
    await validated(5, 1, 1);
    followUps.handle({ type: 'outcome', outcome: { type: 'finish', round: 6, outcome: 'completed' }, round: 6 });
    await validated(6, 9, 9);
    expect(tainted()).toEqual([]);
  });
});

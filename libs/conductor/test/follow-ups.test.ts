import type { Checkpoint } from '@troupe/checkpoint';
import type { RunEvent } from '@troupe/run';
import { beforeEach, describe, expect, it } from 'vitest';
import type { ConductorEvent } from '../src/events.js';
import { FollowUps } from '../src/follow-ups.js';
import type { Evaluation, Training, ValidationHistory } from '../src/training.js';
import { CONFIG, createDeadlines, smallTraining, turn, type Deadlines } from './fixture.js';

const REPRODUCIBLE = { config: { leaseStreams: 1 } };
/** How long a reproducible run that is saved waits for its validations. */
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
/** Validations that have begun, and what ends them: a loss, or a failure. */
let validations: { readonly parameter: number; end(loss: number | Error): void }[];
let samples: { readonly length: number; readonly seed: number; readonly prime: string }[];
let diskFull: boolean;
let settled: Promise<void>;

function open(options: Parameters<typeof smallTraining>[0] = {}, bestPath?: string): void {
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
    bestPath,
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
      sample: (_, { prime, length, seed }) =>
        inTurn(async () => {
          samples.push({ length, seed, prime: training.vocabulary.decode(prime) });
          return training.vocabulary.encode('why');
        }),
    },
    writer: {
      place: 'the disk',
      async save(checkpoint, best) {
        if (diskFull) return undefined;
        note(checkpoint, best, false);
        return `disk/${best ? 'best' : checkpoint.round}`;
      },
      offer: (checkpoint) => note(checkpoint, false, true),
      settled: () => settled,
    },
    ports: { report: (event) => reports.push(event), timestamp: () => 'today', deadline: deadlines.start },
    put: (event) => put.push(event),
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
  it('is of the parameters of its round, whatever the run does meanwhile', async () => {
    due('evaluate', 2);
    moveTo(3);
    await endValidation(1.5);
    expect(validations[0].parameter).toBe(2);
    expect(told('evaluation')).toEqual([{ event: 'evaluation', round: 2, validationLoss: 1.5, characters: 40, best: true }]);
    expect(training.history.evaluations).toEqual([{ round: 2, validationLoss: 1.5 }]);
  });

  it('that is due while one still runs is left out', async () => {
    due('evaluate', 2);
    due('evaluate', 4);
    await endValidation(1.5);
    due('evaluate', 6);
    await endValidation(1.25);
    expect(training.history.evaluations.map(({ round }) => round)).toEqual([2, 6]);
    expect(orders()).toEqual([]);
  });

  it('that is better than all before has its checkpoint saved as the best, and no other has', async () => {
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

  it('that fails is told of, and the next is done', async () => {
    due('evaluate', 2);
    await endValidation(new Error('thread lost'));
    expect(told('note')).toMatchObject([{ level: 'warn', text: expect.stringContaining('thread lost') }]);
    due('evaluate', 4);
    await endValidation(1);
    expect(training.history.evaluations).toEqual([{ round: 4, validationLoss: 1 }]);
  });
});

describe('a sample', () => {
  it('goes on from a line break, and its seed follows from config and round', async () => {
    due('sample', 3);
    await turn();
    expect(samples).toEqual([{ length: 200, seed: CONFIG.seed + 3, prime: '\n' }]);
    expect(told('sample')).toEqual([{ event: 'sample', round: 3, text: 'why' }]);
  });

  it('waits for one other job, and is left out when more are waiting', async () => {
    due('evaluate', 2);
    due('sample', 3);
    due('sample', 4);
    await endValidation(1);
    expect(told('sample').map((event) => 'round' in event && event.round)).toEqual([3]);
  });
});

describe('a checkpoint that is due', () => {
  it('is offered to the writer as the run stands', () => {
    due('checkpoint', 2);
    expect(saved).toEqual([{ round: 2, best: false, offered: true, parameter: 2, evaluations: [] }]);
  });

  it('waits in a reproducible run for the validations of its rounds; only the newest of those that wait is written', async () => {
    open(REPRODUCIBLE);
    due('evaluate', 2);
    due('checkpoint', 2);
    due('checkpoint', 3);
    await turn();
    expect(saved).toEqual([]);
    await endValidation(1.5);
    const evaluations = [{ round: 2, validationLoss: 1.5 }];
    expect(saved.filter(({ best }) => !best)).toEqual([{ round: 3, best: false, offered: true, parameter: 3, evaluations }]);
    expect(told('note')).toEqual([]);
  });
});

describe('a reproducible run', () => {
  beforeEach(() => open(REPRODUCIBLE));

  it('leaves no validation out: it is held back while more than two wait', async () => {
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

  it('is saved with the validations of its rounds and of none after', async () => {
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

  it('is not saved when its validations do not end, and says so', async () => {
    due('evaluate', 2);
    const path = followUps.saveNow(3);
    await turn();
    deadlines.expire(VALIDATION_MS);
    expect(await path).toBeUndefined();
    expect(saved).toEqual([]);
    expect(told('note')).toMatchObject([{ level: 'warn', text: expect.stringContaining('round 3 is not saved') }]);
  });
});

describe('the end of a run', () => {
  /** After 6 rounds, which are saved already. */
  async function conclude(outcome: 'completed' | 'stopped', stop = never): Promise<void> {
    moveTo(6);
    await followUps.conclude({ round: 6, outcome }, 'disk/first', stop);
  }

  it('that is complete is validated and sampled, and saved once more with that', async () => {
    const done = conclude('completed');
    await endValidation(1.25);
    await done;
    expect(samples).toEqual([{ length: 600, seed: CONFIG.seed + 6, prime: '\n' }]);
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
      bestCheckpoint: 'disk/best',
      validationLoss: 1.25,
    });
  });

  it('is not validated again where it was', async () => {
    training.history.evaluations.push({ round: 6, validationLoss: 1 });
    await conclude('completed');
    expect([validations, samples.length]).toEqual([[], 1]);
  });

  it('does not wait for that when it is asked to stop', async () => {
    const stop = new AbortController();
    const done = conclude('completed', stop.signal);
    await turn();
    stop.abort();
    await done;
    expect(reports.at(-1)).toEqual({ event: 'finished', round: 6, reason: 'completed', checkpoint: 'disk/6' });
  });

  it('that was stopped is neither validated nor saved again, and has the best checkpoint that it resumed with', async () => {
    open({}, 'disk/earlier best');
    await conclude('stopped');
    expect([validations, samples, saved]).toEqual([[], [], []]);
    expect(reports).toEqual([
      {
        event: 'finished',
        round: 6,
        reason: 'stopped',
        checkpoint: 'disk/first',
        bestCheckpoint: 'disk/earlier best',
      },
    ]);
  });

  it('waits until everything is written', async () => {
    let written = (): void => undefined;
    settled = new Promise((resolve) => (written = resolve));
    const done = conclude('stopped');
    await turn();
    expect(reports).toEqual([]);
    written();
    await done;
    expect(told('finished')).toHaveLength(1);
  });

  it('fails when the last round is on no disk', async () => {
    diskFull = true;
    const saving = followUps.conclude({ round: 6, outcome: 'stopped' }, undefined, never);
    await expect(saving).rejects.toMatchObject({
      name: 'NotSaved',
      message: 'round 6 could not be saved',
      remedy: expect.stringContaining('the disk'),
    });
    expect(told('finished')).toEqual([]);
  });

  it('is where it was saved first when it cannot be saved once more', async () => {
    training.history.evaluations.push({ round: 6, validationLoss: 1 });
    diskFull = true;
    await conclude('completed');
    expect(reports.at(-1)).toMatchObject({ event: 'finished', checkpoint: 'disk/first' });
  });

  it('leaves validations that fail after it unmentioned', async () => {
    due('evaluate', 2);
    await conclude('stopped');
    await endValidation(new Error('thread closed'));
    expect(told('note')).toEqual([]);
  });
});

/** What a run needs before it starts, and what it refuses to continue. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { writeCheckpoint, writeRunFile } from '@troupe/checkpoint/node';
import { takeCheckpoint, type Evaluation } from '@troupe/conductor';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { prepare, type Preparation } from '../src/preparation.js';
import { parseSettings } from '../src/settings.js';
import { scratch } from './running.js';

let cwd: string;
let out: string;
let text: string;
let prepared: Preparation[];
beforeEach(async () => {
  cwd = await scratch();
  out = path.join(cwd, 'run');
  text = path.join(cwd, 'text.txt');
  await fs.writeFile(text, 'Shall I compare thee to a summer’s day? '.repeat(200));
  prepared = [];
});
afterEach(async () => {
  for (const { folder } of prepared) await folder.release();
  await fs.rm(cwd, { recursive: true, force: true });
});

const SMALL = ['--hidden=8', '--batch=4', '--window=8'];

async function prepareRun(...flags: string[]): Promise<Preparation> {
  const settings = parseSettings([`--corpus=${text}`, `--out=${out}`, ...flags], {});
  const made = await prepare(settings, {}, AbortSignal.timeout(10_000), () => undefined);
  prepared.push(made);
  return made;
}

const resume = (...flags: string[]) => prepareRun('--resume', ...flags);

interface Saved {
  readonly round: number;
  readonly evaluations: readonly Evaluation[];
  readonly best?: boolean;
}

/** A run that has saved these checkpoints and ended. */
async function savedRun(flags: readonly string[], ...checkpoints: Saved[]): Promise<Preparation> {
  const run = await prepareRun(...SMALL, ...flags);
  for (const { round, evaluations, best = false } of checkpoints) {
    const history = { ...run.training.history, evaluations, best: evaluations.at(-1) };
    await writeCheckpoint(out, { ...takeCheckpoint(run.training, round, ''), history }, { best });
  }
  await run.folder.release();
  return run;
}

const at = (round: number, validationLoss: number): Evaluation => ({ round, validationLoss });

describe('a resume', () => {
  it('continues with what the checkpoint holds', async () => {
    const { training } = await savedRun([], { round: 7, evaluations: [at(5, 3)] });
    const resumed = await resume();
    expect(resumed.training).toMatchObject({ runId: training.runId, round: 7, config: training.config });
    expect(resumed.training.replica.digest()).toBe(training.replica.digest());
    expect(resumed.training.history).toMatchObject({ evaluations: [at(5, 3)], best: at(5, 3) });
  });

  it('refuses a text that was edited, even by one character', async () => {
    await savedRun([], { round: 7, evaluations: [] });
    await fs.appendFile(text, '.');
    await expect(resume()).rejects.toMatchObject({ message: expect.stringMatching(/is not the one this run was trained on/) });
  });

  it('refuses another validation cadence in a reproducible run, whose files depend on it', async () => {
    const flags = ['--reproducible', '--eval-every=5'];
    await savedRun(flags, { round: 7, evaluations: [] });
    await expect(resume('--eval-every=6')).rejects.toMatchObject({
      message: expect.stringMatching(/--eval-every 6 differs .* 5$/),
    });
    expect((await resume()).cadences.evaluateEvery).toBe(5);
  });

  it('takes another validation cadence in any other run', async () => {
    await savedRun(['--eval-every=5'], { round: 7, evaluations: [] });
    expect((await resume('--eval-every=6')).cadences.evaluateEvery).toBe(6);
  });

  it('may change what a round is; what counts rounds follows, also in a reproducible run and in later resumes', async () => {
    const run = ['--rounds=100', '--batch=2', '--checkpoint-every=20', '--eval-every=10'];
    await savedRun([...run, '--reproducible'], { round: 50, evaluations: [at(50, 3)] });
    const { training, cadences, flags, notes } = await resume('--checkpoint-every=20', '--local-steps=5', '--tracks=2');
    expect(training.config).toMatchObject({ localSteps: 5, rounds: 60, changedRound: 50, changedWindow: 50 });
    expect(training.history.evaluations).toEqual([at(50, 3)]);
    expect(cadences).toMatchObject({ evaluateEvery: 2, checkpointEvery: 20 });
    expect([flags.untilSaved, flags.afterwards].map((one) => one.get('--checkpoint-every'))).toEqual(['20', '20']);
    expect(notes).toEqual([{ level: 'info', text: expect.stringMatching(/^From round 50 on, rounds are local/) }]);
  });

  describe('by the same flags at every start, which change what a round is', () => {
    const start = ['--batch=2', '--rounds=100', '--ema=0.9', '--warmup=10', '--eval-every=10', '--checkpoint-every=20'];
    const change = [...start, '--local-steps=5', '--tracks=2'];

    /** Saves what was prepared at this round, as the run does. */
    async function saveAt(round: number, { training, flags, folder }: Preparation): Promise<void> {
      await writeCheckpoint(out, takeCheckpoint(training, round, ''));
      await writeRunFile(out, flags.afterwards);
      await folder.release();
    }

    it.each([[[]], [['--reproducible']]])('changes it once: %j', async (kind) => {
      await saveAt(50, await prepareRun(...SMALL, ...start, ...kind));
      const first = await resume(...change);
      expect(first.training.config).toMatchObject({ rounds: 60, ema: 0.59049, changedRound: 50 });
      expect(first.cadences).toMatchObject({ evaluateEvery: 2, checkpointEvery: 4 });
      await saveAt(51, first);
      const second = await resume(...change);
      expect(second.training.config).toEqual(first.training.config);
      expect(second.cadences).toEqual(first.cadences);
      expect(second.training.history).toMatchObject({ said: { localSteps: 1, rounds: 100, ema: 0.9, decayRounds: 0 } });
      await saveAt(52, second);
      const exact = [...start, '--local-steps=1'];
      const third = await resume(...exact);
      expect(third.cadences).toMatchObject({ evaluateEvery: 10, checkpointEvery: 20 });
      await saveAt(53, third);
      expect((await resume(...exact)).training.config).toEqual(third.training.config);
    });

    it('keeps the cadence of a reproducible run, which two changes have rounded twice', async () => {
      await saveAt(50, await prepareRun(...SMALL, ...start, '--reproducible'));
      await saveAt(51, await resume(...start, '--local-steps=4', '--tracks=2'));
      const eight = [...start, '--local-steps=8', '--tracks=2'];
      const changed = await resume(...eight);
      expect(changed.cadences.evaluateEvery).toBe(2);
      await saveAt(52, changed);
      expect((await resume(...eight)).cadences.evaluateEvery).toBe(2);
    });

    it.each([[[]], [['--reproducible']]])('and changes it again if the run has gone back behind the change: %j', async (kind) => {
      await saveAt(50, await prepareRun(...SMALL, ...start, ...kind));
      await saveAt(51, await resume(...change));
      await fs.rm(path.join(out, 'round-00000051.safetensors'));
      const again = await resume(...change);
      expect(again.training.config).toMatchObject({ rounds: 60, changedRound: 50 });
      expect(again.cadences).toMatchObject({ evaluateEvery: 2, checkpointEvery: 4 });
      await again.folder.release();
      const exact = await resume(...start);
      expect(exact.training.config).toMatchObject({ rounds: 100, changedRound: 0 });
      expect(exact.cadences).toMatchObject({ evaluateEvery: 10, checkpointEvery: 20 });
    });
  });

  it('remembers a best model that was found after the last checkpoint', async () => {
    await savedRun([], { round: 4, evaluations: [at(4, 2)], best: true }, { round: 5, evaluations: [at(3, 3)] });
    const { training, best } = await resume();
    expect([training.round, training.history.best]).toEqual([5, at(4, 2)]);
    expect(best).toEqual({ ...at(4, 2), path: path.join(out, 'best.safetensors') });
  });

  it('keeps the best of the checkpoint when the file of the best is of an earlier, worse one', async () => {
    await savedRun([], { round: 4, evaluations: [at(4, 3)], best: true }, { round: 5, evaluations: [at(5, 2)] });
    expect((await resume()).training.history.best).toEqual(at(5, 2));
  });

  it('computes the best again in a reproducible run, which must not depend on when it was stopped', async () => {
    await savedRun(['--reproducible'], { round: 4, evaluations: [at(4, 2)], best: true }, { round: 5, evaluations: [at(3, 3)] });
    expect((await resume()).training.history.best).toEqual(at(3, 3));
  });

  it.each([
    ['has finished its 6 rounds', ['--rounds=6'], [at(6, 2)]],
    ['is at round 6, beyond --rounds 5', ['--rounds=5'], []],
  ])('refuses a run that %s, and frees its folder', async (message, flags, evaluations) => {
    await savedRun([], { round: 6, evaluations });
    await expect(resume(...flags)).rejects.toMatchObject({
      message: expect.stringContaining(message),
      remedy: 'Train longer with --resume --rounds 12.',
    });
    expect(await fs.readdir(out)).not.toContain('run.lock');
  });

  it('still does the last validation of a run that was stopped before it', async () => {
    await savedRun([], { round: 6, evaluations: [at(5, 2)] });
    expect((await resume('--rounds=6')).training.round).toBe(6);
  });

  it('sets a damaged newest checkpoint aside, and says so', async () => {
    await savedRun([], { round: 4, evaluations: [] }, { round: 5, evaluations: [] });
    await fs.truncate(path.join(out, 'round-00000005.safetensors'), 1_000);
    const { training, notes } = await resume();
    expect(training.round).toBe(4);
    expect(notes).toEqual([{ level: 'warn', text: expect.stringMatching(/damaged newer checkpoint/) }]);
    expect(await fs.readdir(out)).toContain('round-00000005.safetensors.damaged');
  });
});

describe('a resume from a file that is whole and of no use', () => {
  it.each(['weights', 'states'] as const)('takes the one before, sets it aside, and says so: %s', async (what) => {
    const run = await savedRun([], { round: 4, evaluations: [] });
    const { parameters, streamStates, ...rest } = takeCheckpoint(run.training, 5, '');
    const spoiled = { ...rest, parameters: parameters.slice(), streamStates: streamStates.slice() };
    if (what === 'weights') spoiled.parameters[3] = NaN;
    else spoiled.streamStates[3] = 3e38;
    await writeCheckpoint(out, spoiled);
    const { training, notes } = await resume();
    expect(training.round).toBe(4);
    expect(notes).toEqual([{ level: 'warn', text: expect.stringMatching(/damaged newer checkpoint .*no run can continue/) }]);
    expect(await fs.readdir(out)).toContain('round-00000005.safetensors.damaged');
  });
});

describe('a new run', () => {
  it('refuses a folder that holds the checkpoints of another run, and frees it', async () => {
    await savedRun([], { round: 4, evaluations: [] });
    await expect(prepareRun(...SMALL)).rejects.toMatchObject({ remedy: expect.stringMatching(/--resume/) });
    expect(await fs.readdir(out)).not.toContain('run.lock');
  });

  it('trains on in a folder that cannot be written to, and says so', async () => {
    await fs.writeFile(out, 'a file where the folder should be');
    const { notes } = await prepareRun(...SMALL);
    expect(notes).toEqual([
      { level: 'warn', text: expect.stringMatching(/checkpoints cannot be written/), remedy: expect.any(String) },
    ]);
  });
});

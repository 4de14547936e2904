/** A run that starts from a trained model. */
import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { encodeCheckpoint } from '@troupe/checkpoint';
import { sha256, writeCheckpoint } from '@troupe/checkpoint/node';
import { takeCheckpoint } from '@troupe/conductor';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { prepare, type Preparation } from '../src/preparation.js';
import { parseSettings } from '../src/settings.js';
import { scratch } from './running.js';

const TEXT = 'Shall I compare thee to a summer day?\n'.repeat(100);
const OTHER = 'Shall we compare thee to a zoo?\n'.repeat(120);
const SHAPE = ['--batch=4', '--window=8'];
let cwd: string;
let trained: string;
let trainedParameters: Float32Array;
beforeEach(async () => {
  cwd = await scratch();
  await fs.writeFile(path.join(cwd, 'text.txt'), TEXT);
  await fs.writeFile(path.join(cwd, 'other.txt'), OTHER);
  const { training } = await start('text.txt', '--hidden=8', '--layers=2', '--layer-norm', '--seed=3');
  const checkpoint = takeCheckpoint(training, 40, '');
  trainedParameters = checkpoint.parameters;
  trained = (await writeCheckpoint(path.join(cwd, 'trained'), checkpoint)).path;
});
afterEach(() => fs.rm(cwd, { recursive: true, force: true }));

async function start(text: string, ...flags: string[]): Promise<Preparation> {
  const settings = parseSettings([`--corpus=${path.join(cwd, text)}`, `--out=${path.join(cwd, 'run')}`, ...SHAPE, ...flags], {});
  const prepared = await prepare(settings, {}, AbortSignal.timeout(10_000), () => undefined);
  await prepared.folder.release();
  return prepared;
}

describe('a run with --init', () => {
  it('has the model and the weights of the checkpoint, and nothing else of its run', async () => {
    const { training, notes } = await start('text.txt', `--init=${trained}`, '--seed=9');
    expect(training.config.model).toMatchObject({ hidden: 8, layers: 2, layerNorm: true });
    expect(training.replica.parameters).toEqual(trainedParameters);
    expect(training).toMatchObject({ round: 0, history: { evaluations: [], best: undefined } });
    expect(training.replica.exportState().slots.every(({ values }) => values.every((value) => value === 0))).toBe(true);
    const digest = createHash('sha256')
      .update(await fs.readFile(trained))
      .digest('hex');
    expect(notes).toEqual([
      { level: 'info', text: expect.stringMatching(`round 40, SHA-256 ${digest}.*every character`) as string },
    ]);
  });

  it('takes the best checkpoint of a run folder', async () => {
    const { notes } = await start('text.txt', `--init=${path.dirname(trained)}`);
    expect(notes[0].text).toContain(trained);
  });

  it('trains on another text, whose new characters it names', async () => {
    const { training, notes } = await start('other.txt', `--init=${trained}`, '--seed=9');
    expect(training.vocabulary.characters).toContain('z');
    expect(notes[0].text).toContain('2 characters of the text are new to it: "wz"');
    expect(training.replica.parameters.every(Number.isFinite)).toBe(true);
  });

  it('is reproducible, and the bytes of the checkpoint are part of its identity', async () => {
    const flags = ['--reproducible', '--hidden=8', '--layers=2', '--layer-norm'];
    const bytesOf = ({ training }: Preparation) => sha256(encodeCheckpoint(takeCheckpoint(training, 0, ''), sha256));
    const copy = path.join(cwd, 'copy.safetensors');
    await fs.copyFile(trained, copy);
    const [first, second, fresh] = [
      await start('other.txt', ...flags, `--init=${trained}`),
      await start('other.txt', ...flags, `--init=${copy}`),
      await start('other.txt', ...flags),
    ];
    expect(bytesOf(second)).toBe(bytesOf(first));
    expect(second.training.runId).toBe(first.training.runId);
    expect(fresh.training.runId).not.toBe(first.training.runId);
  });

  it.each([
    [['--hidden=16'], /^--hidden 16 differs from the model of --init, which has 8/],
    [['--cell=gru'], /^--cell gru differs from the model of --init, which has lstm/],
    [['--tied'], /^--tied differs from the model of --init, which is without it/],
    [['--forget-bias=2'], /^--forget-bias has no effect with --init/],
  ])('refuses another model: %s', async (flags, message) => {
    await expect(start('text.txt', `--init=${trained}`, ...flags)).rejects.toMatchObject({
      name: 'SettingsError',
      message: expect.stringMatching(message),
    });
  });

  it('accepts flags that agree, and another dropout', async () => {
    const { training } = await start('text.txt', `--init=${trained}`, '--hidden=8', '--layer-norm', '--dropout=0.5');
    expect(training.config.model.dropout).toBe(0.5);
    expect(training.replica.parameters).toEqual(trainedParameters);
  });

  it('says what is wrong with a file that is no checkpoint', async () => {
    await expect(start('text.txt', `--init=${path.join(cwd, 'none')}`)).rejects.toMatchObject({ code: 'not_found' });
  });

  it('continues from its own checkpoint when it resumes, also with the flag typed again', async () => {
    const { training } = await start('text.txt', `--init=${trained}`);
    await writeCheckpoint(path.join(cwd, 'run'), takeCheckpoint(training, 5, ''));
    const resumed = await start('text.txt', '--resume', `--init=${trained}`);
    expect(resumed.training.round).toBe(5);
    expect(resumed.notes).toContainEqual({ level: 'info', text: expect.stringContaining('--init is for the start') as string });
    expect(resumed.flags.afterwards.has('--init')).toBe(false);
  });
});

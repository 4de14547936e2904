import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { configFromFlags, parseTrainingConfig, RUN_OPTIONS } from '@troupe/config';
import { afterAll, describe, expect, it } from 'vitest';
import { parseRecipe, recipeOf, recipes, withRecipe } from '../src/recipes.js';
import { troupe } from './fixtures/shell.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'troupe-cli-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.each(recipes())('the recipe $name', ({ title, flags }) => {
  it('has a title, and flags of a run with values that a run accepts', () => {
    expect(title).toMatch(/^[A-Z0-9].*\.$/);
    const known: readonly string[] = RUN_OPTIONS.map(({ flag }) => flag);
    expect([...flags.keys()].filter((flag) => !known.includes(flag))).toEqual([]);
    expect(parseTrainingConfig(configFromFlags((flag) => flags.get(flag), 65))).toMatchObject({ ok: true });
  });
});

describe('--recipe', () => {
  it('reads one flag a line, with comments, values and switches', () => {
    expect(parseRecipe('x', '# For tests.\n--layers 2\n\n# Why.\n--tied\n--corpus a b \n')).toEqual({
      name: 'x',
      title: 'For tests.',
      flags: new Map([
        ['--layers', '2'],
        ['--tied', ''],
        ['--corpus', 'a b'],
      ]),
    });
  });

  it('sets the flags of the recipe that are not given, and says which', () => {
    const { args, note } = withRecipe('shakespeare-good', ['--hidden=8', '--out=x']);
    expect(args).toContain('--layers=2');
    expect(args).toContain('--layer-norm');
    expect(args.filter((arg) => arg.startsWith('--hidden'))).toEqual(['--hidden=8']);
    expect(args.slice(-2)).toEqual(['--hidden=8', '--out=x']);
    expect(note).toContain('--ema 0.998');
    expect(note).not.toContain('--hidden 512');
    expect(note).toContain('your --hidden counts instead of its own');
  });

  it('follows --local-steps: its rounds are divided, and its average is as long', () => {
    const { args, note } = withRecipe('shakespeare-good', ['--local-steps=32', '--rounds=300']);
    expect(args).toEqual(expect.arrayContaining(['--warmup=3', '--eval-every=8', '--ema=0.937945', '--layers=2', '--lr=0.004']));
    expect(args.filter((arg) => arg.startsWith('--rounds'))).toEqual(['--rounds=300']);
    expect(note).toContain('divided by 32');
    expect(withRecipe('shakespeare-good', []).note).not.toContain('divided');
  });

  it('sets nothing when a run is resumed, which has its flags', () => {
    const { args, note } = withRecipe('shakespeare-good', ['--resume', '--local-steps=32']);
    expect(args).toEqual(['--resume', '--local-steps=32']);
    expect(note).toContain('sets nothing');
  });

  it('is quick for train when no flag says what to train, and only then', () => {
    expect(recipeOf(undefined, ['--port=7070', '--reproducible', '--out=x'])).toBe('quick');
    for (const flag of ['--resume', '--corpus=a.txt', '--init=b', '--hidden=8', '--rounds=5', '--lr=1']) {
      expect(recipeOf(undefined, [flag])).toBeUndefined();
      expect(recipeOf('shakespeare-good', [flag])).toBe('shakespeare-good');
    }
  });

  it('reaches the coordinator of train, which shows what it sets', async () => {
    const { stdout, exitCode } = troupe([
      'train',
      '--workers',
      '1',
      '--recipe',
      'shakespeare-best',
      '--rounds',
      '7',
      `--out=${folder}`,
    ]);
    expect(await exitCode).toBe(0);
    expect(stdout.text).toContain('The recipe shakespeare-best sets');
    expect(stdout.text).toContain('--hidden=768');
    expect(stdout.text).toContain('--rounds=7');
    expect(stdout.text).not.toContain('--rounds=8000');
  });

  it.each(['train', 'coordinator'])('lists all recipes: %s', async (command) => {
    const { stdout, exitCode } = troupe([command, '--recipe', 'list']);
    expect(await exitCode).toBe(0);
    for (const { name, title } of recipes()) expect(stdout.text).toContain(`${name}: ${title}`);
  });

  it('with an unknown name is refused with the names of all', async () => {
    const { stderr, exitCode } = troupe(['train', '--recipe', 'nothing']);
    expect(await exitCode).toBe(2);
    expect(stderr.text).toContain('There is no recipe "nothing"');
    for (const { name } of recipes()) expect(stderr.text).toContain(`--recipe ${name}`);
  });
});

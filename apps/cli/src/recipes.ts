/** Recipes: files of run flags that are known to work well together, in apps/cli/recipes. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { FLAG_FIELDS, localStepsIn, RUN_OPTIONS, scaled } from '@troupe/config';
import { Option } from 'commander';
import { CliError } from './errors.js';

/** Seen from apps/cli/src and from apps/cli/dist. */
const FOLDER = fileURLToPath(new URL('../recipes/', import.meta.url));
const ENDING = '.txt';
/** The value of --recipe that lists all. */
export const LIST = 'list';
/** The recipe of `troupe train` when nothing says what to train. */
const USUAL = 'quick';

export interface Recipe {
  readonly name: string;
  /** What it is for: its first line. */
  readonly title: string;
  /** Flag -> value; '' for a switch. */
  readonly flags: ReadonlyMap<string, string>;
}

/** @param usual words about its default */
export function recipeOption(usual?: string): Option {
  return new Option(
    '--recipe <NAME>',
    `flags that work well together, from a file: ${recipes()
      .map(({ name }) => name)
      .join(', ')}; flags that you give count instead ` +
      `of those of the recipe, and --recipe ${LIST} prints all${usual === undefined ? '' : ` (${usual})`}`,
  ).helpGroup('Run:');
}

/** All recipes, by name. */
export function recipes(): readonly Recipe[] {
  const names = readdirSync(FOLDER).filter((file) => file.endsWith(ENDING));
  return names.sort().map((file) => parseRecipe(path.basename(file, ENDING), readFileSync(path.join(FOLDER, file), 'utf8')));
}

/** One flag a line, as typed; lines that begin with # are comments, and the first of them is the title. */
export function parseRecipe(name: string, text: string): Recipe {
  const lines = text.split('\n').map((line) => line.trim());
  const flags = lines
    .filter((line) => line.startsWith('--'))
    .map((line) => /^(\S+)\s*(.*)$/.exec(line)!.slice(1) as [string, string]);
  return { name, title: lines[0].replace(/^#\s*/, ''), flags: new Map(flags) };
}

/** What --recipe list prints. */
export function describeRecipes(program: string): string {
  const texts = recipes().map(({ name, title, flags }) => `${name}: ${title}\n  ${typed(flags)}\n`);
  return `${texts.join('\n')}\nTo use one: ${program} train --recipe ${recipes()[0].name}\n`;
}

/** Flags that say what to train, besides those of the training config. */
const OTHERS = ['--corpus', '--encoding', '--init', '--resume'];

/** The recipe of `troupe train`: the one that is named, or the usual one if no flag says what to train. */
export function recipeOf(named: string | undefined, given: readonly string[]): string | undefined {
  const flags: readonly string[] = [...OTHERS, ...FLAG_FIELDS.map(({ flag }) => flag)];
  return named ?? (given.some((arg) => flags.includes(arg.split('=')[0])) ? undefined : USUAL);
}

/** The flags of a run with a recipe. */
export interface Prepared {
  /** Argv for the coordinator: the flags of the recipe that are not given, then the given ones. */
  readonly args: readonly string[];
  /** What the recipe sets. */
  readonly note: string;
}

/**
 * @param given argv, one entry a flag ("--layers=2", "--resume")
 * @throws CliError when there is no such recipe
 */
export function withRecipe(name: string, given: readonly string[]): Prepared {
  const recipe = recipes().find((one) => one.name === name);
  if (recipe === undefined) {
    const known = recipes().map((one) => `--recipe ${one.name}`);
    throw new CliError('usage', `There is no recipe ${JSON.stringify(name)}.`, `Give ${known.join(', or ')}.`);
  }
  const taken = new Set(given.map((arg) => arg.split('=')[0]));
  if (taken.has('--resume')) return { args: given, note: `The recipe ${name} sets nothing: a resumed run keeps its flags.` };
  const steps = localStepsIn((flag) => given.find((arg) => arg.startsWith(`${flag}=`))?.slice(flag.length + 1));
  const set = [...recipe.flags].filter(([flag]) => !taken.has(flag)).map(([flag, value]) => forSteps(flag, value, steps));
  const kept = [...recipe.flags.keys()].filter((flag) => taken.has(flag));
  const instead =
    kept.length === 0 ? '' : `; your ${kept.join(', ')} ${kept.length === 1 ? 'counts' : 'count'} instead of its own`;
  return {
    args: [...set.map(([flag, value]) => (value === '' ? flag : `${flag}=${value}`)), ...given],
    note: `The recipe ${name} sets ${typed(new Map(set))}${instead}.${describeScaling(steps)}`,
  };
}

/** Recipes are for exact rounds. */
function forSteps(flag: string, value: string, steps: number): [flag: string, value: string] {
  const { scaling } = RUN_OPTIONS.find((option) => option.flag === flag) ?? {};
  return [flag, scaling === undefined ? value : String(scaled(Number(value), scaling, steps))];
}

function describeScaling(steps: number): string {
  if (steps === 1) return '';
  return ` A round has ${steps} windows: what counts rounds is divided by ${steps}, and --ema averages over as many characters.`;
}

function typed(flags: ReadonlyMap<string, string>): string {
  return [...flags].map(([flag, value]) => `${flag} ${value}`.trim()).join(' ');
}

import { InvalidArgumentError, Option, type Command } from 'commander';
import {
  defaultInWords,
  describeOption,
  isOptionValue,
  negated,
  OPTION_GROUPS,
  RUN_OPTIONS,
  shellQuote,
  type AppOption,
  type RunOption,
} from '@troupe/config';
import { ENGINE_CHOICES, ENGINE_NAMES, type EngineChoice, type EngineName } from '@troupe/engines';
import { ENGINE_OPTION, THREADS_OPTION, threadsProblem } from '@troupe/engines/options';
import { PRECISIONS, type Precision } from '@troupe/export';
import { CliError } from '../errors.js';

/** A parser for commander: a whole number from `least` to `most`. */
export function wholeNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : NaN;
    if (!(value >= least && value <= most))
      throw new InvalidArgumentError(`It should be a whole number from ${least} to ${most}.`);
    return value;
  };
}

/** A parser for commander: a number from `least` to `most`. */
export function realNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = text.trim() === '' ? NaN : Number(text);
    if (!(value >= least && value <= most)) throw new InvalidArgumentError(`It should be a number from ${least} to ${most}.`);
    return value;
  };
}

/** `--engine`, for every command that computes. `help` explains the default. */
export function engineOption(usual: EngineChoice, help: string): Option {
  const option = new Option('--engine <NAME>', `engine that computes: ${ENGINE_CHOICES.join(', ')}; ${help}`);
  return option.argParser(parserOf(ENGINE_OPTION)).default(usual).helpGroup('Engine:');
}

/** `--precision`, for commands that use the weights of a model. */
export function precisionOption(usual: Precision, help: string): Option {
  return new Option('--precision <FORMAT>', help).choices(PRECISIONS).default(usual);
}

/** `--encoding`, for every command that reads a text. */
export function encodingOption(): Option {
  const { help, placeholder } = RUN_OPTIONS.find(({ flag }) => flag === '--encoding')!;
  return new Option(`--encoding <${placeholder}>`, help).helpGroup('Data:');
}

/** `--threads`, for commands that compute gradients. `help` explains the default. */
export function threadsOption(help: string): Option {
  return new Option('--threads <N>', help).argParser(parserOf(THREADS_OPTION)).helpGroup('Engine:');
}

/** A parser for commander by the entry of a table. */
function parserOf(option: AppOption): (text: string) => string | number {
  return (text) => {
    if (!isOptionValue(option, text)) throw new InvalidArgumentError(`It should be ${describeOption(option)}.`);
    return option.type === 'whole' || option.type === 'real' ? Number(text) : text;
  };
}

/** A parser for commander: the name of an engine, without `auto` and other choices. */
export function engineName(text: string): EngineName {
  const found = ENGINE_NAMES.find((name) => name === text);
  if (found === undefined) throw new InvalidArgumentError(`It should be one of ${ENGINE_NAMES.join(', ')}.`);
  return found;
}

/** @throws CliError if threads are given for an engine that would not use them */
export function checkThreads({ engine, threads }: { readonly engine: EngineChoice; readonly threads: number }): void {
  const problem = threadsProblem(engine, threads);
  if (problem !== undefined) throw new CliError('usage', problem.message, problem.remedy);
}

/** Adds the flags of an app to a command. The values are checked here and again by the app. */
export function addAppOptions(command: Command, options: readonly AppOption[]): Command {
  for (const option of options) {
    const usual = defaultInWords(option);
    const help = usual === undefined ? option.help : `${option.help} (default: ${usual})`;
    const added = new Option(option.type === 'switch' ? option.flag : `${option.flag} <${option.placeholder}>`, help);
    if (option.type !== 'switch') added.argParser(parserOf(option));
    command.addOption(added.helpGroup(`${option.group}:`));
  }
  return command;
}

/** Defaults that a command changes: flag -> the default in its help. */
export type OtherDefaults = Readonly<Record<string, string>>;

/** Adds the flags of a run to a command. Only the coordinator checks their values. */
export function addRunOptions(command: Command, others: OtherDefaults = {}): Command {
  for (const group of OPTION_GROUPS) {
    for (const option of RUN_OPTIONS) {
      if (option.group !== group) continue;
      command.addOption(helpfulOption(option, others[option.flag]).helpGroup(`${group}:`));
      if (option.former !== undefined) command.addOption(formerOption(option.former, option));
      if (option.negatable) command.addOption(new Option(negated(option.flag)).hideHelp());
    }
  }
  return command;
}

function helpfulOption({ flag, type, choices, placeholder, help, default: usual }: RunOption, otherDefault?: string): Option {
  const value = type === 'switch' ? '' : ` <${placeholder ?? choices?.join('|') ?? 'value'}>`;
  const fallback = otherDefault ?? usual;
  return new Option(`${flag}${value}`, fallback === undefined ? help : `${help} (default: ${fallback})`);
}

/** The former name of a flag, which is refused with the name of today. */
function formerOption(former: string, { flag }: RunOption): Option {
  const refuse = (value: string): never => {
    throw new InvalidArgumentError(`The flag is called ${flag} now: give ${flag} ${shellQuote(value)}.`);
  };
  return new Option(`${former} <VALUE>`).argParser(refuse).hideHelp();
}

/** The run flags that the user gave, as argv for the coordinator. */
export function runArguments(command: Command, leaveOut: readonly string[] = []): string[] {
  return givenArguments(command, RUN_OPTIONS, leaveOut);
}

/** The flags of a table that the user gave, as argv for an app. */
export function givenArguments(
  command: Command,
  options: readonly Pick<AppOption, 'flag' | 'type'>[],
  leaveOut: readonly string[] = [],
): string[] {
  const args: string[] = [];
  for (const { flag, type } of options) {
    const key = optionKey(flag);
    if (command.getOptionValueSource(key) !== 'cli' || leaveOut.includes(flag)) continue;
    const value = command.getOptionValue(key) as string | number | boolean;
    if (value === false && !flag.startsWith('--no-')) args.push(negated(flag));
    else args.push(type === 'switch' ? flag : `${flag}=${value}`);
  }
  return args;
}

/** "--lr-final" -> "lrFinal", "--no-gpu" -> "gpu": the key that commander uses. */
function optionKey(flag: string): string {
  return flag.replace(/^--(no-)?/, '').replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}

/** Examples for the end of the help, each a command line and what it does. */
export function examples(...lines: readonly (readonly [command: string, effect: string])[]): string {
  return `\nExamples:\n${lines.map(([command, effect]) => `  ${command}\n      ${effect}`).join('\n')}`;
}

/** The section "What next", one line each. */
export function afterwards(...lines: readonly string[]): string {
  return `\n\nWhat next:\n${lines.map((line) => `  ${line}`).join('\n')}`;
}

import { InvalidArgumentError, Option, type Command } from 'commander';
import { negated, OPTION_GROUPS, RUN_OPTIONS, type RunOption } from '@troupe/config';
import { ENGINE_CHOICES, ENGINE_NAMES, takesThreads, type EngineChoice, type EngineName } from '@troupe/engines';
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

const MAX_THREADS = 256;

/** `--engine`, for every command that computes. `help` explains the default. */
export function engineOption(usual: EngineChoice, help: string): Option {
  return new Option('--engine <NAME>', `engine that computes: ${ENGINE_CHOICES.join(', ')}; ${help}`)
    .argParser(engineChoice)
    .default(usual)
    .helpGroup('Engine:');
}

function engineChoice(text: string): EngineChoice {
  return oneOf(ENGINE_CHOICES, text);
}

/** A parser for commander: the name of an engine, without `auto` and other choices. */
export function engineName(text: string): EngineName {
  return oneOf(ENGINE_NAMES, text);
}

function oneOf<T extends string>(names: readonly T[], text: string): T {
  const found = names.find((name) => name === text);
  if (found === undefined) throw new InvalidArgumentError(`Engines are: ${names.join(', ')}.`);
  return found;
}

/** `--threads`, for commands that compute gradients. */
export function threadsOption(help: string): Option {
  return new Option('--threads <N>', help).argParser(wholeNumber(1, MAX_THREADS)).default(1).helpGroup('Engine:');
}

/** @throws CliError if threads are given for an engine that would not use them */
export function checkThreads({ engine, threads }: { readonly engine: EngineChoice; readonly threads: number }): void {
  if (threads === 1 || takesThreads(engine)) return;
  throw new CliError(
    'usage',
    `--threads ${threads} is for engines that compute on the processor, and --engine ${engine} takes one thread.`,
    'Leave --threads out, or choose native, wasm or auto.',
  );
}

/** Defaults that a command changes: flag -> the default in its help. */
export type OtherDefaults = Readonly<Record<string, string>>;

/** Adds the flags of a run to a command. Only the coordinator checks their values. */
export function addRunOptions(command: Command, others: OtherDefaults = {}): Command {
  for (const group of OPTION_GROUPS) {
    for (const option of RUN_OPTIONS) {
      if (option.group !== group) continue;
      command.addOption(helpfulOption(option, others[option.flag]).helpGroup(`${group}:`));
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

/** The run flags that the user gave, as argv for the coordinator. */
export function runArguments(command: Command, leaveOut: readonly string[] = []): string[] {
  const args: string[] = [];
  for (const { flag, type } of RUN_OPTIONS) {
    const value = command.getOptionValue(optionKey(flag)) as string | boolean | undefined;
    if (value === undefined || leaveOut.includes(flag)) continue;
    if (type === 'switch') args.push(value === false ? negated(flag) : flag);
    else args.push(`${flag}=${String(value)}`);
  }
  return args;
}

/** "--lr-final" -> "lrFinal", the key that commander uses. */
function optionKey(flag: string): string {
  return flag.slice(2).replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}

/** Examples for the end of the help, each a command line and what it does. */
export function examples(...lines: readonly (readonly [command: string, effect: string])[]): string {
  return `\nExamples:\n${lines.map(([command, effect]) => `  ${command}\n      ${effect}`).join('\n')}`;
}

/** The section "What next", one line each. */
export function afterwards(...lines: readonly string[]): string {
  return `\n\nWhat next:\n${lines.map((line) => `  ${line}`).join('\n')}`;
}

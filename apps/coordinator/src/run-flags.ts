/**
 * The flags of a run, in run.json beside its checkpoints: how it is stored, reported and reached.
 * A resumed run has them again; flags that are given change them.
 */
import path from 'node:path';
import { CheckpointError } from '@troupe/checkpoint';
import { readRunFile } from '@troupe/checkpoint/node';
import { negated, shellQuote, STORED_OPTIONS, TUNABLE_OPTIONS, type RunOption } from '@troupe/config';
import { CADENCE_FLAGS, stepsOf } from './cadences.js';
import { checkValue, SettingsError } from './settings.js';

/** Flag ("--keep") -> value, "true" for a switch. */
export type Flags = ReadonlyMap<string, string>;

/** The flags in a run's folder; none in the folder of an older release. @throws SettingsError */
export async function readRunFlags(folder: string): Promise<Flags> {
  const stored = await readRunFile(folder).catch((error: unknown) => {
    if (!(error instanceof CheckpointError)) throw error;
    throw new SettingsError(error.message, error.remedy);
  });
  const flags = new Map<string, string>();
  for (const option of [...STORED_OPTIONS, ...TUNABLE_OPTIONS]) {
    const value = stored.get(option.flag);
    if (value === undefined) continue;
    checkValue(option, value);
    flags.set(option.flag, value);
  }
  for (const key of CADENCE_FLAGS.map(stepsOf)) {
    const steps = stored.get(key);
    if (steps !== undefined && /^[1-9]\d*$/.test(steps)) flags.set(key, steps);
  }
  return flags;
}

/**
 * What a checkpoint holds too must not be stored before it: a run that crashes in between would
 * take the new value for one that a person has changed since.
 */
export interface FlagsInTurn {
  /** Until the run has saved its first checkpoint. */
  readonly untilSaved: Flags;
  readonly afterwards: Flags;
}

/** The flags of a run that is started or resumed with `given`, where `stored` are those of before. */
export function flagsToStore(stored: Flags, given: Flags): FlagsInTurn {
  const before = storedFor(given, stored);
  const pick = (options: readonly RunOption[], of: (option: RunOption) => string | undefined): [string, string][] =>
    options.flatMap((option) => {
      const value = of(option);
      return value === undefined ? [] : [[option.flag, value]];
    });
  const lasting = pick(STORED_OPTIONS, (option) =>
    isOff(given, option.flag) ? undefined : (storable(option, given) ?? before.get(option.flag)),
  );
  const tunable = (of: Flags): [string, string][] => pick(TUNABLE_OPTIONS, ({ flag }) => of.get(flag));
  return {
    untilSaved: new Map([...lasting, ...tunable(stored)]),
    afterwards: new Map([...lasting, ...tunable(stored), ...tunable(given)]),
  };
}

function isOff(given: Flags, flag: string): boolean {
  return given.has(negated(flag));
}

/** Paths are stored whole, so that the run finds them from another folder. Passwords are not stored. */
function storable(option: RunOption, given: Flags): string | undefined {
  const value = given.get(option.flag);
  if (value === undefined) return undefined;
  if (option.path) return path.resolve(value);
  return value.split(',').some(hasPassword) ? undefined : value;
}

function hasPassword(text: string): boolean {
  return URL.canParse(text) && new URL(text).password !== '';
}

/** The encoding of the run's text says nothing of another text. */
function storedFor(given: Flags, stored: Flags): Flags {
  const isOtherText = given.has('--corpus') && given.get('--corpus') !== stored.get('--corpus');
  return isOtherText ? new Map([...stored].filter(([flag]) => flag !== '--encoding')) : stored;
}

/** The given flags, and those of the run that are not given. The checkpoint holds the training config. */
export function withStored(stored: Flags, given: Flags): Flags {
  const all = new Map(given);
  const before = storedFor(given, stored);
  for (const { flag } of STORED_OPTIONS) {
    const value = before.get(flag);
    if (value !== undefined && !given.has(flag) && !isOff(given, flag)) all.set(flag, value);
  }
  return all;
}

/** What a person who resumes should know of flags that were not typed, and of those that change the run's. */
export function describeRecalled(stored: Flags, given: Flags): readonly string[] {
  const before = storedFor(given, stored);
  const changes: string[] = [];
  const recalled: string[] = [];
  for (const option of STORED_OPTIONS) {
    const then = before.get(option.flag);
    const now = isOff(given, option.flag) ? undefined : given.get(option.flag);
    const isGiven = given.has(option.flag) || isOff(given, option.flag);
    if (!isGiven) recalled.push(...(then === undefined ? [] : [typed(option, then)]));
    else if (then !== now) changes.push(changed(option, then, now));
  }
  return [
    ...(recalled.length > 0 ? [`The run keeps its flags: ${recalled.join(' ')}`] : []),
    ...(changes.length > 0 ? [`Changed: ${changes.join('; ')}`] : []),
  ];
}

function typed({ flag, type }: RunOption, value: string): string {
  return type === 'switch' ? flag : `${flag} ${shellQuote(value)}`;
}

function changed(option: RunOption, then: string | undefined, now: string | undefined): string {
  if (now === undefined) return `${option.flag} is off now`;
  if (option.type === 'switch') return `${option.flag} is on now`;
  const before = then ?? option.default;
  return `${typed(option, now)}${before === undefined ? '' : ` (was ${before})`}`;
}

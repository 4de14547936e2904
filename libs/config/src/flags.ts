/**
 * The flags of a training config, derived from the tables of fields, and the config that their
 * values give.
 */
import type { Field, Flag, Group, Kinds, Scaling } from './field.js';
import { TRAINING, type TrainingConfig } from './training.js';

/** A flag as the command line knows it. */
export interface RunOption extends Flag {
  readonly type: 'whole' | 'real' | 'text' | 'choice' | 'switch';
  readonly choices?: readonly string[];
  /** A resumed run can turn the flag off: "--no-public". */
  readonly negatable?: true;
  /** The value is a path, which is stored whole: a run may be resumed from another folder. */
  readonly path?: true;
  /** The default value, shown in the help. Absent for switches, and for flags without a fixed default. */
  readonly default?: string;
}

type Spec = Field | Kinds;

/** A field of the training config and the flag that determines it. */
export interface FlagField {
  /** Dotted name: "optimizer.beta1". */
  readonly field: string;
  readonly flag: string;
  /** A person may change the field during the run. */
  readonly tunable: boolean;
  /** Absent if the field has no flag of its own. */
  readonly option?: RunOption;
}

function optionOf(spec: Spec, isDerived: boolean): RunOption | undefined {
  if (spec.option === undefined) return undefined;
  if (spec.type === 'kinds') return { ...spec.option, type: 'choice', choices: Object.keys(spec.kinds), default: spec.default };
  const choices = spec.type === 'choice' ? { choices: spec.choices } : {};
  const fixed = spec.type === 'switch' || isDerived ? {} : { default: String(spec.default) };
  return { ...spec.option, type: spec.type, ...choices, ...fixed };
}

function* flagFieldsOf({ fields, derived = {} }: Group, prefix = ''): Generator<FlagField> {
  for (const [name, spec] of Object.entries(fields)) {
    const field = `${prefix}${name}`;
    const option = optionOf(spec, name in derived);
    const flag = option?.flag ?? spec.from;
    const tunable = spec.type !== 'kinds' && spec.tunable === true;
    if (flag) yield { field: spec.type === 'kinds' ? `${field}.kind` : field, flag, tunable, ...(option ? { option } : {}) };
    if (spec.type === 'kinds') for (const group of Object.values(spec.kinds)) yield* flagFieldsOf(group, `${field}.`);
  }
}

/** Every field of the training config that a flag determines, in the order of the tables. */
export const FLAG_FIELDS: readonly FlagField[] = [
  ...new Map([...flagFieldsOf(TRAINING)].map((each) => [each.field, each])).values(),
];

/** The value at a dotted name, or undefined if the config has no such field. */
export function valueAt(config: TrainingConfig, field: string): string | number | boolean | undefined {
  const value = field.split('.').reduce<unknown>((part, key) => (part as Record<string, unknown> | undefined)?.[key], config);
  return value as string | number | boolean | undefined;
}

/** The value given for a flag, "true" for a switch; undefined if the flag is not given. */
export type FlagText = (flag: string) => string | undefined;

/**
 * The config that the given flags describe, not yet validated: pass it to parseTrainingConfig. The
 * other fields have their defaults.
 * @param vocabulary V, number of distinct characters in the corpus
 */
export function configFromFlags(text: FlagText, vocabulary: number): Record<string, unknown> {
  return readGroup(TRAINING, text, { vocabulary, localSteps: localStepsIn(text) });
}

/** H as the flags have it, 1 if they do not; they need not be valid. */
export function localStepsIn(text: FlagText): number {
  return Math.max(1, Math.floor(Number(text('--local-steps'))) || 1);
}

/** Digits of a scaled decay: the last ones of a power may differ between hosts. */
const DECAY_DIGITS = 6;

/**
 * A value that was chosen for other rounds, scaled for those that have `ratio` times as many windows. A count stays 0, or is at least 1: so
 * whoever gives no flag reads as many characters as in exact rounds.
 */
export function scaled(value: number, scaling: Scaling | undefined, ratio: number): number {
  if (scaling === undefined || ratio === 1 || value === 0) return value;
  return scaling === 'count' ? Math.max(1, Math.round(value / ratio)) : Number((value ** ratio).toPrecision(DECAY_DIGITS));
}

type Facts = Readonly<Record<string, number>>;

function readGroup({ fields, derived = {} }: Group, text: FlagText, facts: Facts): Record<string, unknown> {
  const given = (spec: Spec) => spec.option && text(spec.option.flag);
  const read = (name: string, spec: Spec): unknown => readField(spec, given(spec), text, facts) ?? facts[name];
  const config = Object.fromEntries(Object.entries(fields).map(([name, spec]) => [name, read(name, spec)]));
  for (const [name, derive] of Object.entries(derived)) {
    if (given(fields[name]) === undefined) config[name] = derive(config as never, (flag) => text(flag) !== undefined);
  }
  return config;
}

function usual({ option }: Spec, value: number, { localSteps }: Facts): number {
  return scaled(value, option?.scaling, localSteps);
}

function readField(spec: Spec, given: string | undefined, text: FlagText, facts: Facts): unknown {
  if (spec.type === 'kinds') {
    const kind = given ?? spec.default;
    const tag = spec.implied && kind === spec.default ? {} : { kind };
    return { ...tag, ...(Object.hasOwn(spec.kinds, kind) ? readGroup(spec.kinds[kind], text, facts) : {}) };
  }
  if (given === undefined) return typeof spec.default === 'number' ? usual(spec, spec.default, facts) : spec.default;
  if (spec.type === 'choice') return given;
  return spec.type === 'switch' ? true : Number(given);
}

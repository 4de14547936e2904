/**
 * How a configuration is described: as tables of fields. Everything that needs to know a field (its TypeScript type, its validator, its
 * flag, its help, its meaning when it is absent) is derived from its entry in such a table.
 */

/** Headings of the help of `troupe train`, in the order in which they are shown. */
export const OPTION_GROUPS = ['Data', 'Model', 'Training', 'Reproducibility', 'Run', 'Network'] as const;
export type OptionGroup = (typeof OPTION_GROUPS)[number];

/** A flag in the help. */
export interface Flag {
  /** "--layers". */
  readonly flag: `--${string}`;
  /** What stands behind the flag: "L". Absent for switches, and where the choices stand there. */
  readonly placeholder?: string;
  readonly group: OptionGroup;
  readonly help: string;
}

interface FieldFacts {
  /** Absent: the field always has its default. */
  readonly option?: Flag;
  /** The flag that decides a field of no flag of its own: the vocabulary follows from --corpus. */
  readonly from?: `--${string}`;
  /**
   * Older releases lack the field: it may be absent in their messages and checkpoints, and then has its default. Every new field is
   * optional. Senders write all fields.
   */
  readonly optional?: true;
  /** A person may change it while the run goes on. */
  readonly tunable?: true;
}

export interface WholeField extends FieldFacts {
  readonly type: 'whole';
  readonly min: number;
  readonly max: number;
  readonly default?: number;
}

export interface RealField extends FieldFacts {
  readonly type: 'real';
  readonly min: number;
  /** Inclusive; absent where `below` is given. */
  readonly max?: number;
  /** Exclusive. */
  readonly below?: number;
  readonly default?: number;
}

export interface ChoiceField extends FieldFacts {
  readonly type: 'choice';
  readonly choices: readonly string[];
  readonly default?: string;
}

export interface SwitchField extends FieldFacts {
  readonly type: 'switch';
  readonly default: false;
}

/** A number, a name out of a few, or a switch. */
export type Field = WholeField | RealField | ChoiceField | SwitchField;

/** An object that comes in several kinds, each with fields of its own; its field `kind` says which one it is. */
export interface Kinds {
  readonly type: 'kinds';
  readonly option?: Flag;
  readonly from?: undefined;
  readonly kinds: Readonly<Record<string, Group>>;
  /** The kind of a new object. */
  readonly default: string;
  /** The default kind is assumed where `kind` is absent, and is never written. */
  readonly implied?: true;
}

export type Fields = Readonly<Record<string, Field | Kinds>>;

/** A condition on several fields. */
export interface Rule {
  /** The field that is reported when the rule is broken. */
  readonly field: string;
  /** What the field must be: "must be as large as hidden when tied". */
  readonly problem: string;
  readonly holds: (config: never) => boolean;
}

/** The fields of one object. Their order is that of the keys in messages, and of the flags in the help. */
export interface Group {
  readonly fields: Fields;
  readonly rules?: readonly Rule[];
  /** Fields whose flag has no fixed default: without the flag they follow from the other fields, and from what other flags are given. */
  readonly derived?: Readonly<Record<string, (config: never, isGiven: (flag: string) => boolean) => number>>;
}

// ---- types

type Flat<T> = T extends unknown ? { [K in keyof T]: T[K] } : never;

type ValueOf<E> = E extends Kinds
  ? CompleteKinds<E>
  : E extends ChoiceField
    ? E['choices'][number]
    : E extends SwitchField
      ? boolean
      : number;

/** An object with all fields of a table. */
export type Complete<F extends Fields> = { readonly [K in keyof F]: ValueOf<F[K]> };

type IsOptional<E> = E extends { readonly optional: true } ? true : false;

/** An object of a table's fields, in which optional ones may be absent. */
export type Sparse<F extends Fields> = {
  readonly [K in keyof F as IsOptional<F[K]> extends true ? never : K]: ValueOf<F[K]>;
} & { readonly [K in keyof F as IsOptional<F[K]> extends true ? K : never]?: ValueOf<F[K]> };

type KindTag<C extends Kinds, N> = C extends { readonly implied: true; readonly default: N }
  ? { readonly kind?: N }
  : { readonly kind: N };

export type CompleteKinds<C extends Kinds> = {
  [N in keyof C['kinds']]: Flat<KindTag<C, N> & Complete<C['kinds'][N]['fields']>>;
}[keyof C['kinds']];

export type SparseKinds<C extends Kinds> = {
  [N in keyof C['kinds']]: Flat<KindTag<C, N> & Sparse<C['kinds'][N]['fields']>>;
}[keyof C['kinds']];

// ---- words

/** "a whole number from 1 to 16", "a number of at least 0 and below 1", "one of fp16, fp32". */
export function describeRange(field: Field): string {
  switch (field.type) {
    case 'whole':
      return field.max === Infinity
        ? `a whole number of at least ${field.min}`
        : `a whole number from ${field.min} to ${field.max}`;
    case 'real':
      return field.below === undefined
        ? `a number from ${field.min} to ${field.max}`
        : `a number of at least ${field.min} and below ${field.below}`;
    case 'choice':
      return `one of ${field.choices.join(', ')}`;
    case 'switch':
      return 'true or false';
    default:
      return field satisfies never;
  }
}

/**
 * Tables of fields describe a configuration. Everything else follows from a field's entry in its
 * table: its TypeScript type, its validator, its flag and help, and its value when it is absent.
 */

/** Headings in the help of `troupe train`, in order. */
export const OPTION_GROUPS = ['Data', 'Model', 'Training', 'Reproducibility', 'Run', 'Network'] as const;
export type OptionGroup = (typeof OPTION_GROUPS)[number];

/**
 * What becomes of a value that was chosen for rounds of one window where rounds have H of them: a count of rounds is divided by H, and
 * what a moving average keeps in a round is raised to the power H.
 */
export type Scaling = 'count' | 'decay';

/** A flag as the help shows it. */
export interface Flag {
  /** "--layers". */
  readonly flag: `--${string}`;
  /** What older releases called the flag. It is refused with the new name. */
  readonly former?: `--${string}`;
  /** Its default is for rounds of one window; see Scaling. A value that is given stays. */
  readonly scaling?: Scaling;
  /** The word after the flag: "L". Switches have none. */
  readonly placeholder?: string;
  readonly group: OptionGroup;
  readonly help: string;
}

interface FieldFacts {
  /** The flag that sets the field. Without one the field always has its default. */
  readonly option?: Flag;
  /**
   * For a field without a flag of its own, the flag that determines it: --corpus determines the
   * vocabulary.
   */
  readonly from?: `--${string}`;
  /**
   * The field may be absent, because older releases lack it; it then has its default. Every field
   * added from now on is optional. Senders write all fields.
   */
  readonly optional?: true;
  /** A person may change the field during the run. */
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
  /** Inclusive upper bound. Absent if `below` is given. */
  readonly max?: number;
  /** Exclusive upper bound. */
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

/** A number, a choice of names, or a switch. */
export type Field = WholeField | RealField | ChoiceField | SwitchField;

/** An object of one of several kinds, each with its own fields. Its field `kind` names the kind. */
export interface Kinds {
  readonly type: 'kinds';
  readonly option?: Flag;
  readonly from?: undefined;
  readonly kinds: Readonly<Record<string, Group>>;
  /** The kind of a new object. */
  readonly default: string;
  /** An object without `kind` is of the default kind, and senders omit `kind` for it. */
  readonly implied?: true;
}

export type Fields = Readonly<Record<string, Field | Kinds>>;

/** A condition on several fields of an object. */
export interface Rule {
  /** The field to report when the condition does not hold. */
  readonly field: string;
  /** What the field must be: "must be as large as hidden when tied". */
  readonly problem: string | ((config: never) => string);
  readonly holds: (config: never) => boolean;
}

/** The fields of one object. Their order is the order of keys in messages and of flags in the help. */
export interface Group {
  readonly fields: Fields;
  readonly rules?: readonly Rule[];
  /**
   * Defaults that depend on the other fields and on which flags are given. They apply when the
   * field's own flag is not given.
   */
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

/** An object with every field of a table. */
export type Complete<F extends Fields> = { readonly [K in keyof F]: ValueOf<F[K]> };

type IsOptional<E> = E extends { readonly optional: true } ? true : false;

/** An object with the fields of a table, where optional fields may be absent. */
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

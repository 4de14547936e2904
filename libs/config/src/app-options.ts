/**
 * Flags of the apps. A table declares each flag once; its parser, its checks, its default and its
 * help follow from the entry.
 */

/** A flag of an app. */
export interface AppOption {
  /** "--port". */
  readonly flag: `--${string}`;
  /** The word after the flag: "P". Switches have none. */
  readonly placeholder?: string;
  /** Heading in the help. */
  readonly group: string;
  readonly help: string;
  readonly type: 'whole' | 'real' | 'text' | 'choice' | 'switch';
  readonly choices?: readonly string[];
  /** The default value. Absent for switches, and for flags without a fixed default. */
  readonly default?: string;
  /** Inclusive bounds of a number. */
  readonly min?: number;
  readonly max?: number;
  /** Characters in a text. */
  readonly maxLength?: number;
  /** The form of a text, and what it is in words: "hours as 22:00-06:30". */
  readonly form?: { readonly matches: RegExp; readonly words: string };
  /** The environment variable that counts when the flag is absent. An empty one counts as absent. */
  readonly env?: string;
  /** The flag or its variable must be given. Says where the value comes from, as a sentence. */
  readonly required?: string;
  /** The value is secret: no message repeats it. */
  readonly secret?: true;
}

type Given<O> = O extends { readonly type: 'whole' | 'real' }
  ? number
  : O extends { readonly choices: readonly (infer C)[] }
    ? C
    : string;

type ValueOf<O> = O extends { readonly type: 'switch' }
  ? boolean
  : O extends { readonly default: string } | { readonly required: string }
    ? Given<O>
    : Given<O> | undefined;

/** The value of every flag of a table, by flag. */
export type OptionValues<T extends readonly AppOption[]> = { readonly [O in T[number] as O['flag']]: ValueOf<O> };

/** What is wrong with the flags, and what to type instead. Both are full sentences. */
export interface OptionProblem {
  readonly ok: false;
  readonly message: string;
  readonly remedy: string;
}

type Variables = Readonly<Record<string, string | undefined>>;

/** What a value of the option must be: "a whole number from 1 to 256". */
export function describeOption({ type, min = 0, max = Infinity, choices = [], form }: AppOption): string {
  const range = max === Infinity ? `of at least ${min}` : `from ${min} to ${max}`;
  switch (type) {
    case 'whole':
      return `a whole number ${range}`;
    case 'real':
      return `a number ${range}`;
    case 'choice':
      return `one of ${choices.join(', ')}`;
    case 'text':
      return form?.words ?? 'a text';
    case 'switch':
      return 'a switch without a value';
    default:
      return type satisfies never;
  }
}

/** Whether `text` is a value of the option. */
export function isOptionValue({ type, min = 0, max = Infinity, choices = [], form }: AppOption, text: string): boolean {
  const value = Number(text);
  switch (type) {
    case 'whole':
      return /^\d+$/.test(text) && value >= min && value <= max;
    case 'real':
      return text.trim() !== '' && value >= min && value <= max;
    case 'choice':
      return choices.includes(text);
    case 'text':
      return text !== '' && (form?.matches.test(text) ?? true);
    case 'switch':
      return true;
    default:
      return type satisfies never;
  }
}

function problemOf(option: AppOption, text: string | undefined): OptionProblem | undefined {
  const { flag, env, required, maxLength = Infinity, secret } = option;
  const problem = (message: string, remedy: string): OptionProblem => ({ ok: false, message, remedy });
  if (text === undefined) {
    if (required === undefined) return undefined;
    const place = env === undefined ? '' : `, or in ${env} in the environment`;
    return problem(`${flag} is missing.`, `Give it as ${flag} ${option.placeholder ?? 'VALUE'}${place}. ${required}`);
  }
  if (text.length > maxLength) return problem(`${flag} has more than ${maxLength} characters.`, 'Give a shorter one.');
  if (isOptionValue(option, text)) return undefined;
  const what = describeOption(option);
  return problem(`${flag}${secret ? '' : ` ${text === '' ? '""' : text}`} is not ${what}.`, `Give ${what}.`);
}

/**
 * The values of the flags of a table: those given, or those of environment variables, or the
 * defaults.
 * @param given flag -> text, "true" for a switch
 */
export function readOptions<T extends readonly AppOption[]>(
  options: T,
  given: ReadonlyMap<string, string>,
  env: Variables,
): { readonly ok: true; readonly values: OptionValues<T> } | OptionProblem {
  const values: Record<string, string | number | boolean | undefined> = {};
  for (const option of options) {
    const { flag, type } = option;
    const variable = option.env === undefined ? undefined : env[option.env] || undefined;
    const text = given.get(flag) ?? variable ?? option.default;
    const problem = problemOf(option, text);
    if (problem !== undefined) return problem;
    if (type === 'switch') values[flag] = text !== undefined;
    else values[flag] = text !== undefined && (type === 'whole' || type === 'real') ? Number(text) : text;
  }
  return { ok: true, values: values as OptionValues<T> };
}

/** The default of an option in words, for its help: "7071", "TROUPE_TOKEN". */
export function defaultInWords(option: AppOption): string | undefined {
  return option.default ?? option.env;
}

/** The flags of a table for a terminal, one a line: "  --port P   port to listen on (default: 7071)". */
export function describeOptions(options: readonly AppOption[]): string {
  const heads = options.map(({ flag, placeholder }) => [flag, placeholder].filter(Boolean).join(' '));
  const width = Math.max(...heads.map((head) => head.length)) + 3;
  return options
    .map((option, i) => {
      const usual = defaultInWords(option);
      return `  ${heads[i].padEnd(width)}${option.help}${usual === undefined ? '' : ` (default: ${usual})`}`;
    })
    .join('\n');
}

/** The highest port of TCP. */
const MAX_PORT = 65_535;

export const JSON_OPTION = {
  flag: '--json',
  type: 'switch',
  group: 'Output',
  help: 'print every event as one line of JSON',
} as const satisfies AppOption;

/** `--token` of an app that needs the token of somebody else. */
export function tokenOption(required: string, maxLength: number) {
  return {
    flag: '--token',
    type: 'text',
    placeholder: 'TOKEN',
    group: 'Joining',
    env: 'TROUPE_TOKEN',
    secret: true,
    help: 'the token of the run; other users of this machine can read it here, but not in TROUPE_TOKEN',
    maxLength,
    required,
  } as const satisfies AppOption;
}

/** A flag that names a port to listen on. */
export function portOption(usual: string) {
  return {
    flag: '--port',
    type: 'whole',
    placeholder: 'P',
    group: 'Network',
    max: MAX_PORT,
    help: 'port to listen on; 0 = any free port',
    default: usual,
  } as const satisfies AppOption;
}

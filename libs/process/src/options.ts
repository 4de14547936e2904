import { parseArgs } from 'node:util';
import { readOptions, type AppOption, type OptionValues } from '@troupe/config';

/** The flags of a command cannot be used. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
  readonly code = 'usage';
  readonly remedy: string;
  constructor(message: string, remedy: string, options?: ErrorOptions) {
    super(message, options);
    this.remedy = remedy;
  }
}

export interface Parsed<T extends readonly AppOption[]> {
  readonly values: OptionValues<T>;
  readonly positionals: readonly string[];
}

/**
 * Parses the arguments of an app by the table of its flags.
 * @throws UsageError
 */
export function parseOptions<T extends readonly AppOption[]>(
  options: T,
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  { positionals = false }: { readonly positionals?: boolean } = {},
): Parsed<T> {
  const parsed = parse(options, args, positionals);
  const given = new Map<string, string>();
  for (const [name, value] of Object.entries(parsed.values)) if (value !== undefined) given.set(`--${name}`, String(value));
  const result = readOptions(options, given, env);
  if (!result.ok) throw new UsageError(result.message, result.remedy);
  return { values: result.values, positionals: parsed.positionals };
}

/**
 * The arguments that are neither flags nor their values.
 * @throws UsageError
 */
export function positionalsOf(options: readonly AppOption[], args: readonly string[]): readonly string[] {
  return parse(options, args, true).positionals;
}

function parse(options: readonly AppOption[], args: readonly string[], allowPositionals: boolean) {
  const types = options.map(
    ({ flag, type }) => [flag.slice(2), { type: type === 'switch' ? ('boolean' as const) : ('string' as const) }] as const,
  );
  try {
    return parseArgs({ args: [...args], options: Object.fromEntries(types), allowPositionals });
  } catch (error) {
    // parseArgs adds advice for programmers after its first sentence.
    const [message] = (error as Error).message.split('. ');
    throw new UsageError(`${message.replace(/\.$/, '')}.`, 'Leave it out, or see the flags with --help.', { cause: error });
  }
}

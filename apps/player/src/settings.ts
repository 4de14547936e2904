/** What the form says, as options of the sampler. The ranges are those of `troupe sample`. */

export interface Settings {
  readonly opening: string;
  readonly temperature: number;
  readonly topK: number;
  /** Characters to write before the model waits. */
  readonly length: number;
  readonly seed: number;
}

/** The text of each field of the form, by its id. */
export type Fields = Readonly<Record<'opening' | NumberField, string>>;
export type NumberField = (typeof NUMBERS)[number]['id'];

const NUMBERS = [
  { id: 'temperature', label: 'Temperature', most: 100, whole: false, least: 0 },
  { id: 'top-k', label: 'Most likely only', most: 65_536, whole: true, least: 0 },
  { id: 'length', label: 'Characters', most: 1_000_000, whole: true, least: 1 },
  { id: 'seed', label: 'Seed', most: 4_294_967_295, whole: true, least: 0 },
] as const;

/** A field that cannot be used. */
export interface Problem {
  readonly field: keyof Fields;
  readonly text: string;
}

export function readSettings(fields: Fields): { readonly settings: Settings } | { readonly problem: Problem } {
  for (const { id, label, least, most, whole } of NUMBERS) {
    const text = fields[id].trim();
    const value = text === '' ? NaN : Number(text);
    if (value >= least && value <= most && (!whole || Number.isInteger(value))) continue;
    const kind = whole ? 'a whole number' : 'a number';
    return { problem: { field: id, text: `${label} should be ${kind} from ${least} to ${most.toLocaleString('en')}.` } };
  }
  const { opening, temperature, 'top-k': topK, length, seed } = fields;
  const numbers = { temperature: Number(temperature), topK: Number(topK), length: Number(length), seed: Number(seed) };
  return { settings: { opening, ...numbers } };
}

/** The command that writes the same text. It is for a shell of Unix. */
export function commandFor(settings: Settings, precision: string, quote: (word: string) => string): string {
  const { opening, temperature, topK, length, seed } = settings;
  const flags = [
    ...(precision === 'float32' ? [] : [`--precision ${precision}`]),
    ...(opening === '' ? [] : [`--prime ${quote(opening)}`]),
    `--temperature ${temperature}`,
    ...(topK === 0 ? [] : [`--top-k ${topK}`]),
    `--length ${length} --seed ${seed}`,
  ];
  return `troupe sample --checkpoint FILE ${flags.join(' ')}`;
}

/** A validator for the part of JSON Schema 2020-12 that the API description uses. An unknown keyword is a problem. */
type Schema = Readonly<Record<string, Loose>>;
type Loose = ReturnType<typeof JSON.parse>;

/** Keywords that do not restrict values. */
const NOTES = ['description', 'default', 'format'];

/** @returns the problems with their places; empty if there are none */
export function problems(schema: Schema, value: unknown, root: Schema, at = '$'): string[] {
  return Object.entries(schema).flatMap(([keyword, wanted]) => {
    if (NOTES.includes(keyword)) return [];
    const check = KEYWORDS[keyword];
    return check ? check(wanted, value, { schema, root, at }) : [`${at}: unknown keyword ${keyword}`];
  });
}

interface Place {
  readonly schema: Schema;
  readonly root: Schema;
  readonly at: string;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const says = (ok: boolean, { at }: Place, problem: string): string[] => (ok ? [] : [`${at}: ${problem}`]);

const TYPES: Readonly<Record<string, (value: unknown) => boolean>> = {
  object: isObject,
  array: Array.isArray,
  string: (value) => typeof value === 'string',
  number: (value) => typeof value === 'number',
  integer: Number.isInteger,
  boolean: (value) => typeof value === 'boolean',
};

const number = (value: unknown): number => (typeof value === 'number' ? value : NaN);

const KEYWORDS: Readonly<Record<string, (wanted: Loose, value: Loose, place: Place) => string[]>> = {
  type: (wanted, value, place) =>
    says(TYPES[wanted](value), place, `${JSON.stringify(value)?.slice(0, 60)} is not of type ${wanted}`),
  $ref: (wanted: string, value, { root, at }) => {
    const found = wanted
      .split('/')
      .slice(1)
      .reduce((part, key) => part[key], root);
    return problems(found, value, root, at);
  },
  enum: (wanted, value, place) => says(wanted.includes(value), place, `${JSON.stringify(value)} is not one of ${wanted}`),
  const: (wanted, value, place) => says(value === wanted, place, `is not ${wanted}`),
  minimum: (wanted, value, place) => says(!(number(value) < wanted), place, `${value} < ${wanted}`),
  maximum: (wanted, value, place) => says(!(number(value) > wanted), place, `${value} > ${wanted}`),
  exclusiveMinimum: (wanted, value, place) => says(!(number(value) <= wanted), place, `${value} <= ${wanted}`),
  maxLength: (wanted, value, place) => says(!(value?.length > wanted), place, `longer than ${wanted}`),
  minItems: (wanted, value, place) => says(!(value?.length < wanted), place, `fewer than ${wanted}`),
  maxItems: (wanted, value, place) => says(!(value?.length > wanted), place, `more than ${wanted}`),
  items: (wanted, value, { root, at }) =>
    Array.isArray(value) ? value.flatMap((item, i) => problems(wanted, item, root, `${at}[${i}]`)) : [],
  prefixItems: (wanted: Schema[], value, { root, at }) =>
    wanted.flatMap((schema, i) => problems(schema, value?.[i], root, `${at}[${i}]`)),
  required: (wanted: string[], value, place) =>
    wanted.flatMap((key) => says(isObject(value) && value[key] !== undefined, place, `${key} is missing`)),
  properties: (wanted: Record<string, Schema>, value, { root, at }) =>
    isObject(value)
      ? Object.entries(wanted).flatMap(([key, schema]) =>
          value[key] === undefined ? [] : problems(schema, value[key], root, `${at}.${key}`),
        )
      : [],
  additionalProperties: (wanted, value, { schema, at }) =>
    wanted === false && isObject(value)
      ? Object.keys(value).flatMap((key) => (key in schema.properties ? [] : [`${at}: ${key} is not described`]))
      : [],
  oneOf: (wanted: Schema[], value, place) => {
    const fitting = wanted.filter((schema) => problems(schema, value, place.root, place.at).length === 0);
    return says(fitting.length === 1, place, `fits ${fitting.length} of the alternatives`);
  },
};

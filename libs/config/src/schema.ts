/** Validators and default values, derived from the tables of fields. */
import * as v from 'valibot';
import { describeRange, type Field, type Fields, type Group, type Kinds } from './field.js';
import { MODEL, type FullModelConfig, type ModelConfig } from './model.js';
import { TRAINING, type TrainingConfig } from './training.js';

type Schema = v.GenericSchema;
type Entries = Record<string, Schema>;

interface Strictness {
  /** Refuse unknown fields. */
  readonly strict: boolean;
  /** Replaces the upper limit of every whole number. */
  readonly max?: number;
}

function fieldSchema(field: Field): Schema {
  const problem = `must be ${describeRange(field)}`;
  switch (field.type) {
    case 'whole':
      return v.pipe(v.number(problem), v.integer(problem), v.minValue(field.min, problem), v.maxValue(field.max, problem));
    case 'real': {
      const { min, max = Infinity, below = Infinity } = field;
      return v.pipe(
        v.number(problem),
        v.finite(problem),
        v.minValue(min, problem),
        v.maxValue(max, problem),
        v.ltValue(below, problem),
      );
    }
    case 'choice':
      return v.picklist(field.choices, problem);
    case 'switch':
      return v.boolean(problem);
    default:
      return field satisfies never;
  }
}

function entriesOf(fields: Fields, strictness: Strictness): Entries {
  return Object.fromEntries(
    Object.entries(fields).map(([name, field]) => {
      if (field.type === 'kinds') return [name, kindsSchema(field, strictness)];
      const { max } = strictness;
      const schema = fieldSchema(field.type === 'whole' && max !== undefined ? { ...field, max } : field);
      return [name, field.optional ? v.optional(schema, field.default) : schema];
    }),
  );
}

function objectSchema({ fields, rules = [] }: Group, strictness: Strictness, kind: Entries = {}) {
  const entries = { ...kind, ...entriesOf(fields, strictness) };
  const object: v.GenericSchema<Record<string, unknown>> = strictness.strict ? v.strictObject(entries) : v.looseObject(entries);
  return rules.reduce(
    (schema, { field, problem, holds }) =>
      v.pipe(
        schema,
        v.forward(
          v.check(
            (config: Record<string, unknown>) => holds(config as never),
            typeof problem === 'string' ? problem : ({ input }) => problem(input as never),
          ),
          [field],
        ),
      ),
    object,
  );
}

/** The input may name the implied kind; the output omits it. */
function kindsSchema({ kinds, default: usual, implied }: Kinds, strictness: Strictness): Schema {
  const schemas = Object.entries(kinds).map(([name, group]) => {
    if (!implied || name !== usual) return objectSchema(group, strictness, { kind: v.literal(name) });
    return v.pipe(
      objectSchema(group, strictness, { kind: v.optional(v.literal(name)) }),
      v.transform(({ kind: _, ...config }) => config),
    );
  });
  return v.variant('kind', schemas as unknown as v.VariantOptions<'kind'>);
}

/** The schema of a training config, strict: unknown fields are refused. */
export const TrainingConfigSchema = objectSchema(TRAINING, { strict: true }) as unknown as v.GenericSchema<TrainingConfig>;

/**
 * The dotted name of the first wrong field ("model.hidden"), and what it must be ("must be a whole
 * number from 1 to 16384").
 */
export interface ConfigProblem {
  readonly field: string;
  readonly problem: string;
}

function firstProblem([issue]: readonly [v.BaseIssue<unknown>, ...unknown[]]): ConfigProblem {
  return { field: v.getDotPath(issue) ?? '', problem: issue.message };
}

/** Validates a training config from any source: flags, the JSON of a checkpoint, a field of a message. */
export function parseTrainingConfig(
  value: unknown,
): { readonly ok: true; readonly config: TrainingConfig } | ({ readonly ok: false } & ConfigProblem) {
  const result = v.safeParse(TrainingConfigSchema, value);
  return result.success ? { ok: true, config: result.output } : { ok: false, ...firstProblem(result.issues) };
}

/**
 * Checks the config of a model, for code with its own limits: whole numbers may go up to `max`, and
 * unknown fields are ignored.
 * @returns the first problem, or undefined if there is none
 */
export function modelProblem(value: unknown, max: number): ConfigProblem | undefined {
  const result = v.safeParse(kindsSchema(MODEL, { strict: false, max }), value);
  return result.success ? undefined : firstProblem(result.issues);
}

/**
 * The config of a model with every option and no other field. Options that are not given have their
 * defaults.
 */
export function modelConfig(options: Partial<ModelConfig> & Pick<ModelConfig, 'vocabulary'>): FullModelConfig {
  const { fields } = MODEL.kinds[options.kind ?? MODEL.default];
  const given: Readonly<Record<string, unknown>> = options;
  const values = Object.entries<Field>(fields).map(([name, field]) => [name, given[name] ?? field.default]);
  return Object.fromEntries(values) as FullModelConfig;
}

import { describe, expect, it } from 'vitest';
import { MODEL, modelConfig, modelName, modelProblem } from '../src/index.js';

const { fields } = MODEL.kinds.recurrent;
const SMALL = { layers: 2, hidden: 8, vocabulary: 5 };

/** Values that differ from every default. */
const UNUSUAL = { cell: 'gru', layers: 3, hidden: 7, vocabulary: 9, embedding: 8, tied: true };
const unusual = (name: string, { type }: { type: string }): unknown =>
  UNUSUAL[name as keyof typeof UNUSUAL] ?? (type === 'switch' ? true : 0.5);

describe('the config of a model', () => {
  it('has every option and no other field', () => {
    expect(Object.keys(modelConfig({ vocabulary: 5 }))).toEqual(Object.keys(fields));
    expect(modelConfig({ ...SMALL, window: 4, kind: 'recurrent' } as typeof SMALL)).toEqual(modelConfig(SMALL));
  });

  it('may lack the fields that older releases did not have, and no others', () => {
    for (const [name, field] of Object.entries(fields)) {
      const { [name as 'hidden']: _, ...rest } = modelConfig(SMALL);
      expect(modelProblem(rest, Infinity)?.field).toBe('optional' in field ? undefined : name);
    }
  });

  it('may exceed the limits of a run if the caller allows it, and may have unknown fields', () => {
    expect(modelProblem({ ...modelConfig(SMALL), hidden: 1e6, peephole: true }, Infinity)).toBeUndefined();
    expect(modelProblem({ ...modelConfig(SMALL), hidden: 1e6 }, 1000)).toEqual({
      field: 'hidden',
      problem: 'must be a whole number from 1 to 1000',
    });
  });

  it.each([undefined, null, 7, 'lstm', [], { kind: 'transformer' }])('is never %j', (value) => {
    expect(modelProblem(value, Infinity)).toBeDefined();
  });
});

describe('the name of a model', () => {
  const shown = Object.entries(fields).filter(([name]) => name !== 'vocabulary');

  it.each(shown)('shows %s', (name, field) => {
    const plain = modelConfig({ ...SMALL, embedding: name === 'tied' ? 8 : 0 });
    expect(modelName({ ...plain, [name]: unusual(name, field) })).not.toBe(modelName(plain));
  });
});

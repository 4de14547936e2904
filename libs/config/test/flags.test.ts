import { describe, expect, it } from 'vitest';
import { configFromFlags, FLAG_FIELDS, parseTrainingConfig, RUN_OPTIONS, valueAt, type TrainingConfig } from '../src/index.js';

const V = 65;

function read(...given: [flag: string, text: string][]): TrainingConfig {
  const result = parseTrainingConfig(configFromFlags((flag) => new Map(given).get(flag), V));
  if (result.ok) return result.config;
  throw new Error(`${result.field} ${result.problem}`);
}

/** A valid value of a flag other than its default. */
function otherText(flag: string): string {
  const { type, choices, default: usual } = RUN_OPTIONS.find((option) => option.flag === flag)!;
  if (type === 'choice') return choices!.find((choice) => choice !== usual)!;
  if (type === 'switch') return 'true';
  return type === 'whole' ? '6' : '0.25';
}

/** Other flags without which the flag of a field has no effect. */
function needed(field: string, flag: string): [string, string][] {
  if (field === 'optimizer.momentum' || field === 'optimizer.nesterov') return [['--optimizer', 'sgd']];
  if (/everyRounds|factor/.test(field)) return [['--schedule', 'step']];
  if (field === 'tracks')
    return [
      ['--local-steps', '8'],
      ['--batch', '24'],
    ];
  return flag === '--tied' ? [['--embedding', '256']] : [];
}

describe('the flags of a run', () => {
  it('are each declared once', () => {
    const flags = RUN_OPTIONS.map(({ flag }) => flag);
    expect(new Set(flags).size).toBe(flags.length);
  });

  it('are not called what another flag was called before', () => {
    const flags: readonly string[] = RUN_OPTIONS.map(({ flag }) => flag);
    expect(RUN_OPTIONS.flatMap(({ former }) => former ?? []).filter((former) => flags.includes(former))).toEqual([]);
  });

  it('give a valid config with the defaults that the help shows when none is given', () => {
    const config = read();
    for (const { field, option } of FLAG_FIELDS) {
      const value = valueAt(config, field);
      if (option?.default !== undefined && value !== undefined) expect(String(value), field).toBe(option.default);
    }
  });

  const settable = FLAG_FIELDS.filter(({ option }) => option !== undefined);
  it.each(settable)('set the field $field', ({ field, flag }) => {
    const text = otherText(flag);
    const value = valueAt(read(...needed(field, flag), [flag, text]), field);
    expect(String(value)).toBe(text);
    expect(value).not.toBe(valueAt(read(), field));
  });

  it('include the one that determines the vocabulary', () => {
    expect(FLAG_FIELDS.find(({ field }) => field === 'model.vocabulary')?.flag).toBe('--corpus');
    expect(read().model.vocabulary).toBe(V);
  });

  it('give a tied embedding the size of the hidden layer, unless its length is given', () => {
    expect(read(['--tied', 'true'], ['--hidden', '48']).model).toMatchObject({ embedding: 48, tied: true });
    expect(() => read(['--tied', 'true'], ['--embedding', '64'])).toThrow('model.embedding must be as large as hidden when tied');
  });

  it('split a reproducible batch into eight leases, unless their size is given', () => {
    expect(read().leaseStreams).toBe(0);
    expect(read(['--reproducible', 'true'], ['--batch', '20']).leaseStreams).toBe(3);
    expect(read(['--reproducible', 'true'], ['--lease-streams', '5']).leaseStreams).toBe(5);
  });

  it('read as many characters by default when rounds are local, and mean what they say when they are given', () => {
    const local: [string, string] = ['--local-steps', '32'];
    expect(read(local)).toMatchObject({ rounds: 47, ema: 0, schedule: { warmupRounds: 1, decayRounds: 0 } });
    expect(read(local, ['--schedule', 'step']).schedule).toMatchObject({ everyRounds: 16 });
    expect(read(['--local-steps', '1024'])).toMatchObject({ rounds: 1, schedule: { warmupRounds: 1 } });
    const given = read(local, ['--rounds', '1500'], ['--warmup', '20'], ['--ema', '0.9']);
    expect(given).toMatchObject({ rounds: 1500, ema: 0.9, schedule: { warmupRounds: 20 } });
  });

  it('leave an unknown optimizer to the parser', () => {
    expect(() => read(['--optimizer', 'toString'])).toThrow(/^optimizer\.kind/);
  });
});

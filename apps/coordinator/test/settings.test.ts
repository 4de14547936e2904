import { CELL_NAMES, CELLS } from '@troupe/config';
import { CELLS as MODEL_CELLS, checkEngineConfig } from '@troupe/model';
import { LIMITS } from '@troupe/protocol';
import { describe, expect, it } from 'vitest';
import { parseSettings, resumeTraining } from '../src/settings.js';

const V = 65;
const training = (...argv: string[]) => parseSettings(argv, {}).training(V);
const resume = (stored: string[], ...argv: string[]) => resumeTraining(training(...stored), parseSettings(argv, {}));
const refused = (message: RegExp) =>
  expect.objectContaining({ name: 'SettingsError', message: expect.stringMatching(message), remedy: expect.stringMatching(/./) });

describe('the cells', () => {
  it('of the config, of the engines and of the lines for people are the same', () => {
    expect(CELLS).toEqual(MODEL_CELLS);
    expect(Object.keys(CELL_NAMES)).toEqual(MODEL_CELLS);
  });

  it.each(CELLS)('are what --cell takes: %s', (cell) => {
    expect(training('--cell', cell).model.cell).toBe(cell);
  });
});

describe('the flags of a model', () => {
  it('mean an LSTM of one-hot characters without dropout when none is given', () => {
    const { model, forgetBias } = training();
    expect(model).toEqual({
      cell: 'lstm',
      layers: 1,
      hidden: 256,
      vocabulary: V,
      embedding: 0,
      tied: false,
      dropout: 0,
      layerNorm: false,
    });
    expect(forgetBias).toBe(1);
  });

  it('become the fields of its config', () => {
    const { model, forgetBias } = training('--layers=2', '--embedding=64', '--dropout=0.25', '--forget-bias=0.5');
    expect(model).toMatchObject({ layers: 2, embedding: 64, tied: false, dropout: 0.25 });
    expect(forgetBias).toBe(0.5);
  });

  it('give a tied embedding the size of the hidden layer', () => {
    expect(training('--tied', '--hidden', '48').model).toMatchObject({ hidden: 48, embedding: 48, tied: true });
    expect(training('--tied', '--hidden', '48', '--embedding', '48').model).toMatchObject({ embedding: 48, tied: true });
  });

  it.each<[string, string[], RegExp]>([
    ['a cell nobody knows', ['--cell', 'xlstm'], /--cell xlstm is not one of lstm, gru, gru-reset-after, rnn-tanh, rnn-relu/],
    ['a tied embedding of another size', ['--tied', '--embedding', '64'], /^--embedding: must be as large as hidden when tied$/],
    ['an untied embedding of half a number', ['--embedding', '1.5'], /--embedding 1\.5 is not a whole number/],
    ['an embedding that no model has', ['--embedding', String(LIMITS.embedding + 1)], /^--embedding: /],
    ['a dropout of 1', ['--dropout', '1'], /^--dropout: /],
    ['a dropout that is no number', ['--dropout', 'much'], /--dropout much is not a number/],
    ['a forget bias for a GRU', ['--cell', 'gru', '--forget-bias', '2'], /--forget-bias is for --cell lstm/],
    ['a forget bias out of range', ['--forget-bias', '1000'], /^--forget-bias: /],
  ])('are turned down for %s, by name', (_, argv, message) => {
    expect(() => training(...argv)).toThrow(refused(message));
  });

  it('give only models that engines take', () => {
    const argv = [[], ['--tied', '--cell', 'gru'], ['--embedding', '8', '--dropout', '0.99', '--layers', '2']];
    for (const { model } of argv.map((flags) => training(...flags))) checkEngineConfig(model, { maxStreams: 4, maxWindow: 8 });
  });
});

describe('the flags of the pages', () => {
  it('are made up, closed and nameless when none is given', () => {
    const given = parseSettings([], {});
    expect(given).toMatchObject({ adminToken: undefined, public: false, allowedHosts: [], name: undefined, tensorboard: false });
  });

  it('come from the command line, and the token of admins from the environment too', () => {
    const argv = ['--public', '--allow-host=Train.example.org, other ,', '--name=A run', '--organizer=Ann', '--tensorboard'];
    const given = parseSettings(argv, { TROUPE_ADMIN_TOKEN: 'from-outside' });
    expect(given).toMatchObject({ public: true, name: 'A run', organizer: 'Ann', tensorboard: true, adminToken: 'from-outside' });
    expect(given.allowedHosts).toEqual(['train.example.org', 'other']);
    expect(parseSettings(['--admin-token=mine'], { TROUPE_ADMIN_TOKEN: 'other' }).adminToken).toBe('mine');
    expect(parseSettings([], { TROUPE_ADMIN_TOKEN: '' }).adminToken).toBeUndefined();
  });
});

describe('tokens', () => {
  it('that are empty in the environment are none', () => {
    const given = parseSettings([], { TROUPE_TOKEN: '', TROUPE_ADMIN_TOKEN: '', TROUPE_ALLREDUCE_TOKEN: '' });
    expect(given).toMatchObject({ token: undefined, adminToken: undefined, allreduceToken: undefined });
  });

  const unfit = ['a b', 'caf\u00e9', 'line\n', 'x'.repeat(LIMITS.tokenLength + 1)];

  it.each(unfit)('that cannot travel are turned down: %j', (token) => {
    expect(() => parseSettings([`--token=${token}`], {})).toThrow(refused(/^--token .* is no token/));
    expect(() => parseSettings([`--admin-token=${token}`], {})).toThrow(refused(/^--admin-token .* is no token/));
    expect(() => parseSettings([], { TROUPE_ALLREDUCE_TOKEN: token })).toThrow(refused(/^TROUPE_ALLREDUCE_TOKEN is no token/));
  });

  it('of workers and admins are not the same', () => {
    expect(() => parseSettings(['--token=one'], { TROUPE_ADMIN_TOKEN: 'one' })).toThrow(refused(/token of admins/));
  });
});

describe('flags beside --resume', () => {
  const stored = ['--cell', 'gru', '--hidden', '64', '--tied', '--dropout', '0.5', '--layers', '2', '--seed', '9'];

  it('may repeat what the run has', () => {
    expect(resume(stored)).toEqual(training(...stored));
    expect(resume(stored, '--tied', '--embedding', '64', '--dropout', '.50', '--cell=gru')).toEqual(training(...stored));
  });

  it('may make it longer, and nothing else', () => {
    expect(resume(stored, '--rounds', '9000')).toEqual({ ...training(...stored), rounds: 9000 });
    expect(() => resume(stored, '--rounds', '0')).toThrow(refused(/^--rounds: /));
  });

  it.each<[string[], RegExp]>([
    [['--cell', 'gru-reset-after'], /^--cell gru-reset-after differs from the run to resume, which has gru$/],
    [['--hidden', '128'], /^--hidden 128 differs from the run to resume, which has 64$/],
    [['--embedding', '32'], /^--embedding 32 differs .* has 64$/],
    [['--dropout', '0.25'], /^--dropout 0\.25 differs .* has 0\.5$/],
    [['--forget-bias', '2'], /^--forget-bias 2 differs .* has 1$/],
    [['--seed', '1'], /^--seed 1 differs .* has 9$/],
    [['--optimizer', 'sgd'], /^--optimizer sgd differs .* has adam$/],
  ])('are turned down when they change the run: %j', (argv, message) => {
    expect(() => resume(stored, ...argv)).toThrow(refused(message));
  });

  it('name a flag of an optimizer or a schedule that the run does not have', () => {
    expect(() => resume([], '--momentum', '0.9')).toThrow(refused(/^--momentum means nothing .* has optimizer adam$/));
    expect(() => resume(['--schedule', 'constant'], '--lr-final', '0.1')).toThrow(refused(/^--lr-final .* schedule constant$/));
    expect(resume(['--optimizer', 'sgd', '--momentum', '0.9'], '--momentum', '.9').optimizer).toMatchObject({ momentum: 0.9 });
  });

  it('name a switch that the run is without', () => {
    expect(() => resume([], '--tied')).toThrow(refused(/^the run to resume is without --tied$/));
  });
});

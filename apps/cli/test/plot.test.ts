import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { configFromFlags, parseTrainingConfig } from '@troupe/config';
import { encodeEntry, type RoundPoint, type RunHeader } from '@troupe/run';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { drawSvg } from '../src/plot/svg.js';
import { troupe } from './fixtures/shell.js';

let folder = '';
beforeAll(async () => {
  folder = await fs.mkdtemp(path.join(os.tmpdir(), 'troupe-plot-'));
  const parsed = parseTrainingConfig(configFromFlags((flag) => ({ '--rounds': '9' })[flag], 65));
  const config = parsed.ok ? parsed.config : undefined!;
  const names = { runId: 'r', name: 'n', model: 'LSTM 1x8', corpus: 'letters' };
  const run: RunHeader = { ...names, config, parameters: 1_234, startedAt: 1_764_000_000_000 };
  const zeros = {
    gradientNorm: 0,
    clipScale: 1,
    learningRate: 0,
    roundMs: 0,
    computeMs: 0,
    transferMs: 0,
    reduceMs: 0,
    waitingMs: 0,
  };
  const points = [4, 3, 2].map((loss, i) => {
    const point = {
      ...zeros,
      round: i + 1,
      trainLoss: loss,
      smoothedLoss: loss,
      charsPerSecond: 1,
      workers: 1,
    } satisfies RoundPoint;
    return encodeEntry({ type: 'round', point });
  });
  const evaluation = encodeEntry({ type: 'evaluation', evaluation: { round: 3, validationLoss: 2.5 } });
  await fs.writeFile(
    path.join(folder, 'history.jsonl'),
    [encodeEntry({ type: 'run', run }), ...points, evaluation, ''].join('\n'),
  );
});
afterAll(() => fs.rm(folder, { recursive: true, force: true }));

describe('troupe plot', () => {
  it('prints the curve of a run', async () => {
    const { stdout, exitCode } = troupe(['plot', folder]);
    expect(await exitCode).toBe(0);
    expect(stdout.text).toContain('LSTM 1x8, 3 rounds, best validation 2.500\n');
    expect(stdout.text).toMatch(/4\.00 [▁-█]{3} [23]\.\d\d nats\/char/);
  });

  it('writes an SVG file, and not over another one', async () => {
    const out = path.join(folder, 'loss.svg');
    expect(await troupe(['plot', folder, folder, '--out', out]).exitCode).toBe(0);
    const svg = await fs.readFile(out, 'utf8');
    expect(svg).toMatch(/^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg"/);
    expect(svg.match(/stroke-dasharray/g)).toHaveLength(2);
    const again = troupe(['plot', folder, '--out', out]);
    expect(await again.exitCode).toBe(1);
    expect(again.stderr.text).toContain('Give another file with --out.');
  });

  it('writes a report to the folder of the run, and to another file only if there is none', async () => {
    const first = troupe(['plot', folder, '--html']);
    expect(await first.exitCode).toBe(0);
    const page = await fs.readFile(path.join(folder, 'report.html'), 'utf8');
    expect(page).toMatch(/^<!doctype html>[\s\S]*LSTM 1x8/);
    expect(await troupe(['plot', folder, '--html']).exitCode).toBe(0);
    const out = path.join(folder, 'both.html');
    expect(await troupe(['plot', folder, folder, '--html', out]).exitCode).toBe(0);
    const again = troupe(['plot', folder, '--html', out]);
    expect(await again.exitCode).toBe(1);
    expect(again.stderr.text).toContain('Give another file with --html.');
    const unnamed = troupe(['plot', folder, folder, '--html']);
    expect(await unnamed.exitCode).toBe(2);
    expect(unnamed.stderr.text).toContain('--html runs.html');
  });

  it('says so if a folder holds no run', async () => {
    const { stderr, exitCode } = troupe(['plot', path.join(folder, 'nowhere')]);
    expect(await exitCode).toBe(1);
    expect(stderr.text).toContain('Give the folder of a run');
  });
});

describe('the chart', () => {
  const run = { folder: 'a<b&c', model: 'LSTM', rounds: [1, 2, 3], losses: [4, NaN, 2], evaluations: [] };

  it('shows names as text, and leaves out what is no number', () => {
    const svg = drawSvg([run]);
    expect(svg).toContain('a&#60;b&#38;c');
    expect(svg).not.toContain('NaN');
  });

  it('draws nothing of nothing', () => {
    expect(() => drawSvg([{ ...run, rounds: [], losses: [] }])).toThrow(RangeError);
  });
});

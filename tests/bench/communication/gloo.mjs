/** What null workers are compared with: PyTorch processes that all-reduce as many parameters with gloo. */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { modelConfig } from '@troupe/config';
import { createLayout } from '@troupe/model';
import { BenchError } from '../bench-error.mjs';
import { VOCABULARY } from '../configs.mjs';
import { PYTHON } from '../python.mjs';
import { withScratch } from '../runs.mjs';

/** @typedef {{ ms: readonly number[], cpuMs: number }} Gloo */

const GLOO = fileURLToPath(new URL('./gloo.py', import.meta.url));
/** However many workers share a round, so that rounds need them all and none is parked. */
const SLEEP_MS_PER_MILLION = 80;

/** @param {import('../configs.mjs').Size} size */
export function parameters({ layers, hidden }) {
  return createLayout(modelConfig({ vocabulary: VOCABULARY, layers, hidden })).size;
}

/** @param {{ size: import('../configs.mjs').Size, workers: number }} of */
export function sleepPerStream({ size, workers }) {
  return (SLEEP_MS_PER_MILLION * parameters(size) * workers) / 1e6 / size.streams;
}

/**
 * @param {{ size: import('../configs.mjs').Size, workers: number }} of
 * @param {{ warmup: number, rounds: number }} plan
 * @returns {Promise<Gloo>}
 */
export function gloo({ size, workers }, { warmup, rounds }) {
  return withScratch(async (folder) => {
    const args = [GLOO, parameters(size), workers, rounds, warmup, path.join(folder, 'store')].map(String);
    const { status, stdout, stderr } = spawnSync(PYTHON, args, { encoding: 'utf8', timeout: 300_000 });
    if (status !== 0)
      throw new BenchError('run_failed', `gloo failed:\n${stderr.slice(-2_000)}`, `Run it by hand: ${PYTHON} ${args.join(' ')}`);
    return /** @type {Gloo} */ (JSON.parse(stdout));
  });
}

/** `troupe eval` against PyTorch's own loss on the tensors of the same checkpoint. */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { loadCorpus } from '@troupe/corpus/node';
import { describeSize, SMALL } from '../configs.mjs';
import { PYTHON, whyNoTorch } from '../python.mjs';
import { count, decimal } from '../report.mjs';
import { runFlags, startTroupe, train, usualCorpus, withScratch } from '../runs.mjs';

export const title = 'Validation loss against PyTorch';
export const about =
  'A checkpoint of a short run is measured twice: by `troupe eval` (float32, wasm), and by tests/golden/eval_checkpoint.py, ' +
  'which loads the tensors into nn.LSTM and nn.Linear and computes in float64. The hidden state is carried over the whole ' +
  'validation part.';

const LIMIT = 1e-4;
const SCRIPT = fileURLToPath(new URL('../../golden/eval_checkpoint.py', import.meta.url));
const DEADLINE_MS = 600_000;

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  const skipped = whyNoTorch();
  if (skipped !== undefined) return { skipped };
  const corpus = quick ? 'sonnets' : usualCorpus();
  const rounds = quick ? 20 : 200;
  const { troupe, torch } = await withScratch(async (folder) => {
    progress('training');
    const flags = [...runFlags(corpus, SMALL, path.join(folder, 'run')), `--rounds=${rounds}`];
    const { finished } = await train(flags, { deadlineMs: DEADLINE_MS });
    progress('troupe eval');
    const ours = await evaluate(finished.checkpoint, corpus);
    progress('PyTorch');
    return { troupe: ours, torch: await evaluateInTorch(finished.checkpoint, corpus, folder) };
  });
  const difference = Math.abs(troupe.lossPerChar - torch.lossPerChar);
  const sameText = troupe.tokens === torch.tokens;
  const row = (/** @type {string} */ name, /** @type {typeof torch} */ { lossPerChar, tokens }) => [
    name,
    decimal(lossPerChar, 7),
    count(tokens),
  ];
  return {
    tables: [
      {
        caption: `${describeSize(SMALL)}, ${corpus}, after ${rounds} rounds`,
        head: ['Measured by', 'nats/char', 'Characters'],
        rows: [row('troupe eval', troupe), row('PyTorch, float64', torch)],
      },
    ],
    goals: [
      {
        text: `difference ${difference.toExponential(1)} nats/char over the same characters (limit: ${LIMIT})`,
        met: sameText && difference < LIMIT,
        binding: true,
      },
    ],
    notes: [],
    data: { ...SMALL, corpus, rounds, difference, troupe, torch },
  };
}

/** @typedef {{ lossPerChar: number, tokens: number }} Loss */

/** @returns {Promise<Loss>} */
async function evaluate(/** @type {string} */ checkpoint, /** @type {string} */ corpus) {
  /** @type {Loss[]} */
  const printed = [];
  const args = ['eval', `--checkpoint=${checkpoint}`, `--corpus=${corpus}`, '--lanes=1', '--json'];
  await startTroupe(args, { onMessage: (message) => printed.push(message), deadlineMs: DEADLINE_MS }).ended;
  return printed[0];
}

/** @returns {Promise<Loss>} */
async function evaluateInTorch(/** @type {string} */ checkpoint, /** @type {string} */ corpus, /** @type {string} */ folder) {
  const file = path.join(folder, 'corpus.txt');
  const { vocabulary, tokens } = await loadCorpus(corpus, { corpusDir: process.env.TROUPE_CORPUS_DIR });
  await writeFile(file, vocabulary.decode(tokens));
  const { stdout } = await promisify(execFile)(PYTHON, [SCRIPT, checkpoint, file, '--json'], { timeout: DEADLINE_MS });
  return JSON.parse(stdout);
}

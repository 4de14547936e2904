/** What local rounds cost in loss and save in traffic, at equal numbers of characters. */
import { contributionBytes, updateBytes } from '@troupe/collective';
import { modelConfig } from '@troupe/config';
import { createLayout, stateSize } from '@troupe/model';
import { BenchError } from '../bench-error.mjs';
import { VOCABULARY } from '../configs.mjs';
import { count, decimal } from '../report.mjs';
import { train, usualCorpus, withScratch } from '../runs.mjs';
import { enginesHere } from './engine.mjs';

export const title = 'Local rounds: steps of tracks against traffic';
export const about =
  'The same model reads the same number of characters in exact rounds and in local ones, with H steps in each of K tracks. One seed. ' +
  '"Best" is the lowest of eight validations. Bytes are those of a worker that computes one track, or in the exact run as many streams: ' +
  'contribution, update, characters and, in local rounds, learning rates.';

const MODEL = { layers: 2, hidden: 128, dropout: 0.2 };
const [STREAMS, WINDOW, VALIDATIONS] = [64, 64, 8];
/** Windows that each stream reads: 3.15 million characters. */
const WINDOWS = 768;
/** The runs: steps, tracks, and learning rate. Tracks have smaller batches than the exact run. */
const GRID = /** @type {const} */ ([
  [8, 8],
  [32, 2],
  [32, 8],
  [32, 16],
  [128, 8],
]);
const FLAGS = [
  ...['--layer-norm', `--layers=${MODEL.layers}`, `--hidden=${MODEL.hidden}`, `--dropout=${MODEL.dropout}`],
  ...[`--batch=${STREAMS}`, `--window=${WINDOW}`, '--clip=1', '--lr-final=0.02', '--workers=2', '--threads=1'],
];
const RATE = 0.01;
/** Nats per character between 32 steps of 8 tracks and the exact run. */
const LOSS_LIMIT = 0.02;
/** Of the exact run. */
const BYTES_LIMIT = 1 / 50;
const DEADLINE_MS = 3_600_000;

/** @typedef {{ steps: number, tracks: number, codec: 'fp16' | 'int8-both', best: number, last: number, bytes: number }} Run */

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  const corpus = quick ? 'sonnets' : usualCorpus();
  /** @type {Run[]} */
  const runs = [];
  for (const [steps, tracks] of /** @type {[number, number][]} */ ([[1, 8], ...(quick ? GRID.slice(0, 1) : GRID)])) {
    progress(steps === 1 ? 'exact rounds' : `${steps} steps, ${tracks} tracks`);
    const run = await runOf(corpus, steps, tracks, quick ? 8 : WINDOWS);
    runs.push(run);
    progress(rowOf(run, runs[0]).join(' | '));
  }
  const [exact] = runs;
  return {
    tables: [
      {
        caption: `2x128, layer norm, dropout 0.2, ${corpus}, B=${STREAMS}, T=${WINDOW}, ${count(STREAMS * WINDOW * (quick ? 8 : WINDOWS))} characters`,
        head: ['H', 'Tracks', 'Codec', 'Best', 'Minus exact', 'Last', 'Bytes a character', 'Of exact'],
        rows: runs.map((run) => rowOf(run, exact)),
      },
    ],
    goals: goalsOf(runs),
    notes: [
      `exact rounds: adam with --lr ${RATE}, ${WINDOWS} rounds. Local rounds: the same rate in the tracks, --outer-lr 0.7, --outer-momentum 0.9`,
    ],
    data: { ...MODEL, corpus, streams: STREAMS, window: WINDOW, windows: WINDOWS, runs },
  };
}

/** @param {string} corpus @param {number} steps @param {number} tracks @param {number} windows @returns {Promise<Run>} */
async function runOf(corpus, steps, tracks, windows) {
  const [engine] = (await enginesHere(['native', 'wasm'])).present;
  const rounds = Math.max(1, Math.round(windows / steps));
  const codec = steps === 1 ? 'fp16' : 'int8-both';
  const every = Math.max(1, Math.floor(rounds / VALIDATIONS));
  const flags = [
    ...[`--corpus=${corpus}`, ...FLAGS, `--engine=${engine}`, `--lr=${RATE}`, `--rounds=${rounds}`, `--codec=${codec}`],
    ...[`--eval-every=${every}`, '--checkpoint-every=0', '--sample-every=0', `--warmup=${steps === 1 ? 20 : 1}`],
    ...(steps === 1 ? [] : [`--local-steps=${steps}`, `--tracks=${tracks}`]),
  ];
  /** @type {number[]} */
  const losses = [];
  const onEvaluation = (/** @type {{ validationLoss: number }} */ { validationLoss }) => void losses.push(validationLoss);
  const { finished } = await withScratch((out) => train([...flags, `--out=${out}`], { deadlineMs: DEADLINE_MS, onEvaluation }));
  if (finished.validationLoss === undefined)
    throw new BenchError('run_failed', 'the run ended without its last validation', 'Run it on an idle machine.');
  const best = Math.min(finished.validationLoss, ...losses);
  return { steps, tracks, codec, best, last: finished.validationLoss, bytes: bytesOf(steps, tracks, codec) };
}

/** Of a character, both ways. @param {number} steps @param {number} tracks @param {Run['codec']} codec */
function bytesOf(steps, tracks, codec) {
  const model = modelConfig({ vocabulary: VOCABULARY, layers: MODEL.layers, hidden: MODEL.hidden, layerNorm: true });
  const tensorSizes = createLayout(model).tensors.map(({ size }) => size);
  const shape = { codec, tensorSizes, stateFloats: stateSize(model) };
  const streams = STREAMS / tracks;
  const characters = streams * WINDOW * steps;
  const lease = streams * (WINDOW + 1) * 2 * steps + (steps === 1 ? 0 : 4 * steps);
  return (contributionBytes(shape, streams) + updateBytes(shape) + lease) / characters;
}

/** @param {Run} run @param {Run} exact */
function rowOf({ steps, tracks, codec, best, last, bytes }, exact) {
  return [
    String(steps),
    steps === 1 ? '–' : String(tracks),
    codec,
    decimal(best, 3),
    decimal(best - exact.best, 3),
    decimal(last, 3),
    decimal(bytes, 0),
    `1/${decimal(exact.bytes / bytes, 0)}`,
  ];
}

/** @param {readonly Run[]} runs */
function goalsOf(runs) {
  const [exact] = runs;
  const local = runs.find(({ steps, tracks }) => steps === 32 && tracks === 8);
  if (!local) return [];
  const [loss, bytes] = [local.best - exact.best, local.bytes / exact.bytes];
  return [
    {
      text: `32 steps, 8 tracks: validation ${decimal(loss, 3)} nats/char above exact rounds (goal: at most ${LOSS_LIMIT})`,
      met: loss <= LOSS_LIMIT,
      binding: false,
    },
    {
      text: `32 steps, 8 tracks: 1/${decimal(1 / bytes, 0)} of the bytes of exact rounds in fp16 (goal: at most 1/50)`,
      met: bytes <= BYTES_LIMIT,
      binding: false,
    },
  ];
}

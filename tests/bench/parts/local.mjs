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
/** @typedef {{ steps: number, tracks: number, outer: readonly [rate: number, momentum: number] }} Setting */

/** Of the outer step. */
const USUAL = /** @type {const} */ ([1, 0.7]);
/** What DiLoCo (Douillard et al. 2023) takes. */
const DILOCO = /** @type {const} */ ([0.7, 0.9]);
const EXACT = { steps: 1, tracks: 8, outer: USUAL };
/** The local runs. Tracks have smaller batches than the exact run. @type {readonly Setting[]} */
const GRID = [
  { steps: 8, tracks: 8, outer: USUAL },
  { steps: 32, tracks: 2, outer: USUAL },
  { steps: 32, tracks: 8, outer: USUAL },
  { steps: 32, tracks: 8, outer: DILOCO },
  { steps: 32, tracks: 16, outer: USUAL },
  { steps: 128, tracks: 8, outer: USUAL },
];
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

/** @typedef {Setting & { codec: 'fp16' | 'int8-both', best: number, last: number, bytes: number }} Run */

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  const corpus = quick ? 'sonnets' : usualCorpus();
  /** @type {Run[]} */
  const runs = [];
  for (const setting of [EXACT, ...(quick ? GRID.slice(0, 1) : GRID)]) {
    const { steps, tracks } = setting;
    progress(steps === 1 ? 'exact rounds' : `${steps} steps, ${tracks} tracks`);
    const run = await runOf(corpus, setting, quick ? 8 : WINDOWS);
    runs.push(run);
    progress(rowOf(run, runs[0]).join(' | '));
  }
  const [exact] = runs;
  return {
    tables: [
      {
        caption: `2x128, layer norm, dropout 0.2, ${corpus}, B=${STREAMS}, T=${WINDOW}, ${count(STREAMS * WINDOW * (quick ? 8 : WINDOWS))} characters`,
        head: ['H', 'Tracks', 'Outer rate, momentum', 'Codec', 'Best', 'Minus exact', 'Last', 'Bytes a character', 'Of exact'],
        rows: runs.map((run) => rowOf(run, exact)),
      },
    ],
    goals: goalsOf(runs),
    notes: [`exact rounds: adam with --lr ${RATE}, ${WINDOWS} rounds. Local rounds: the same rate in the tracks`],
    data: { ...MODEL, corpus, streams: STREAMS, window: WINDOW, windows: WINDOWS, runs },
  };
}

/** @param {string} corpus @param {Setting} setting @param {number} windows @returns {Promise<Run>} */
async function runOf(corpus, { steps, tracks, outer }, windows) {
  const [engine] = (await enginesHere(['native', 'wasm'])).present;
  const rounds = Math.max(1, Math.round(windows / steps));
  const codec = steps === 1 ? 'fp16' : 'int8-both';
  const every = Math.max(1, Math.floor(rounds / VALIDATIONS));
  const flags = [
    ...[`--corpus=${corpus}`, ...FLAGS, `--engine=${engine}`, `--lr=${RATE}`, `--rounds=${rounds}`, `--codec=${codec}`],
    ...[`--eval-every=${every}`, '--checkpoint-every=0', '--sample-every=0', `--warmup=${steps === 1 ? 20 : 1}`],
    ...(steps === 1 ? [] : [`--local-steps=${steps}`, `--tracks=${tracks}`]),
    ...(steps === 1 ? [] : [`--outer-lr=${outer[0]}`, `--outer-momentum=${outer[1]}`]),
  ];
  /** @type {number[]} */
  const losses = [];
  const onEvaluation = (/** @type {{ validationLoss: number }} */ { validationLoss }) => void losses.push(validationLoss);
  const { finished } = await withScratch((out) => train([...flags, `--out=${out}`], { deadlineMs: DEADLINE_MS, onEvaluation }));
  if (finished.validationLoss === undefined)
    throw new BenchError('run_failed', 'the run ended without its last validation', 'Run it on an idle machine.');
  const best = Math.min(finished.validationLoss, ...losses);
  return { steps, tracks, outer, codec, best, last: finished.validationLoss, bytes: bytesOf(steps, tracks, codec) };
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
function rowOf({ steps, tracks, outer, codec, best, last, bytes }, exact) {
  return [
    String(steps),
    steps === 1 ? '–' : String(tracks),
    steps === 1 ? '–' : outer.join(', '),
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
  const local = runs.find(({ steps, tracks, outer }) => steps === 32 && tracks === 8 && outer === USUAL);
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

/** What the number format of gradients costs, and what it does to training. */
import { contributionBytes } from '@troupe/collective';
import { modelConfig } from '@troupe/config';
import { createLayout, stateSize } from '@troupe/model';
import { createVectorMemory, int8Blocks, vectorMemoryBytes } from '@troupe/optim';
import { BenchError } from '../bench-error.mjs';
import { describeSize, MEDIUM, VOCABULARY } from '../configs.mjs';
import { median } from '../contestant.mjs';
import { count, decimal } from '../report.mjs';
import { runFlags, train, usualCorpus, withScratch } from '../runs.mjs';
import { enginesHere } from './engine.mjs';

export const title = 'Codecs: the number format of gradients';
export const about =
  'The same run with each codec, by one worker with one thread, from the same seed: its validation loss at the end, and the bytes ' +
  'of the gradient in a contribution. Below it, the kernels on a vector in the cache, in turn: encoding (with the search for the ' +
  'scale and, for int8, the random numbers) and adding to a sum in float64.';

const CODECS = /** @type {const} */ (['fp32', 'fp16', 'int8']);
/** Nats per character between int8 and fp32. */
const LOSS_LIMIT = 0.005;
/** Of fp16; the scales of int8 take a 256th more. */
const BYTES_LIMIT = 0.505;
const ENCODE_LIMIT = 2;
const ADD_LIMIT = 1;
const LENGTH = 65_536;
const DEADLINE_MS = 3_600_000;

/** @typedef {{ codec: typeof CODECS[number], bytes: number, loss: number, roundMs: number }} Run */
/** @typedef {{ name: string, ns: number[] }} Kernel `ns`: per value, one a turn */

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  progress('kernels');
  const kernels = timeKernels(quick ? 3 : 200);
  const corpus = quick ? 'sonnets' : usualCorpus();
  const rounds = quick ? 10 : 1_000;
  /** @type {Run[]} */
  const runs = [];
  for (const codec of CODECS) {
    progress(`${rounds} rounds in ${codec}`);
    runs.push({ codec, bytes: bytesOf(codec), ...(await run(codec, corpus, rounds)) });
  }
  const [fp32, fp16] = runs;
  return {
    tables: [
      {
        caption: `${describeSize(MEDIUM)}, ${corpus}, ${rounds} rounds of Adam`,
        head: ['Codec', 'Validation, nats/char', 'Minus fp32', 'Bytes', 'Of fp16', 'Round'],
        rows: runs.map(({ codec, loss, bytes, roundMs }) => [
          codec,
          decimal(loss, 4),
          decimal(loss - fp32.loss, 4),
          count(bytes),
          `${decimal(bytes / fp16.bytes, 3)}x`,
          `${decimal(roundMs, 1)} ms`,
        ]),
      },
      {
        caption: `Kernels, ${count(LENGTH)} values`,
        head: ['', 'ns a value'],
        rows: kernels.map(({ name, ns }) => [name, decimal(median(ns), 3)]),
      },
    ],
    goals: [...runGoals(runs, rounds), ...kernelGoals(kernels)],
    notes: ['With int8 the updates are those of fp16: only what workers send is in int8.'],
    data: { ...MEDIUM, corpus, rounds, runs, kernels },
  };
}

/** Of the gradient in a contribution. @param {typeof CODECS[number]} codec */
function bytesOf(codec) {
  const model = modelConfig({ vocabulary: VOCABULARY, layers: MEDIUM.layers, hidden: MEDIUM.hidden });
  const tensorSizes = createLayout(model).tensors.map(({ size }) => size);
  return contributionBytes({ codec, tensorSizes, stateFloats: stateSize(model) }, 0);
}

/** @param {string} codec @param {string} corpus @param {number} rounds */
async function run(codec, corpus, rounds) {
  const [engine] = (await enginesHere(['native', 'wasm'])).present;
  const flags = [`--codec=${codec}`, `--engine=${engine}`, `--rounds=${rounds}`, '--workers=1', '--threads=1'];
  const { rounds: done, finished } = await withScratch((out) =>
    train([...runFlags(corpus, MEDIUM, out), ...flags], { deadlineMs: DEADLINE_MS }),
  );
  // On a busy machine the last validation may not end in time.
  if (finished.validationLoss === undefined)
    throw new BenchError('run_failed', `the run in ${codec} ended without its last validation`, 'Run it on an idle machine.');
  return { loss: finished.validationLoss, roundMs: median(done.map(({ roundMs }) => roundMs)) };
}

/** @param {number} turns @returns {Kernel[]} */
function timeKernels(turns) {
  const blocks = int8Blocks(LENGTH);
  const lengths = { float32: [LENGTH], uint16: [LENGTH], int8: [LENGTH, blocks], float64: [LENGTH] };
  const memory = createVectorMemory(vectorMemoryBytes(lengths));
  const source = memory.allocateFloat32(LENGTH);
  source.set(source.map((_, i) => Math.sin(i) * Math.cos(i * i)));
  const halves = memory.allocateUint16(LENGTH);
  const bytes = { values: memory.allocateInt8(LENGTH), exponents: memory.allocateInt8(blocks) };
  const sum = memory.allocateFloat64(LENGTH);
  const key = { seed: 1, round: 2, stream: 3, first: 4 };
  /** @type {[string, () => void][]} */
  const work = [
    ['encode fp16', () => memory.encodeHalf(source, 2 ** 14 / 2 ** Math.ceil(Math.log2(memory.maxMagnitude(source))), halves)],
    ['encode int8', () => memory.encodeInt8(source, key, bytes)],
    ['add fp16', () => memory.add(sum, [{ values: halves, scale: 2 ** -14 }], false)],
    ['add int8', () => memory.add(sum, [bytes], false)],
  ];
  const kernels = work.map(([name]) => ({ name, ns: /** @type {number[]} */ ([]) }));
  for (let turn = -Math.ceil(turns / 4); turn < turns; turn++)
    for (const [k, [, call]] of work.entries()) {
      const ns = timed(call);
      // The first turns warm up.
      if (turn >= 0) kernels[k].ns.push(ns);
    }
  return kernels;
}

/** @param {() => void} call @returns ns per value */
function timed(call) {
  const repetitions = 20;
  const start = performance.now();
  for (let i = 0; i < repetitions; i++) call();
  return ((performance.now() - start) * 1e6) / repetitions / LENGTH;
}

/** @param {readonly Run[]} runs @param {number} rounds */
function runGoals([fp32, fp16, int8], rounds) {
  const difference = int8.loss - fp32.loss;
  const share = int8.bytes / fp16.bytes;
  return [
    {
      text: `validation loss after ${rounds} rounds: int8 minus fp32 is ${decimal(difference, 4)} nats/char (limit: ±${LOSS_LIMIT})`,
      met: Math.abs(difference) <= LOSS_LIMIT,
      binding: false,
    },
    { text: `bytes of int8: ${decimal(share, 3)}x of fp16 (limit: ${BYTES_LIMIT}x)`, met: share <= BYTES_LIMIT, binding: true },
  ];
}

/** @param {readonly Kernel[]} kernels */
function kernelGoals([encodeHalf, encodeInt8, addHalf, addInt8]) {
  const ratio = (/** @type {Kernel} */ one, /** @type {Kernel} */ other) => median(one.ns.map((ns, turn) => ns / other.ns[turn]));
  const goal = (/** @type {string} */ what, /** @type {number} */ found, /** @type {number} */ limit) => ({
    text: `${what} int8 takes ${decimal(found, 2)}x as long as fp16 (limit: ${limit}x)`,
    met: found <= limit,
    binding: false,
  });
  return [goal('encoding', ratio(encodeInt8, encodeHalf), ENCODE_LIMIT), goal('adding', ratio(addInt8, addHalf), ADD_LIMIT)];
}

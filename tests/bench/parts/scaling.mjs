/** The speed-up from a second worker process, with the same global batch. */
import { MEDIUM, describeSize, characters } from '../configs.mjs';
import { BenchError } from '../bench-error.mjs';
import { median } from '../contestant.mjs';
import { count, decimal, ms } from '../report.mjs';
import { runFlags, train, trainByHand, usualCorpus, withScratch } from '../runs.mjs';
import { enginesHere } from './engine.mjs';

/** @typedef {import('../runs.mjs').Round} Round */

export const title = 'Two workers against one';
export const about =
  '`troupe train` with one and with two worker processes, with the same global batch. The figures include the coordinator, ' +
  'WebSockets, the all-reduce with fp16 gradients, and the optimizer. chars/s is measured over the rounds after a warm-up. ' +
  'Runs alternate: one worker, two, one, two. The ratio is the median over pairs.';

const GOAL = 1.85;
/** Rounds that do not count, until code is compiled and the streams are dealt by measured speed. */
const WARMUP_ROUNDS = 20;
/** More than any run reaches: runs are stopped when they have been measured long enough. */
const ROUNDS = 100_000;
const OVERHEAD_MS = 90_000;

/**
 * @typedef {object} Plan
 * @property {string} engine
 * @property {import('../configs.mjs').Size} size
 * @property {string} corpus
 * @property {number} warmup rounds
 * @property {number} measuredMs
 * @property {readonly string[]} [flags] additional flags of the run
 */

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  const { present, notes } = await enginesHere(['wasm', 'native']);
  const results = [];
  for (const engine of present) {
    const warmup = quick ? 3 : WARMUP_ROUNDS;
    /** @type {Plan} */
    const plan = { engine, size: MEDIUM, corpus: usualCorpus(), warmup, measuredMs: quick ? 1500 : 15_000 };
    results.push(await compare(plan, quick ? 1 : 5, (text) => progress(`${engine}, ${text}`)));
  }
  return {
    tables: results.flatMap(({ tables }) => tables),
    goals: results.flatMap(({ goals }) => goals),
    notes: [
      ...notes,
      'If the sum of gradient times grows with the second worker, the cores lose that time to each other (memory, shared caches, the coordinator on a core of the workers). What the cluster adds is "everything else".',
    ],
    data: results.map(({ data }) => data),
  };
}

/**
 * @param {Plan} plan
 * @param {number} pairs
 * @param {(text: string) => void} progress
 */
async function compare(plan, pairs, progress) {
  /** @type {Record<number, number[]>} */
  const rates = { 1: [], 2: [] };
  for (let pair = 0; pair < pairs; pair++) {
    for (const workers of [1, 2]) {
      progress(`${workers} of 2 workers, turn ${pair + 1}`);
      rates[workers].push(await chars(plan, workers));
    }
  }
  const splits = [];
  for (const workers of [1, 2]) {
    progress(`where the time goes with ${workers}`);
    splits.push({ workers, ...(await split(plan, workers)) });
  }
  const ratios = rates[2].map((rate, i) => rate / rates[1][i]);
  const ratio = median(ratios);
  return {
    tables: [
      {
        caption: `${plan.engine}, ${describeSize(plan.size)}, ${plan.corpus}`,
        head: ['Workers', 'chars/s', 'Each run'],
        rows: [1, 2].map((workers) => [String(workers), count(median(rates[workers])), rates[workers].map(count).join(', ')]),
      },
      {
        caption: `${plan.engine}: where the time of a round goes (a separate run for each row, medians over rounds)`,
        head: ['Workers', 'Round', 'Gradient, slowest worker', 'Everything else', 'Gradient, sum of workers'],
        rows: splits.map(({ workers, roundMs, slowestMs, sumMs }) => [
          String(workers),
          ms(roundMs),
          ms(slowestMs),
          ms(roundMs - slowestMs),
          ms(sumMs),
        ]),
      },
    ],
    goals: [
      {
        text: `${plan.engine}: two workers reach ${decimal(ratio, 2)}x the chars/s of one (pairs: ${ratios.map((r) => decimal(r, 2)).join(', ')}; goal: at least ${GOAL}x)`,
        met: ratio >= GOAL,
        binding: false,
      },
    ],
    data: { ...plan, charsPerSecond: rates, ratios, ratio, splits },
  };
}

/**
 * chars/s of a run after its warm-up.
 * @param {Plan} plan
 * @param {number} workers
 */
export async function chars({ engine, size, corpus, warmup, measuredMs, flags = [] }, workers) {
  const clock = createRoundClock({ workers, warmup, measuredMs });
  await withScratch((out) =>
    train([...runFlags(corpus, size, out), ...flags, `--rounds=${ROUNDS}`, `--workers=${workers}`, `--engine=${engine}`], {
      deadlineMs: OVERHEAD_MS + 3 * measuredMs,
      enough: clock.add,
    }),
  );
  const rounds = clock.counted();
  return (rounds.length * characters(size) * 1000) / rounds.reduce((sum, { roundMs }) => sum + roundMs, 0);
}

/**
 * Selects the rounds that count: those of `measuredMs`, after all workers have been active for `warmup` rounds.
 * @param {{ workers: number, warmup: number, measuredMs: number }} options
 */
function createRoundClock({ workers, warmup, measuredMs }) {
  /** @type {Round[]} */
  const together = [];
  let spentMs = 0;
  let lost = false;
  const full = () => spentMs >= measuredMs;
  return {
    /** @param {Round} round @returns {boolean} true when the run may stop */
    add(round) {
      if (lost || full()) return true;
      if (round.ready === workers) {
        together.push(round);
        if (together.length > warmup) spentMs += round.roundMs;
      } else if (together.length > 0) lost = true;
      return lost || full();
    },
    /** @throws {BenchError} when a worker left too early */
    counted() {
      if (!full()) throw workerLost(workers);
      return together.slice(warmup);
    },
  };
}

function workerLost(/** @type {number} */ workers) {
  return new BenchError('run_failed', `the run did not keep its ${workers} workers`, 'Run troupe train by hand to see why.');
}

/**
 * The same run with its processes started separately, which shows how long the workers computed.
 * @param {Plan} plan
 * @param {number} workers
 * @returns {Promise<{ roundMs: number, slowestMs: number, sumMs: number }>} medians over rounds
 */
async function split({ engine, size, corpus, warmup, measuredMs }, workers) {
  const clock = createRoundClock({ workers, warmup, measuredMs: measuredMs / 2 });
  const computeMs = await withScratch((out) =>
    trainByHand([...runFlags(corpus, size, out), `--rounds=${ROUNDS}`], {
      workers,
      engine,
      deadlineMs: OVERHEAD_MS + 3 * measuredMs,
      enough: clock.add,
    }),
  );
  const timesOf = (/** @type {Round} */ { round }) => computeMs.get(round) ?? [];
  const rounds = clock.counted().filter((round) => timesOf(round).length === workers);
  return {
    roundMs: median(rounds.map(({ roundMs }) => roundMs)),
    slowestMs: median(rounds.map((round) => Math.max(...timesOf(round)))),
    sumMs: median(rounds.map((round) => timesOf(round).reduce((sum, time) => sum + time, 0))),
  };
}

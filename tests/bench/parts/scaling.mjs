/** The speed-up from a second worker process or a second thread, with the same global batch, and what the cluster takes of it. */
import { MEDIUM, describeSize, characters } from '../configs.mjs';
import { BenchError } from '../bench-error.mjs';
import { Contestant, median } from '../contestant.mjs';
import { count, decimal, ms } from '../report.mjs';
import { runFlags, train, trainByHand, usualCorpus, withScratch } from '../runs.mjs';
import { enginesHere, troupe } from './engine.mjs';

/** @typedef {import('../runs.mjs').Round} Round */

export const title = 'Two workers or two threads against one, and against no cluster';
export const about =
  '`troupe train` with one and with two worker processes, with the same global batch. The figures include the coordinator, ' +
  'WebSockets, the all-reduce with fp16 gradients, and the optimizer. chars/s is measured over the rounds after a warm-up. ' +
  'Runs alternate: one worker, two, one with two threads, and two engines that compute half the batch each beside each other, without a ' +
  'cluster. Ratios are medians over turns.';

/** Of the chars/s of two engines without a cluster. */
const GOAL = 0.94;
const ONE = { name: 'one worker', flags: ['--workers=1', '--threads=1'], workers: 1 };
const TWO = { name: 'two workers', flags: ['--workers=2', '--threads=1'], workers: 2 };
const THREADS = { name: 'one worker, two threads', flags: ['--workers=1', '--threads=2'], workers: 1 };
const SETUPS = [ONE, TWO, THREADS];
const ALONE = 'two engines, no cluster';
const STEP_DEADLINE_MS = 120_000;
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
 * @param {number} turns
 * @param {(text: string) => void} progress
 */
async function compare(plan, turns, progress) {
  /** @type {Record<string, number[]>} */
  const rates = Object.fromEntries([...SETUPS.map(({ name }) => name), ALONE].map((name) => [name, []]));
  for (let turn = 1; turn <= turns; turn++) {
    for (const { name, flags, workers } of SETUPS) {
      progress(`${name}, turn ${turn}`);
      rates[name].push(await chars({ ...plan, flags }, workers));
    }
    progress(`${ALONE}, turn ${turn}`);
    rates[ALONE].push(await charsAlone(plan));
  }
  const splits = [];
  for (const workers of [1, 2]) {
    progress(`where the time goes with ${workers}`);
    splits.push({ workers, ...(await split(plan, workers)) });
  }
  const times = (/** @type {string} */ name) => median(rates[name].map((rate, turn) => rate / rates[ONE.name][turn]));
  return {
    tables: [
      {
        caption: `${plan.engine}, ${describeSize(plan.size)}, ${plan.corpus}`,
        head: ['', 'chars/s', 'Of one worker', 'Each turn'],
        rows: Object.entries(rates).map(([name, each]) => [
          name,
          count(median(each)),
          `${decimal(times(name), 2)}x`,
          each.map(count).join(', '),
        ]),
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
    goals: [TWO, THREADS].map(({ name }) => goalOf(plan, name, rates)),
    data: { ...plan, charsPerSecond: rates, splits },
  };
}

/** @param {Plan} plan @param {string} name @param {Record<string, number[]>} rates */
function goalOf({ engine }, name, rates) {
  const ratios = rates[name].map((rate, turn) => rate / rates[ALONE][turn]);
  const each = ratios.map((ratio) => decimal(ratio, 2)).join(', ');
  return {
    text: `${engine}: ${name} reach ${decimal(median(ratios), 2)}x of ${ALONE} (turns: ${each}; goal: at least ${GOAL}x)`,
    met: median(ratios) >= GOAL,
    binding: false,
  };
}

/**
 * chars/s of two engines that compute half the batch each, at the same time.
 * @param {Plan} plan
 */
async function charsAlone({ engine, size, measuredMs }) {
  const half = { ...size, streams: size.streams / 2 };
  const engines = [1, 2].map(() => new Contestant(troupe(engine, half, { threads: 1 })));
  try {
    for (const each of engines) await each.prepare(STEP_DEADLINE_MS);
    const together = (/** @type {number} */ steps) => Promise.all(engines.map((each) => each.step(steps, STEP_DEADLINE_MS)));
    const [warm] = await together(5);
    const answers = await together(Math.max(1, Math.round(measuredMs / median([...warm.ms]))));
    return answers.reduce((sum, answer) => {
      const spentMs = answer.ms.reduce((total, each) => total + each, 0);
      return sum + (answer.ms.length * characters(half) * 1000) / spentMs;
    }, 0);
  } finally {
    for (const each of engines) each.close();
  }
}

/**
 * chars/s of a run after its warm-up.
 * @param {Plan} plan
 * @param {number} workers
 */
export async function chars({ engine, size, corpus, warmup, measuredMs, flags = [] }, workers) {
  const clock = createRoundClock({ workers, warmup, measuredMs });
  await withScratch((out) =>
    train([...runFlags(corpus, size, out), ...flags, `--rounds=${ROUNDS}`, `--engine=${engine}`], {
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

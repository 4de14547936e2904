/** What eight slow workers do to a run. */
import { median } from '../contestant.mjs';
import { runNullWorkers } from '../communication/null-run.mjs';
import { decimal, ms } from '../report.mjs';
import { usualCorpus, withScratch } from '../runs.mjs';

/**
 * @typedef {{ name: string, streams: number, warmup: number, alone: number[], together: number[] }} Case each number is the median round of a
 * turn, ms; warmup: rounds until ten processes that start at once no longer disturb each other
 */

export const title = 'Slow workers: a run with eight more that are a tenth as fast';
export const about =
  'A real coordinator and worker processes whose engine sleeps 1 ms per stream, or 10 ms, and returns a prepared gradient (2x256, fp16). ' +
  'A sleeping engine takes no processor, like a machine elsewhere. The same run with the fast worker alone and with eight slow ones, in turn.';

const GOAL = 0.98;
const SLOW = 8;
const MS_PER_STREAM = 1;

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  const plan = { corpus: usualCorpus(), workers: 1, msPerStream: MS_PER_STREAM, rounds: quick ? 5 : 100 };
  /** @type {Case[]} */
  const cases = [
    { name: 'too slow for one stream', streams: 8, warmup: 300, alone: [], together: [] },
    { name: 'fast enough to help', streams: 128, warmup: 40, alone: [], together: [] },
  ];
  const medianRound = async (/** @type {Case} */ { streams, warmup }, /** @type {number} */ slow) => {
    const size = { layers: 2, hidden: 256, streams, window: 64 };
    const { roundMs } = await withScratch((out) => runNullWorkers({ ...plan, warmup: quick ? 5 : warmup, size, slow }, out));
    return median([...roundMs]);
  };
  for (let turn = 1; turn <= (quick ? 1 : 3); turn++) {
    for (const each of cases) {
      progress(`${each.name}, turn ${turn}`);
      each.alone.push(await medianRound(each, 0));
      each.together.push(await medianRound(each, SLOW));
    }
  }
  return { tables: [table(cases)], goals: cases.map(goalOf), notes: [], data: { cases } };
}

/** Speed with the slow workers, as a multiple of that without them, in each turn. @param {Case} of */
function ratios({ alone, together }) {
  return alone.map((roundMs, turn) => roundMs / together[turn]);
}

/** @param {readonly Case[]} cases */
function table(cases) {
  return {
    head: ['Slow workers', 'Streams', 'A round without them', 'with them', 'Speed'],
    rows: cases.map((each) => [
      each.name,
      String(each.streams),
      ms(median(each.alone)),
      ms(median(each.together)),
      `${decimal(median(ratios(each)), 2)}x`,
    ]),
  };
}

/** @param {Case} of */
function goalOf(of) {
  const each = ratios(of);
  return {
    text: `${of.name}: ${decimal(median(each), 2)}x of the speed without them (turns: ${each.map((ratio) => decimal(ratio, 2)).join(', ')}; goal: at least ${GOAL}x)`,
    met: median(each) >= GOAL,
    binding: false,
  };
}

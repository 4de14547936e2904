/** What it costs to compute the same bits with any workers. */
import { describeSize, MEDIUM } from '../../configs.mjs';
import { median } from '../../contestant.mjs';
import { count, decimal } from '../../report.mjs';
import { usualCorpus } from '../../runs.mjs';
import { chars } from '../scaling.mjs';

/** @type {readonly import('../../configs.mjs').Size[]} */
const SIZES = [{ layers: 1, hidden: 256, streams: 32, window: 64 }, MEDIUM];
const WORKERS = [1, 2];
const MODES = [
  { name: 'reproducible', engine: 'auto', flags: ['--reproducible'] },
  { name: 'wasm', engine: 'wasm', flags: [] },
  { name: 'auto', engine: 'auto', flags: [] },
];

/** @param {import('../../report.mjs').Options} options @returns {Promise<import('../../report.mjs').Measured>} */
export async function cost({ quick, progress }) {
  const turns = quick ? 1 : 3;
  const results = SIZES.flatMap((size) =>
    WORKERS.map((workers) => ({ size, workers, rates: MODES.map(() => /** @type {number[]} */ ([])) })),
  );
  for (let turn = 0; turn < turns; turn++) {
    for (const { size, workers, rates } of results) {
      for (const [i, { name, engine, flags }] of MODES.entries()) {
        progress(`${describeSize(size)}, ${workers} of 2 workers, ${name}, turn ${turn + 1} of ${turns}`);
        const plan = { engine, size, flags, corpus: usualCorpus(), warmup: quick ? 3 : 15, measuredMs: quick ? 1_000 : 5_000 };
        rates[i].push(await chars(plan, workers));
      }
    }
  }
  const ratio = (/** @type {number[]} */ of, /** @type {number[]} */ to) =>
    `${decimal(median(of.map((rate, i) => rate / to[i])), 2)}x`;
  return {
    tables: [
      {
        caption: 'The cost of reproducibility: chars/s of `troupe train` (medians of turns)',
        head: [
          'Model',
          'Workers',
          'Reproducible',
          'Default, engine wasm',
          'Default, engine auto',
          'Relative to wasm',
          'Relative to auto',
        ],
        rows: results.map(({ size, workers, rates: [exact, wasm, auto] }) => [
          describeSize(size),
          String(workers),
          count(median(exact)),
          count(median(wasm)),
          count(median(auto)),
          ratio(exact, wasm),
          ratio(exact, auto),
        ]),
      },
    ],
    goals: [],
    notes: [],
    data: results,
  };
}

/** The loss curve does not depend on how many workers there are. */
import { BenchError } from '../bench-error.mjs';
import { describeSize, SMALL } from '../configs.mjs';
import { decimal } from '../report.mjs';
import { runFlags, train, withScratch } from '../runs.mjs';

/** @typedef {import('../runs.mjs').Round} Round */

export const title = 'The loss curve of one, two and three workers';
export const about =
  'The same run, with the same seed and global batch, by one, two and three worker processes, with fp32 on the wire. The ' +
  'train loss of every round is compared with that of one worker. Only the order in which float32 gradients are added ' +
  'differs.';

const LIMIT = 1e-3;
const WORKERS = [1, 2, 3];
const CORPUS = 'sonnets';
const DEADLINE_MS = 600_000;

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  const rounds = quick ? 20 : 200;
  const curves = [];
  for (const workers of WORKERS) {
    progress(`${workers} ${workers === 1 ? 'worker' : 'workers'}`);
    curves.push(await curveOf(workers, rounds));
  }
  const [one, ...others] = curves;
  const rows = others.map((curve, i) => [
    String(WORKERS[i + 1]),
    String(curve.filter(({ ready }) => ready === WORKERS[i + 1]).length),
    difference(one, curve).toExponential(1),
    decimal(curve[rounds - 1].trainLoss, 6),
  ]);
  rows.unshift(['1', String(one.filter(({ ready }) => ready === 1).length), '', decimal(one[rounds - 1].trainLoss, 6)]);
  const largest = Math.max(...others.map((curve) => difference(one, curve)));
  return {
    tables: [
      {
        caption: `${describeSize(SMALL)}, ${CORPUS}, ${rounds} rounds`,
        head: ['Workers', 'Rounds with all workers', 'Largest difference, nats/char', `Loss of round ${rounds}`],
        rows,
      },
    ],
    goals: [
      {
        text: `largest difference over ${rounds} rounds: ${largest.toExponential(1)} nats/char (limit: ${LIMIT})`,
        met: largest < LIMIT,
        binding: true,
      },
    ],
    notes: [
      'A run starts with the first worker that is ready, and the others join as they come. That does not change the curve.',
    ],
    data: { ...SMALL, corpus: CORPUS, rounds, largest, losses: curves.map((curve) => curve.map(({ trainLoss }) => trainLoss)) },
  };
}

/** @returns {Promise<Round[]>} one entry per round */
async function curveOf(/** @type {number} */ workers, /** @type {number} */ wanted) {
  const { rounds } = await withScratch((out) =>
    train([...runFlags(CORPUS, SMALL, out), `--rounds=${wanted}`, `--workers=${workers}`, '--codec=fp32'], {
      deadlineMs: DEADLINE_MS,
    }),
  );
  if (rounds.length === wanted && rounds.some(({ ready }) => ready === workers)) return rounds;
  throw new BenchError(
    'run_failed',
    `${rounds.length} rounds of ${wanted}, none with ${workers} workers`,
    'Run troupe train by hand to see why.',
  );
}

/** @param {Round[]} one @param {Round[]} other */
function difference(one, other) {
  return Math.max(...one.map(({ trainLoss }, i) => Math.abs(trainLoss - other[i].trainLoss)));
}

/** The speed-up from a second thread in one worker. */
import { MEDIUM, SMALL, describeSize } from '../configs.mjs';
import { race, ratioOf } from '../contestant.mjs';
import { count, decimal, ms } from '../report.mjs';
import { enginesHere, troupe } from './engine.mjs';

export const title = 'Threads';
export const about =
  'One process whose engine computes in one thread or in two. Each thread takes its part of the streams, and the gradients ' +
  'are summed before they leave. The batch is the same, measured in turn; the ratio is the median over turns.';

const GOAL = 1.8;

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  const { present, notes } = await enginesHere(['wasm', 'native']);
  const rows = [];
  const goals = [];
  const data = [];
  for (const size of [SMALL, MEDIUM]) {
    for (const engine of present) {
      progress(`${engine}, ${describeSize(size)}`);
      const entries = [1, 2].map((threads) => troupe(engine, size, { threads }));
      const { scores } = await race(entries, { quick, repetitions: quick ? 2 : 7 });
      const [one, two] = scores;
      const ratio = ratioOf(two, one);
      for (const score of scores) {
        const times = score === two ? `${decimal(ratio, 2)}x` : '';
        rows.push([describeSize(size), score.detail, count(score.charsPerSecond), ms(score.stepMs), times]);
      }
      data.push({ ...size, engine, ratio, one, two });
      if (size !== MEDIUM) continue;
      const text = `${engine} at ${describeSize(size)}: two threads reach ${decimal(ratio, 2)}x of one (goal: at least ${GOAL}x)`;
      goals.push({ text, met: ratio >= GOAL, binding: false });
    }
  }
  return { tables: [{ head: ['Model', 'What ran', 'chars/s', 'ms', 'Ratio'], rows }], goals, notes, data };
}

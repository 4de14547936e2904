/** Whether layer normalisation is worth its time. */
import { describeSize, SMALL } from '../configs.mjs';
import { median } from '../contestant.mjs';
import { decimal } from '../report.mjs';
import { runFlags, train, usualCorpus, withScratch } from '../runs.mjs';
import { enginesHere } from './engine.mjs';

export const title = 'Layer normalisation';
export const about =
  'The same run with and without `--layer-norm`: the validation loss after the same number of rounds, and the time of a ' +
  'round. Both runs of a pair start from the same seed.';

const DEADLINE_MS = 600_000;

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  const corpus = usualCorpus();
  const rounds = quick ? 10 : 800;
  const [engine] = (await enginesHere(['native', 'wasm'])).present;
  const pairs = [];
  for (const rate of quick ? [0.01] : [0.01, 0.02]) {
    for (const seed of quick ? [1] : [1, 2]) {
      progress(`rate ${rate}, seed ${seed}`);
      const flags = [`--engine=${engine}`, `--rounds=${rounds}`, `--lr=${rate}`, `--seed=${seed}`, '--warmup=40', '--clip=1'];
      pairs.push({ rate, seed, without: await run(corpus, flags), with: await run(corpus, [...flags, '--layer-norm']) });
    }
  }
  const lower = pairs.every((pair) => pair.with.loss < pair.without.loss);
  return {
    tables: [
      {
        caption: `${describeSize(SMALL)}, ${corpus}, ${rounds} rounds of Adam, two workers, engine ${engine}`,
        head: ['Peak rate', 'Seed', 'Without, nats/char', 'With, nats/char', 'Round without', 'Round with'],
        rows: pairs.map(({ rate, seed, without, with: normalised }) => [
          String(rate),
          String(seed),
          decimal(without.loss, 3),
          decimal(normalised.loss, 3),
          `${decimal(without.roundMs, 1)} ms`,
          `${decimal(normalised.roundMs, 1)} ms`,
        ]),
      },
    ],
    goals: [{ text: `lower validation loss in every pair: ${lower ? 'yes' : 'no'}`, met: lower, binding: false }],
    notes: [],
    data: { ...SMALL, corpus, rounds, pairs },
  };
}

/** @param {string} corpus @param {readonly string[]} flags */
async function run(corpus, flags) {
  const own = runFlags(corpus, SMALL, '').filter((flag) => !/^--(seed|out)=/.test(flag));
  const { rounds, finished } = await withScratch((out) =>
    train([...own, `--out=${out}`, '--workers=2', ...flags], { deadlineMs: DEADLINE_MS }),
  );
  return { loss: finished.validationLoss ?? NaN, roundMs: median(rounds.map(({ roundMs }) => roundMs)) };
}

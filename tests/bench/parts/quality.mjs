/** What each flag is worth: validation losses of small models at equal numbers of characters. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { nativeStatus } from '@troupe/native';
import { decimal } from '../report.mjs';
import { corpusPath } from '../runs.mjs';
import { bestOf, trial } from './quality/trial.mjs';
import { FLAGS, SONNETS } from './quality/trials.mjs';

export const title = 'What each flag is worth';
export const about =
  'Small models are trained in one process, with one thread of the native engine and the flags of `troupe train`. "Best" is ' +
  'the lowest of the validations of a run, of the trained or the averaged parameters; "Last" is that of the trained ' +
  'parameters at the end. Runs of a table read the same number of characters or, for the sonnets, take the same number of ' +
  'multiplications. One seed each: differences below 0.01 mean little.';

/** Validations of a run. */
const [OF_SONNETS, OF_FLAGS] = [6, 8];
const SONNETS_FILE = fileURLToPath(new URL('../../../libs/corpus/data/sonnets.txt', import.meta.url));

/** @typedef {import('./quality/trials.mjs').Trial} Trial */
/** @typedef {Trial & import('./quality/trial.mjs').Curve} Outcome */

/** @param {import('../report.mjs').Options} options */
export async function measure(options) {
  const native = nativeStatus();
  if (!native.present) return { skipped: `${native.reason}: ${native.remedy}` };
  const sonnets = await runAll(SONNETS_FILE, SONNETS, OF_SONNETS, options);
  const path = corpusPath('tiny-shakespeare');
  const flags = path === undefined ? [] : await runAll(path, FLAGS, OF_FLAGS, options);
  return {
    tables: [
      tableOf('The built-in sonnets, multiplications of about equal number', sonnets),
      ...(flags.length === 0 ? [] : [tableOf('tiny-shakespeare, 3.07 million characters', flags), averages(flags[0])]),
    ],
    goals: [],
    notes: flags.length > 0 ? [] : ['tiny-shakespeare is missing: put it into the folder that TROUPE_CORPUS_DIR names'],
    data: { sonnets, flags },
  };
}

/**
 * @param {string} file
 * @param {readonly Trial[]} trials
 * @param {number} validations
 * @param {import('../report.mjs').Options} options
 * @returns {Promise<Outcome[]>}
 */
async function runAll(file, trials, validations, { quick, progress }) {
  const text = readFileSync(file, 'utf8');
  const outcomes = [];
  for (const { name, flags } of quick ? trials.slice(0, 1) : trials) {
    const short = [...flags.filter((flag) => !/^--(rounds|hidden)=/.test(flag)), '--rounds=8', '--hidden=16'];
    const outcome = { name, flags, ...(await trial(text, quick ? short : flags, validations)) };
    outcomes.push(outcome);
    progress(`${name}: ${rowOf(outcome).slice(2).join(' | ')}`);
  }
  return outcomes;
}

/** @param {string} caption @param {readonly Outcome[]} outcomes */
function tableOf(caption, outcomes) {
  const head = ['', 'Flags', 'Best', 'At round', 'Last', 'Clipped rounds', 'Tera-operations'];
  return { caption, head, rows: outcomes.map(rowOf) };
}

/** @param {Outcome} outcome */
function rowOf(outcome) {
  const { name, flags, points, clipped, teraflops } = outcome;
  const { loss, round, averaged } = bestOf(outcome);
  return [
    name,
    `\`${flags.join(' ')}\``,
    decimal(loss, 3),
    `${round}${averaged ? ', averaged' : ''}`,
    decimal(points[points.length - 1].trained, 3),
    `${decimal(100 * clipped, 0)} %`,
    decimal(teraflops, 1),
  ];
}

/** The average with its warm-up against one that keeps D of itself from the first round on. @param {Outcome} outcome */
function averages({ points }) {
  const row = (/** @type {string} */ what, /** @type {(point: (typeof points)[number]) => number} */ of) => [
    what,
    ...points.map((point) => decimal(of(point), 3)),
  ];
  return {
    caption: 'The warm-up of the average, in the base run above, by rounds',
    head: ['Parameters', ...points.map(({ round }) => String(round))],
    rows: [
      row('trained', ({ trained }) => trained),
      row('averaged, with warm-up', ({ average = NaN }) => average),
      row('averaged, without', ({ constant = NaN }) => constant),
    ],
  };
}

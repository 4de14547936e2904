/** What each flag is worth: validation losses of small models at equal numbers of characters. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { nativeStatus } from '@troupe/native';
import { decimal } from '../report.mjs';
import { corpusPath } from '../runs.mjs';
import { bestOf, trial } from './quality/trial.mjs';
import { AVERAGES, FLAGS, SONNETS } from './quality/trials.mjs';

export const title = 'What each flag is worth';
export const about =
  'Small models are trained in one process, with one thread of the native engine and the flags of `troupe train`. "Best" is ' +
  'the lowest of the validations of a run, of the trained or the averaged parameters; "Last" is that of the trained ' +
  'parameters at the end. Runs of a table read the same number of characters or, for the sonnets, take the same number of ' +
  'multiplications. One seed each: differences below 0.01 mean little.';

const VALIDATIONS = 8;
const SONNETS_FILE = fileURLToPath(new URL('../../../libs/corpus/data/sonnets.txt', import.meta.url));

/** @typedef {import('./quality/trials.mjs').Trial} Trial */

/** @param {import('../report.mjs').Options} options */
export async function measure(options) {
  const native = nativeStatus();
  if (!native.present) return { skipped: `${native.reason}: ${native.remedy}` };
  const sonnets = await compare('The built-in sonnets, multiplications of about equal number', SONNETS_FILE, SONNETS, options);
  const averages = await compareAverages(options);
  const path = corpusPath('tiny-shakespeare');
  const flags =
    path !== undefined && existsSync(path)
      ? await compare('tiny-shakespeare, 1.64 million characters', path, FLAGS, options)
      : undefined;
  const missing = 'tiny-shakespeare is missing: put it into the folder that TROUPE_CORPUS_DIR names';
  return {
    tables: [sonnets.table, averages.table, ...(flags ? [flags.table] : [])],
    goals: [],
    notes: flags ? [] : [missing],
    data: { sonnets: sonnets.data, averages: averages.data, flags: flags?.data },
  };
}

/**
 * @param {string} caption
 * @param {string} file
 * @param {readonly Trial[]} trials
 * @param {import('../report.mjs').Options} options
 */
async function compare(caption, file, trials, options) {
  const rows = [];
  const data = [];
  for (const { name, flags } of options.quick ? trials.slice(0, 1) : trials) {
    const curve = await run(file, flags, options);
    const { loss, round, averaged } = bestOf(curve);
    options.progress(`${flags.join(' ')}: ${decimal(loss, 4)}`);
    rows.push([
      name,
      `\`${flags.join(' ')}\``,
      decimal(loss, 3),
      `${round}${averaged ? ', averaged' : ''}`,
      decimal(curve.points[curve.points.length - 1].trained, 3),
      `${decimal(100 * curve.clipped, 0)} %`,
      decimal(curve.teraflops, 1),
    ]);
    data.push({ name, flags, ...curve });
  }
  const head = ['', 'Flags', 'Best', 'At round', 'Last', 'Clipped', 'Tera-operations'];
  return { table: { caption, head, rows }, data };
}

/** The average with its warm-up against one that keeps D of itself from the first round on. @param {import('../report.mjs').Options} options */
async function compareAverages(options) {
  const rows = [];
  const data = [];
  for (const { name, flags } of options.quick ? AVERAGES.slice(0, 1) : AVERAGES) {
    const curve = await run(SONNETS_FILE, flags, options);
    const at = curve.points.filter((_, i) => i % 2 === 1);
    const row = (/** @type {string} */ what, /** @type {(point: (typeof at)[number]) => number} */ of) =>
      rows.push([name, what, ...at.map((point) => decimal(of(point), 3))]);
    row('trained', ({ trained }) => trained);
    row('averaged, with warm-up', ({ average = NaN }) => average);
    row('averaged, without', ({ constant = NaN }) => constant);
    data.push({ name, flags, ...curve });
  }
  const head = ['', 'Parameters', ...[1, 2, 3, 4].map((quarter) => `After ${quarter}/4`)];
  const caption = 'The warm-up of the average, on the sonnets';
  return { table: { caption, head: head.slice(0, rows[0].length), rows }, data };
}

/** @param {string} file @param {readonly string[]} flags @param {import('../report.mjs').Options} options */
function run(file, flags, { quick }) {
  const short = quick ? [...flags.filter((flag) => !/^--(rounds|hidden)/.test(flag)), '--rounds=8', '--hidden=16'] : flags;
  return trial(readFileSync(file, 'utf8'), short, quick ? 2 : VALIDATIONS);
}

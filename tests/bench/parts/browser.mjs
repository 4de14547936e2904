/** A browser tab as a worker, and the pages themselves. */
import fs from 'node:fs';
import path from 'node:path';
import { findChromium, HOW_TO_GET_ONE, withChromium } from '../chromium.mjs';
import { company } from './browser/company.mjs';
import { dashboard } from './browser/dashboard.mjs';
import { opening } from './browser/opening.mjs';
import { speed } from './browser/speed.mjs';
import { folders, weight } from './browser/weight.mjs';

export const title = 'In a browser';
export const about =
  'A headless Chromium opens the page for volunteers, which a real coordinator serves on this machine, and presses its ' +
  'button as soon as the button works. Nothing is cached. A tab is compared with a worker process (engine wasm, one thread, ' +
  'share 100 %): each is alone in a run, in turn. chars/s is measured over the rounds after a warm-up; the ratio is the ' +
  'median over turns. Times are taken where the JSON lines of the coordinator are read.';

const SECTIONS = { speed, opening, company, dashboard, weight };

/** @param {import('../report.mjs').Options} options @returns {Promise<import('../report.mjs').Result>} */
export async function measure({ quick, progress }) {
  const executable = findChromium();
  if (executable === undefined) return { skipped: `there is no Chromium: ${HOW_TO_GET_ONE}` };
  const missing = Object.entries(folders()).find(([, folder]) => !fs.existsSync(path.join(folder, 'index.html')));
  if (missing !== undefined) return { skipped: `the page "${missing[0]}" is not built: npm run build` };
  // Chooses sections, for someone who works on one of them.
  const wanted = (process.env.TROUPE_BENCH_BROWSER ?? Object.keys(SECTIONS).join(',')).split(',');
  const sections = Object.entries(SECTIONS).filter(([name]) => wanted.includes(name));
  return withChromium(executable, async (chromium) => {
    /** @type {[string, import('../report.mjs').Measured][]} */
    const results = [];
    for (const [name, section] of sections) {
      results.push([name, await section({ quick, chromium, progress: (text) => progress(`${name}: ${text}`) })]);
    }
    return {
      tables: results.flatMap(([, { tables }]) => tables),
      goals: results.flatMap(([, { goals }]) => goals),
      notes: results.flatMap(([, { notes }]) => notes),
      data: Object.fromEntries(results.map(([name, { data }]) => [name, data])),
    };
  });
}

/** The page of an exported model: how large it is, and how long a reader waits for its first character. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { findChromium, HOW_TO_GET_ONE, withChromium } from '../chromium.mjs';
import { median } from '../contestant.mjs';
import { decimal, ms } from '../report.mjs';
import { startTroupe, withScratch } from '../runs.mjs';

export const title = 'The page of an exported model';
export const about =
  '`troupe export --web` of a model of 2x256 after one round, whose weights are as many and as long as those of a trained one. A headless ' +
  'Chromium opens the file, and a script presses Write as soon as the button works. The time is taken in the page, from its navigation to the first ' +
  'character that it has written. Each opening is a new tab.';

const OPENINGS = 9;
const DEADLINE_MS = 120_000;
const GOAL_MS = 1_000;
const GOAL_BYTES = 3e6;

/** Runs first in the page. The frame in which a character stands there is the one that a reader sees. */
const SCRIPT = `
  const look = () => {
    const [write, written] = ['write', 'written'].map((id) => document.getElementById(id));
    if (written && written.textContent !== '') window.firstMs = performance.now();
    else {
      if (write && !write.disabled && !window.pressed) { window.pressed = true; write.click(); }
      setTimeout(look, 1);
    }
  };
  look();`;

/** @param {import('../report.mjs').Options} options @returns {Promise<import('../report.mjs').Result>} */
export async function measure({ quick, progress }) {
  const executable = findChromium();
  if (executable === undefined) return { skipped: `there is no Chromium: ${HOW_TO_GET_ONE}` };
  return withScratch(async (folder) => {
    progress('exporting');
    const page = path.join(folder, 'page.html');
    await exportPage(folder, page);
    const { size } = fs.statSync(page);
    return withChromium(executable, async (chromium) => {
      /** @type {number[]} */
      const times = [];
      for (let turn = 0; turn < (quick ? 1 : OPENINGS); turn++) {
        progress(`opening ${turn + 1}`);
        const tab = await chromium.tab(SCRIPT);
        await tab.open(pathToFileURL(page).href);
        times.push(await tab.until('window.firstMs', DEADLINE_MS));
        await tab.close();
      }
      return reportOf(size, times);
    });
  });
}

/** @param {string} folder @param {string} page */
async function exportPage(folder, page) {
  const out = path.join(folder, 'run');
  const model = ['--layers', '2', '--hidden', '256', '--rounds', '1', '--workers', '1', '--port', '0', '--out', out, '--json'];
  const options = { onMessage: () => undefined, deadlineMs: DEADLINE_MS };
  await startTroupe(['train', ...model], options).ended;
  await startTroupe(['export', '--web', out, '--out', page], options).ended;
}

/** @param {number} bytes @param {readonly number[]} times @returns {import('../report.mjs').Measured} */
function reportOf(bytes, times) {
  const middle = median(times);
  const load = decimal(os.loadavg()[0], 1);
  return {
    tables: [
      {
        head: ['model', 'page', 'first character, median', 'fastest', 'slowest', 'openings', 'load'],
        rows: [
          [
            '2x256',
            `${decimal(bytes / 1e6, 2)} MB`,
            ...[middle, Math.min(...times), Math.max(...times)].map(ms),
            `${times.length}`,
            load,
          ],
        ],
      },
    ],
    goals: [
      { text: 'the page of 2x256 has at most 3 MB', met: bytes <= GOAL_BYTES, binding: true },
      { text: 'the first character is there within 1 s', met: middle <= GOAL_MS, binding: false },
    ],
    notes: [],
    data: { bytes, times, load: Number(load) },
  };
}

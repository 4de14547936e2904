/** How much a browser loads to show each page. */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { decimal } from '../../report.mjs';

const APPS = fileURLToPath(new URL('../../../../apps', import.meta.url));
const GOAL_BYTES = 150_000;
/** What the volunteers' page loads after its button is pressed, including the engine. */
const TRAINER = ['trainer.js', 'engine-thread.js'];

/** The folders of the built pages. */
export function folders() {
  return { volunteer: path.join(APPS, 'volunteer/dist'), dashboard: path.join(APPS, 'dashboard/dist') };
}

/** @returns {import('../../report.mjs').Measured} */
export function weight() {
  const { volunteer, dashboard } = folders();
  const pages = Object.entries({ volunteer, dashboard }).map(([name, folder]) => {
    const files = reach(folder, ['index.html']);
    return { name, files, bytes: zipped(folder, files) };
  });
  const known = new Set(pages[0].files);
  const trainer = reach(volunteer, TRAINER).filter((file) => !known.has(file));
  const later = { name: 'volunteer, after the button: trainer and engine', files: trainer, bytes: zipped(volunteer, trainer) };
  return {
    tables: [
      {
        caption: 'First load, gzipped',
        head: ['Page', 'kB', 'Files'],
        rows: [...pages, later].map(({ name, files, bytes }) => [name, kilobytes(bytes), files.join(', ')]),
      },
    ],
    goals: pages.map(({ name, bytes }) => ({
      text: `${name}: first load of ${kilobytes(bytes)} kB gzipped (goal: at most ${GOAL_BYTES / 1000} kB)`,
      met: bytes <= GOAL_BYTES,
      binding: false,
    })),
    notes: [],
    data: [...pages, later],
  };
}

/** These files and everything they load on their own: scripts and styles of a page, static imports of a script. @param {string} folder @param {readonly string[]} names */
function reach(folder, names) {
  const found = new Set(names);
  for (const name of found) {
    const text = fs.readFileSync(path.join(folder, name), 'utf8');
    const loads = name.endsWith('.html')
      ? text.matchAll(/<(?:script|link)\b[^>]*?\b(?:src|href)="(?!data:)([^"]+)"/g)
      : text.matchAll(/\b(?:from|import)\s*"(\.\/[^"]+)"/g);
    for (const [, file] of loads) found.add(path.normalize(file));
  }
  return [...found];
}

/** @param {string} folder @param {readonly string[]} files */
function zipped(folder, files) {
  return files.reduce((sum, file) => sum + gzipSync(fs.readFileSync(path.join(folder, file))).length, 0);
}

function kilobytes(/** @type {number} */ bytes) {
  return decimal(bytes / 1000, 1);
}

// Bundles the volunteer's page into apps/volunteer/dist: page.js, the trainer and the engine threads (Web Workers), and what stands
// in static/. Usage: node apps/volunteer/scripts/build.mjs [folder]
import fs from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const app = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

/** @param {string} folder is emptied of what an earlier build left */
export async function buildPage(folder = path.join(app, 'dist')) {
  await fs.mkdir(folder, { recursive: true });
  for (const name of await fs.readdir(folder)) {
    if (/\.(js|css|html|json|txt)$/.test(name)) await fs.rm(path.join(folder, name));
  }
  const { metafile } = await build({
    absWorkingDir: app,
    entryPoints: { page: 'src/page/main.ts', trainer: 'src/trainer/main.ts', 'engine-thread': 'src/trainer/engine-thread.ts' },
    outdir: folder,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'browser',
    target: ['chrome91', 'firefox114', 'safari16.4'],
    conditions: ['@troupe/source'],
    minify: true,
    legalComments: 'eof',
    logLevel: 'warning',
    metafile: true,
  });
  await fs.cp(path.join(app, 'static'), folder, { recursive: true });
  await fs.writeFile(path.join(folder, 'licenses.txt'), await licensesOf(Object.keys(metafile.inputs)));
}

/**
 * The licenses of what others wrote and the bundle holds, which they want to go with it.
 * @param {string[]} inputs files that were bundled, relative to the app
 */
async function licensesOf(inputs) {
  const packages = new Set(inputs.flatMap((file) => /^.*node_modules\/((@[^/]+\/)?[^/]+)/.exec(file)?.[0] ?? []));
  const texts = [...packages].sort().map(async (name) => {
    const home = path.resolve(app, name);
    const license = (await fs.readdir(home)).find((file) => /^licen[cs]e/i.test(file));
    if (license === undefined) throw new Error(`${name} is bundled and has no license file`);
    return `${name.replace(/^.*node_modules\//, '')}\n\n${await fs.readFile(path.join(home, license), 'utf8')}`;
  });
  return (await Promise.all(texts)).join('\n\n');
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await buildPage(process.argv[2] && path.resolve(process.argv[2]));

// Bundles the dashboard into apps/dashboard/dist: dashboard.js, dashboard.css with the charts' own, and what stands in static/.
// Usage: node apps/dashboard/scripts/build.mjs [folder]
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
    entryPoints: { dashboard: 'src/main.ts', 'dashboard-style': 'src/dashboard.css' },
    outdir: folder,
    bundle: true,
    format: 'esm',
    platform: 'browser',
    target: ['chrome116', 'firefox124', 'safari17.4'],
    conditions: ['@troupe/source'],
    minify: true,
    legalComments: 'eof',
    logLevel: 'warning',
    metafile: true,
  });
  await fs.rename(path.join(folder, 'dashboard-style.css'), path.join(folder, 'dashboard.css'));
  await fs.cp(path.join(app, 'static'), folder, { recursive: true });
  await fs.writeFile(path.join(folder, 'licenses.txt'), await licensesOf(Object.keys(metafile.inputs)));
}

/**
 * The licenses of what others wrote and the bundle holds, which they want to go with it.
 * @param {string[]} inputs files that were bundled, relative to the app
 */
async function licensesOf(inputs) {
  const sources = new Map(inputs.flatMap((file) => bundledFrom(file) ?? []).map(([home, file]) => [home, file]));
  const texts = [...sources].sort().map(async ([home, file]) => `${path.basename(home)}\n\n${await licenseOf(home, file)}`);
  return (await Promise.all(texts)).join('\n\n');
}

/** The folder of a package and the file of it that was bundled; undefined for our own. */
function bundledFrom(file) {
  const home = /^.*node_modules\/((@[^/]+\/)?[^/]+)/.exec(file)?.[0];
  return home && [[path.resolve(app, home), path.resolve(app, file)]];
}

/** Its license file, else the comment at the head of the source. */
async function licenseOf(home, file) {
  const license = (await fs.readdir(home)).find((name) => /^licen[cs]e/i.test(name));
  if (license !== undefined) return fs.readFile(path.join(home, license), 'utf8');
  const head = /^(\/\/.*\n)+/.exec(await fs.readFile(file, 'utf8'))?.[0];
  if (!head?.includes('Copyright')) throw new Error(`${home} is bundled and says nothing of its license`);
  return head;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await buildPage(process.argv[2] && path.resolve(process.argv[2]));

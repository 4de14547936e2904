// Bundles a page into its dist/: scripts and style sheets, the files of static/, and the licenses
// of third-party code. Its page.json lists the files to build with the source of each (`files`),
// and the oldest browsers to support, as esbuild names them. Usage: node scripts/build-page.mjs
// apps/volunteer
import fs from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

/** @param {string} folder of the app */
export async function buildPage(folder) {
  const app = path.join(root, folder);
  const { files, browsers } = JSON.parse(await fs.readFile(path.join(app, 'page.json'), 'utf8'));
  const dist = path.join(app, 'dist');
  await fs.mkdir(dist, { recursive: true });
  for (const old of await fs.readdir(dist)) {
    // Left by an earlier build.
    if (/\.(js|css|html|json|txt|png)$/.test(old)) await fs.rm(path.join(dist, old));
  }
  const { metafile } = await build({
    absWorkingDir: app,
    entryPoints: Object.entries(files).map(([file, source]) => ({ in: source, out: path.parse(file).name })),
    outdir: dist,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'browser',
    target: browsers,
    conditions: ['@troupe/source'],
    minify: true,
    legalComments: 'eof',
    logLevel: 'warning',
    metafile: true,
  });
  await fs.cp(path.join(app, 'static'), dist, { recursive: true });
  await fs.writeFile(path.join(dist, 'licenses.txt'), await licensesOf(app, Object.keys(metafile.inputs)));
}

/**
 * The licenses of the third-party code in the bundle, which must be distributed with it.
 * @param {string} app
 * @param {string[]} inputs files that were bundled, relative to the app
 */
async function licensesOf(app, inputs) {
  const bundled = new Map(inputs.flatMap((file) => packageOf(file).map((name) => [name, path.resolve(app, file)])));
  const texts = [...bundled].sort().map(async ([name, file]) => `${name}\n\n${await licenseOf(name, file)}`);
  return (await Promise.all(texts)).join('\n\n');
}

/** The package that a file belongs to; none for our own files. */
function packageOf(file) {
  return /node_modules\/((?:@[^/]+\/)?[^/]+)\/(?!.*node_modules\/)/.exec(file)?.slice(1) ?? [];
}

/** Its license file, else the comment at the head of the source. */
async function licenseOf(name, file) {
  const home = file.slice(0, file.lastIndexOf(`node_modules/${name}/`) + `node_modules/${name}`.length);
  const license = (await fs.readdir(home)).find((entry) => /^licen[cs]e/i.test(entry));
  if (license !== undefined) return fs.readFile(path.join(home, license), 'utf8');
  const head = /^(\/\/.*\n)+/.exec(await fs.readFile(file, 'utf8'))?.[0];
  if (!head?.includes('Copyright')) throw new Error(`${name} is bundled and has no license text`);
  return head;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await buildPage(process.argv[2]);

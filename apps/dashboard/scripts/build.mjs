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
    if (/\.(js|css|html|json)$/.test(name)) await fs.rm(path.join(folder, name));
  }
  await build({
    absWorkingDir: app,
    entryPoints: { dashboard: 'src/main.ts', 'dashboard-style': 'src/dashboard.css' },
    outdir: folder,
    bundle: true,
    format: 'esm',
    platform: 'browser',
    target: ['chrome91', 'firefox114', 'safari16.4'],
    conditions: ['@troupe/source'],
    minify: true,
    legalComments: 'eof',
    logLevel: 'warning',
  });
  await fs.rename(path.join(folder, 'dashboard-style.css'), path.join(folder, 'dashboard.css'));
  await fs.cp(path.join(app, 'static'), folder, { recursive: true });
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await buildPage(process.argv[2] && path.resolve(process.argv[2]));

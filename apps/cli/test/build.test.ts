/** `npm ci` compiles Troupe. Some installations leave out what that needs. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, it } from 'vitest';

const script = fileURLToPath(new URL('../../../scripts/build.mjs', import.meta.url));
const folders: string[] = [];
afterEach(() => folders.splice(0).forEach((folder) => rmSync(folder, { recursive: true, force: true })));

/** Builds in a folder with these files. */
function build(files: Readonly<Record<string, string>>) {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'troupe-build-'));
  folders.push(folder);
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
    writeFileSync(path.join(folder, name), text);
  }
  mkdirSync(path.join(folder, 'scripts'), { recursive: true });
  cpSync(script, path.join(folder, 'scripts/build.mjs'));
  const { status, stderr } = spawnSync(process.execPath, [path.join(folder, 'scripts/build.mjs')], { encoding: 'utf8' });
  return { status, lines: stderr.trimEnd().split('\n') };
}

const TOOLS = Object.fromEntries(
  ['nx', 'typescript', 'assemblyscript', 'esbuild'].map((name) => [`node_modules/${name}/package.json`, '{}']),
);

it('an installation without development dependencies says in one line what to type', () => {
  const { status, lines } = build({});
  expect(lines).toEqual([expect.stringContaining('npm ci --include=dev --include=optional')]);
  expect(lines[0]).toContain('nx, typescript, assemblyscript, esbuild');
  expect(status).toBe(1);
});

it('an installation without optional dependencies says in one line what to type', () => {
  const { status, lines } = build({
    ...TOOLS,
    'libs/native/scripts/build.mjs': '',
    'node_modules/nx/dist/bin/nx.js': "throw new Error('no program for this platform');",
  });
  expect(lines).toEqual([expect.stringContaining('npm ci --include=dev --include=optional')]);
  expect(lines[0]).toContain(`@esbuild/${process.platform}-${process.arch}`);
  expect(status).toBe(1);
});

it('an installation of compiled files needs no build tools', () => {
  const { status, lines } = build({ 'apps/cli/dist/main.js': '' });
  expect(lines).toEqual([expect.stringContaining('not built')]);
  expect(status).toBe(0);
});

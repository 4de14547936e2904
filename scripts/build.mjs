// Builds what is out of date: the native engine if there is a C compiler, the WebAssembly kernels
// (Nx, cached), TypeScript, then the two pages. Quiet unless something fails.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

/** Runs a script; its output is shown only when it fails. */
function run(script, args = []) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [path.join(root, script), ...args], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, NX_TUI: 'false', NX_NO_CLOUD: 'true' },
  });
  if (status === 0) return;
  process.stderr.write(`${stdout}${stderr}\nThe build failed at ${path.basename(script)} ${args.join(' ')}.\n`);
  process.exitCode = 1;
  throw new Error('build failed');
}

const started = performance.now();
try {
  run('libs/native/scripts/build.mjs');
  run('node_modules/nx/dist/bin/nx.js', ['run-many', '-t', 'wasm', '--outputStyle=static']);
  run('node_modules/typescript/bin/tsc', ['-b']);
  for (const page of ['volunteer', 'dashboard']) run('scripts/build-page.mjs', [`apps/${page}`]);
  process.stderr.write(`built in ${((performance.now() - started) / 1000).toFixed(1)} s\n`);
} catch (error) {
  if (process.exitCode !== 1) throw error;
}

// Builds what is out of date: the native engine if there is a C compiler, the WebAssembly kernels
// (Nx, cached), TypeScript, then the pages. Quiet unless something fails.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const modules = path.join(root, 'node_modules');

/** Development dependencies that the build needs. */
const TOOLS = ['nx', 'typescript', 'assemblyscript', 'esbuild'];
/** Each of these tools brings its program for this platform as an optional dependency. */
const PLATFORM_TOOLS = { nx: ['@nx', 'nx-'], esbuild: ['@esbuild', ''] };

class BuildError extends Error {}

/** Runs a script; its output is shown only when it fails. */
function run(script, args = []) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [path.join(root, script), ...args], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, NX_TUI: 'false', NX_NO_CLOUD: 'true' },
  });
  if (status === 0) return;
  const incomplete = toolsWithoutProgram();
  if (incomplete.length > 0) throw new BuildError(reinstall(incomplete));
  throw new BuildError(`${stdout}${stderr}\nThe build failed at ${path.basename(script)} ${args.join(' ')}.`);
}

function toolsWithoutProgram() {
  return Object.values(PLATFORM_TOOLS).flatMap(([scope, prefix]) => {
    const wanted = `${prefix}${process.platform}-${process.arch}`;
    const folder = path.join(modules, scope);
    const found = existsSync(folder) && readdirSync(folder).some((name) => name.startsWith(wanted));
    return found ? [] : [`@${scope.slice(1)}/${wanted}`];
  });
}

function reinstall(missing) {
  return (
    `Troupe is compiled when it is installed, and this installation left out ${missing.join(', ')}. ` +
    'Type: npm ci --include=dev --include=optional'
  );
}

function buildAll() {
  const missing = TOOLS.filter((tool) => !existsSync(path.join(modules, tool, 'package.json')));
  if (missing.length > 0) {
    if (!existsSync(path.join(root, 'apps/cli/dist/main.js'))) throw new BuildError(reinstall(missing));
    process.stderr.write('not built: the build tools are not installed, and the compiled files are there\n');
    return;
  }
  const started = performance.now();
  run('libs/native/scripts/build.mjs');
  run('node_modules/nx/dist/bin/nx.js', ['run-many', '-t', 'wasm', '--outputStyle=static']);
  run('node_modules/typescript/bin/tsc', ['-b']);
  for (const page of ['volunteer', 'dashboard', 'player']) run('scripts/build-page.mjs', [`apps/${page}`]);
  process.stderr.write(`built in ${((performance.now() - started) / 1000).toFixed(1)} s\n`);
}

try {
  buildAll();
} catch (error) {
  if (!(error instanceof BuildError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}

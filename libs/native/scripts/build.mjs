// Compiles the native engine: csrc/ to dist/troupe.node, once for each instruction set of the
// CPU's family. The engine is optional, so a missing or failing compiler is no error: the exit
// code is 0 and the addon stays absent. --verbose (or TROUPE_DEBUG) reports what was done, or why
// nothing was.
import { execFile, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const project = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const sources = path.join(project, 'csrc');
const verbose = Boolean(process.env.TROUPE_DEBUG) || process.argv.includes('--verbose');
const outputOption = process.argv.find((argument) => argument.startsWith('--out='));
const output = path.resolve(outputOption?.slice('--out='.length) ?? path.join(project, 'dist'));

const COMMON = ['-std=gnu11', '-O3', '-fPIC', '-fvisibility=hidden', '-Wall'];

/** Compiler flags of each instruction set. All sets are compiled; the addon chooses at run time. */
const INSTRUCTION_SETS = {
  x64: {
    avx2: ['-mavx2', '-mfma'],
    avx512: ['-mavx512f', '-mavx512vl', '-mavx512dq', '-mavx512bw', '-mavx2', '-mfma'],
  },
  arm64: { neon: [] },
};

const LINK = {
  linux: ['-shared'],
  darwin: ['-bundle', '-undefined', 'dynamic_lookup'],
};

/** Why there is no addon. Expected on some hosts, so reported only with --verbose. */
class Unavailable extends Error {}

/** An installation does not fail because of a read-only folder or a full disk either. */
const isExpected = (error) => error instanceof Unavailable || typeof error?.syscall === 'string';

async function run(compiler, args) {
  try {
    await promisify(execFile)(compiler, args, { cwd: sources });
  } catch (error) {
    throw new Unavailable(`${compiler} ${args.join(' ')} failed: ${error.message}`);
  }
}

/** The first of $CC, cc, clang and gcc that runs, and its version. */
function findCompiler() {
  for (const compiler of [process.env.CC, 'cc', 'clang', 'gcc']) {
    if (!compiler) continue;
    const { status, stdout } = spawnSync(compiler, ['--version'], { encoding: 'utf8' });
    if (status === 0) return { compiler, version: stdout };
  }
  throw new Unavailable('no C compiler: set CC, or install one (apt install gcc, xcode-select --install)');
}

function headers() {
  try {
    return createRequire(import.meta.url)('node-api-headers').include_dir;
  } catch {
    throw new Unavailable('the package node-api-headers is not installed: install Troupe again');
  }
}

function hashOf(...parts) {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
}

const sourcesHash = () =>
  hashOf(
    ...readdirSync(sources)
      .sort()
      .flatMap((file) => [file, readFileSync(path.join(sources, file))]),
  );

async function compile({ compiler, sets, link, include }, folder) {
  const compiled = Object.entries(sets).map(async ([name, flags]) => {
    const object = path.join(folder, `${name}.o`);
    await run(compiler, [...COMMON, ...flags, '-c', 'variant.c', '-o', object]);
    return object;
  });
  // Waits for all, so that none still writes when the folder is removed.
  const failed = (await Promise.allSettled(compiled)).find(({ status }) => status === 'rejected');
  if (failed) throw failed.reason;
  const built = path.join(folder, 'troupe.node');
  await run(compiler, [...COMMON, `-I${include}`, ...link, 'addon.c', ...(await Promise.all(compiled)), '-lm', '-o', built]);
  return built;
}

const addon = path.join(output, 'troupe.node');
const stampFile = path.join(output, 'troupe.stamp');

/** What the existing addon was built from: hash of the sources, hash of compiler and flags. */
function readStamp() {
  if (!existsSync(addon) || !existsSync(stampFile)) return [];
  return readFileSync(stampFile, 'utf8').split('\n');
}

/**
 * Addon and stamp are each renamed into place as a whole; without the right stamp the next build
 * compiles again.
 */
async function build() {
  const sets = INSTRUCTION_SETS[process.arch];
  const link = LINK[process.platform];
  if (!sets || !link) throw new Unavailable(`the native engine does not support ${process.platform} on ${process.arch}`);
  const recipe = { ...findCompiler(), sets, link, include: headers(), common: COMMON };
  const stamp = [sourcesHash(), hashOf(JSON.stringify(recipe))];
  if (readStamp().join() === stamp.join()) return 'up to date';
  mkdirSync(output, { recursive: true });
  const folder = mkdtempSync(path.join(output, 'native-'));
  try {
    const built = await compile(recipe, folder);
    writeFileSync(path.join(folder, 'stamp'), stamp.join('\n'));
    rmSync(stampFile, { force: true });
    renameSync(built, addon);
    renameSync(path.join(folder, 'stamp'), stampFile);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return `built with ${recipe.compiler}`;
}

/** An addon built from other sources would not match the TypeScript around it. */
function removeOutdated() {
  if (readStamp()[0] === sourcesHash()) return;
  rmSync(addon, { force: true });
  rmSync(stampFile, { force: true });
}

try {
  const outcome = await build();
  if (verbose) process.stderr.write(`native engine: ${outcome}\n`);
} catch (error) {
  if (!isExpected(error)) throw error;
  try {
    removeOutdated();
  } catch (left) {
    if (!isExpected(left)) throw left;
    error.message += `; an outdated addon could not be removed: ${left.message}`;
  }
  if (verbose) process.stderr.write(`native engine: not built. ${error.message}\n`);
}

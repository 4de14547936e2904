/**
 * Runs on a host, which has nothing but Node and tar: installs a release in the cache of the user, and then runs the supervisor in it. The
 * launcher sends this file through the channel, so it imports nothing of ours but types.
 */
import { createHash, randomBytes } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readdirSync, renameSync, rmSync, statSync, utimesSync, writeSync } from 'node:fs';
import { homedir, hostname } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { FromHost, HostFault, InstallPlan } from './wire.js';

/** Releases that stay, at least. */
const KEEP = 3;
const HOUR_MS = 3_600_000;
/** A supervisor marks its release every hour, so one that is older than this is not in use. */
const UNUSED_MS = 3 * HOUR_MS;
const UNFINISHED = '.incoming-';
/** Where npm would put it below a folder, so that Troupe knows how it was installed. */
const PACKAGE = 'node_modules/troupe';
const COMPILE_MS = 120_000;

class Fault extends Error {
  readonly code: HostFault;
  constructor(code: HostFault, detail: string) {
    super(detail);
    this.code = code;
  }
}

function say(message: FromHost): void {
  process.stdout.write(`troupe:${JSON.stringify(message)}\n`);
}

/** The next bytes of standard input; undefined at its end. */
async function readSome(): Promise<Buffer | undefined> {
  for (;;) {
    const chunk = process.stdin.read() as Buffer | null;
    if (chunk !== null) return chunk;
    if (process.stdin.readableEnded || process.stdin.destroyed) return undefined;
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        for (const event of ['readable', 'end', 'close']) process.stdin.off(event, wake);
        resolve();
      };
      for (const event of ['readable', 'end', 'close']) process.stdin.on(event, wake);
    });
  }
}

/** The next line of standard input; undefined at its end. */
async function readLine(): Promise<string | undefined> {
  let line = Buffer.alloc(0);
  for (let chunk = await readSome(); chunk !== undefined; chunk = await readSome()) {
    line = Buffer.concat([line, chunk]);
    const end = line.indexOf('\n');
    if (end < 0) continue;
    process.stdin.unshift(line.subarray(end + 1));
    return line.subarray(0, end).toString();
  }
  return undefined;
}

/** Writes the next `bytes` of standard input to a file. @returns their SHA-256; undefined if they end early */
async function receive(file: string, bytes: number): Promise<string | undefined> {
  const hash = createHash('sha256');
  const fd = openSync(file, 'wx', 0o600);
  try {
    let left = bytes;
    while (left > 0) {
      const chunk = await readSome();
      if (chunk === undefined) return undefined;
      const part = chunk.subarray(0, left);
      if (part.length < chunk.length) process.stdin.unshift(chunk.subarray(part.length));
      left -= part.length;
      hash.update(part);
      for (let at = 0; at < part.length;) at += writeSync(fd, part, at);
    }
  } finally {
    closeSync(fd);
  }
  return hash.digest('hex');
}

/**
 * Unpacks the release beside its place and renames it into place whole, so an interrupted copy is never used.
 * @returns false if the launcher is gone
 */
async function install(cache: string, { sha256, bytes }: InstallPlan): Promise<boolean> {
  const temporary = path.join(cache, `${UNFINISHED}${hostname()}-${process.pid}-${randomBytes(4).toString('hex')}`);
  const archive = path.join(temporary, 'release.tgz');
  const folder = path.join(temporary, 'release');
  mkdirSync(path.join(folder, PACKAGE), { recursive: true, mode: 0o700 });
  try {
    say({ at: 'wanted' });
    const found = await receive(archive, bytes);
    if (found === undefined) return false;
    if (found !== sha256) throw new Fault('bad_copy', found);
    say({ at: 'installing' });
    unpack(archive, path.join(folder, PACKAGE));
    compileNative(path.join(folder, PACKAGE));
    place(folder, path.join(cache, sha256));
    return true;
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

function unpack(archive: string, folder: string): void {
  const { error, status, stderr } = spawnSync('tar', ['-xzf', archive, '-C', folder, '--strip-components=1'], {
    encoding: 'utf8',
  });
  if (error !== undefined) throw new Fault('no_tar', error.message);
  if (status === 0) return;
  const detail = stderr.trim().split('\n')[0];
  throw new Fault(/no space left|quota/i.test(stderr) ? 'disk_full' : 'cannot_install', `tar: ${detail}`);
}

/** npm would compile the engine in C when it installs the package. Without it, workers compute in WebAssembly. */
function compileNative(release: string): void {
  const script = path.join(release, 'node_modules/@troupe/native/scripts/build.mjs');
  if (statSync(script, { throwIfNoEntry: false }) === undefined) return;
  spawnSync(process.execPath, [script], { cwd: release, stdio: 'ignore', timeout: COMPILE_MS });
}

function place(folder: string, to: string): void {
  try {
    renameSync(folder, to);
  } catch (error) {
    // Another host that shares this folder was faster.
    if (!['ENOTEMPTY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

function isFile(file: string): boolean {
  return statSync(file, { throwIfNoEntry: false })?.isFile() === true;
}

/** Removes releases and programs of Node that nobody has used for hours, except the newest. What cannot be removed stays. */
function prune(cache: string, used: readonly string[]): void {
  const now = Date.now();
  const found = readdirSync(cache).flatMap((name) => {
    const changedMs = statSync(path.join(cache, name), { throwIfNoEntry: false })?.mtimeMs;
    return changedMs === undefined || used.includes(name) ? [] : [{ name, changedMs }];
  });
  const newest = found.sort((a, b) => b.changedMs - a.changedMs);
  const releases = newest.filter(({ name }) => /^[0-9a-f]{64}$/.test(name));
  const nodes = newest.filter(({ name }) => /^node-[0-9a-f]{64}$/.test(name));
  const parts = found.filter(({ name }) => name.startsWith(UNFINISHED));
  for (const { name, changedMs } of [...releases.slice(KEEP - 1), ...nodes.slice(1), ...parts]) {
    if (now - changedMs < UNUSED_MS) continue;
    // First away from its place, so that nobody uses half of it.
    const away = path.join(cache, `${UNFINISHED}old-${randomBytes(4).toString('hex')}`);
    try {
      renameSync(path.join(cache, name), away);
      rmSync(away, { recursive: true, force: true });
    } catch {
      // Another host removes it, or its owner has changed.
    }
  }
}

/** The folder of the Node that runs this, if a launch has brought it. */
function nodeIn(cache: string): readonly string[] {
  const folder = path.dirname(path.dirname(process.execPath));
  return path.dirname(folder) === cache ? [folder] : [];
}

/** Shows other installers that this release is in use. */
function mark(folder: string): void {
  try {
    utimesSync(folder, new Date(), new Date());
  } catch {
    // A read-only cache is never pruned either.
  }
}

function faultOf(error: unknown): Fault {
  if (error instanceof Fault) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT') return new Fault('disk_full', message);
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') return new Fault('no_permission', message);
  return new Fault('cannot_install', message);
}

/** @returns the module to run; undefined if the launcher is gone, or only wants the release in place */
async function prepare(): Promise<string | undefined> {
  const line = await readLine();
  if (line === undefined) return undefined;
  say({ at: 'host', platform: process.platform, arch: process.arch, node: process.versions.node });
  const plan = JSON.parse(line) as InstallPlan;
  const cache = plan.cache ?? path.join(process.env.XDG_CACHE_HOME || path.join(homedir(), '.cache'), 'troupe', 'launch');
  const folder = path.join(cache, plan.sha256);
  const module = path.join(folder, PACKAGE, plan.entry);
  mkdirSync(cache, { recursive: true, mode: 0o700 });
  if (!isFile(module) && !(await install(cache, plan))) return undefined;
  if (!isFile(module)) throw new Fault('other_release', plan.entry);
  const used = [folder, ...nodeIn(cache)];
  used.forEach(mark);
  prune(
    cache,
    used.map((each) => path.basename(each)),
  );
  say({ at: 'installed', module });
  if (plan.only) return undefined;
  setInterval(() => used.forEach(mark), HOUR_MS).unref();
  return module;
}

let entry: string | undefined;
try {
  entry = await prepare();
} catch (error) {
  const { code, message } = faultOf(error);
  say({ at: 'failed', code, detail: message });
}
if (entry === undefined) process.stdin.destroy();
else await import(pathToFileURL(entry).href);

/**
 * A release, installed by npm into an empty folder without a registry, as people do it on machines
 * that have no clone.
 */
import { execFile, spawnSync } from 'node:child_process';
import fs from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { areReady, named, root, run, scratch, SMALL, start, whilePaused, type Line } from './troupe.js';

const call = promisify(execFile);
const ADMIN = 'a-token-of-admins';
const MAX_TARBALL_BYTES = 4e6;
const MAX_INSTALLED_BYTES = 30e6;

/** A compiler that only says so, because compiling takes seconds. */
const PRETENDER = '#!/bin/sh\nfor last; do :; done\n[ "$1" = --version ] || echo compiled > "$last"\n';

interface Release {
  readonly path: string;
  readonly sha256: string;
  readonly sizeBytes: number;
}

let folder = '';
let prefix = '';
/** Where people work: no clone is near. */
let cwd = '';
let command = '';
let env: Record<string, string> = {};
let release: Release;

const hasCompiler = ['cc', 'clang', 'gcc'].some((name) => spawnSync(name, ['--version']).status === 0);
const addon = () => path.join(prefix, 'lib/node_modules/troupe/node_modules/@troupe/native/dist/troupe.node');

/** The environment of a login shell: npm, which runs these tests, adds its own settings for this clone. */
function loginEnvironment(): Record<string, string> {
  const others = Object.entries(process.env).filter(([name]) => !/^(npm_|INIT_CWD$|NODE_OPTIONS$|VITEST)/i.test(name));
  return { ...(Object.fromEntries(others) as Record<string, string>), NODE_ENV: 'production', NO_COLOR: '1' };
}

/** What a person types there. */
const type = (line: string) => call('sh', ['-c', line], { cwd, env });

/** The release that this copy makes of itself. */
async function releaseOf(copy: string): Promise<Release> {
  const script = pathToFileURL(path.join(copy, 'apps/cli/dist/release.js')).href;
  const code = `import { releaseTarball } from ${JSON.stringify(script)};
    console.log(JSON.stringify(await releaseTarball(new AbortController().signal)));`;
  const { stdout } = await call(process.execPath, ['--input-type=module', '--eval', code], { cwd, env });
  return JSON.parse(stdout) as Release;
}

async function sizeOf(parent: string): Promise<number> {
  const entries = await fs.readdir(parent, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => fs.stat(path.join(entry.parentPath, entry.name)));
  return (await Promise.all(files)).reduce((sum, { size }) => sum + size, 0);
}

beforeAll(async () => {
  folder = await scratch();
  [prefix, cwd] = [path.join(folder, 'prefix'), path.join(folder, 'empty')];
  await Promise.all([prefix, cwd].map((each) => fs.mkdir(each)));
  command = path.join(prefix, 'bin/troupe');
  const own = loginEnvironment();
  env = { ...own, PATH: `${path.join(prefix, 'bin')}:${own.PATH}`, XDG_CACHE_HOME: path.join(folder, 'cache') };
  release = await releaseOf(root);
  const npmCache = path.join(folder, 'npm-cache');
  await type(`npm install --global --omit=optional --offline --prefix ${prefix} --cache ${npmCache} ${release.path}`);
}, 120_000);
afterAll(() => fs.rm(folder, { recursive: true, force: true }));

describe('an installed release', () => {
  it('is small', async () => {
    expect(release.sizeBytes).toBeLessThan(MAX_TARBALL_BYTES);
    expect(await sizeOf(prefix)).toBeLessThan(MAX_INSTALLED_BYTES);
  });

  it('prints help, whose commands are those of an installation', async () => {
    const { stdout } = await type('troupe --help');
    expect(stdout).toMatch(/First steps:\n {2}troupe train\n/);
  });

  // Takes seconds on two idle cores.
  it(
    'trains with two workers that are started with the printed command, serves its pages, and lets the model write',
    { timeout: 240_000 },
    async () => {
      await fs.writeFile(path.join(cwd, 'text.txt'), 'The quick brown fox jumps over the lazy dog.\n'.repeat(200));
      const args = ['coordinator', ...SMALL, '--corpus', 'text.txt', '--rounds', '60', '--port', '0', '--keep-serving', '--json'];
      const training = start(args, { cwd, env: { ...env, TROUPE_ADMIN_TOKEN: ADMIN }, command });
      const listening = await training.line(named('listening'));
      await checkPages(listening);

      expect(listening.joinCommand).toMatch(/^TROUPE_TOKEN=\S+ troupe worker ws:/);
      const names = ['one', 'two'];
      let ended: Promise<unknown> | undefined;
      await whilePaused(String(listening.address), ADMIN, async () => {
        ended = Promise.all(names.map((name) => type(`${String(listening.joinCommand)} --name ${name}`)));
        await Promise.race([ended, areReady(training, names)]);
      });
      await ended;
      const ready = training.lines.filter(({ event, change }) => event === 'worker' && change === 'ready');
      expect(ready.map(({ name }) => name).sort()).toEqual(names);
      await training.line(named('serving'));
      await checkDownload(listening);
      training.child.kill('SIGTERM');
      expect((await training.exited).code).toBe(0);
      expect(await training.line(named('finished'))).toMatchObject({ round: 60 });

      expect((await type('troupe sample --length 40')).stdout.trim().length).toBeGreaterThan(20);
      expect((await type('troupe eval --json')).stdout).toContain('"lossPerChar"');
      await type('troupe export --web --out home/page.html');
      expect(await fs.readFile(path.join(cwd, 'home/page.html'), 'utf8')).toContain('A model trained on');
    },
  );

  it('makes the same release of itself', async () => {
    const again = await releaseOf(path.join(prefix, 'lib/node_modules/troupe'));
    expect(again.sha256).toBe(release.sha256);
    expect(again.path).not.toBe(release.path);
  });

  it.skipIf(!hasCompiler)('has the native engine (needs a C compiler)', async () => {
    const { stdout } = await run(['doctor', '--engine', 'native', '--json'], { cwd, env, command });
    expect(JSON.parse(stdout)).toMatchObject({ engines: [{ name: 'native', present: true }] });
  });

  it('names the command that compiles the native engine, where there was no compiler', async () => {
    await fs.rm(addon(), { force: true });
    const { code, stdout } = await run(['doctor', '--engine', 'native'], { cwd, env, command });
    expect(code).not.toBe(0);
    const [, compile] = /then (node \S+ --verbose);/.exec(stdout)!;
    const compiler = path.join(folder, 'cc');
    await fs.writeFile(compiler, PRETENDER, { mode: 0o755 });
    expect((await type(`CC=${compiler} ${compile}`)).stderr).toContain('native engine: built');
    expect(await fs.readFile(addon(), 'utf8')).toBe('compiled\n');
  });

  it('finds a package that is installed with the command that it names', async () => {
    const doctor = () => run(['doctor', '--engine', 'webgpu'], { cwd, env, command });
    expect((await doctor()).stdout).toContain(`npm install --global --prefix ${prefix} webgpu`);
    const stub = path.join(folder, 'webgpu');
    await fs.mkdir(stub);
    await fs.writeFile(path.join(stub, 'package.json'), JSON.stringify({ name: 'webgpu', version: '1.0.0', main: 'index.js' }));
    await fs.writeFile(path.join(stub, 'index.js'), "throw new Error('found');");
    await type(`npm install --global --offline --install-links --prefix ${prefix} ${stub}`);
    expect((await doctor()).stdout).toContain('webgpu does not load: found');
  });
});

/** The model to take home, made by the thread and of the page in the release. */
async function checkDownload({ address, token }: Line): Promise<void> {
  const where = new URL('/api/model/web', String(address).replace(/^ws/, 'http'));
  const answer = await fetch(where, { headers: { authorization: `Bearer ${String(token)}` } });
  expect(answer.status).toBe(200);
  expect(await answer.text()).toContain('A model trained on');
}

/** The pages and the description of the API, as a browser gets them. */
async function checkPages({ address }: Line): Promise<void> {
  const origin = String(address).replace(/^ws/, 'http');
  for (const [at, content] of [
    ['/', 'dashboard.js'],
    ['/dashboard.js', 'function'],
    ['/join/', 'page.js'],
    ['/join/trainer.js', 'function'],
    ['/api/openapi.json', '"openapi"'],
  ]) {
    const answer = await fetch(`${origin}${at}`, { signal: AbortSignal.timeout(10_000) });
    expect({ at, status: answer.status }).toEqual({ at, status: 200 });
    expect(await answer.text()).toContain(content);
  }
}

import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const script = fileURLToPath(new URL('../scripts/build.mjs', import.meta.url));
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'troupe-native-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const output = () => path.join(folder, 'out');
/** A PATH without compilers. */
const nowhere = () => path.join(folder, 'nowhere');
const written = () => (existsSync(output()) ? readdirSync(output()) : []);

function build(environment: NodeJS.ProcessEnv, ...options: string[]) {
  const { CC: _, TROUPE_DEBUG: __, ...rest } = process.env;
  const args = [script, `--out=${output()}`, ...options];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', env: { ...rest, ...environment } });
  return { status, text: stdout + stderr };
}

/** A compiler that prints its version; otherwise it runs `body`. */
function fakeCompiler(body: string): string {
  const file = path.join(folder, 'cc');
  writeFileSync(file, `#!/bin/sh\nif [ "$1" = --version ]; then echo "fake 1.0"; exit 0; fi\n${body}\n`);
  chmodSync(file, 0o755);
  return file;
}

/** Writes "compiled" to the file named by -o. */
const PRETEND = 'for last; do :; done; echo compiled > "$last"';

describe.skipIf(process.platform === 'win32')('building the native engine (skipped on Windows: it has no native engine)', () => {
  it('without a compiler succeeds silently and writes nothing', () => {
    expect(build({ PATH: nowhere() })).toEqual({ status: 0, text: '' });
    expect(written()).toEqual([]);
  });

  it('without a compiler says so when debugging', () => {
    const { status, text } = build({ PATH: nowhere(), TROUPE_DEBUG: '1' });
    expect(status).toBe(0);
    expect(text).toMatch(/^native engine: not built\. no C compiler: .*install one.*\n$/);
  });

  it('with a failing compiler succeeds silently and leaves nothing behind', () => {
    expect(build({ CC: fakeCompiler('echo broken >&2; exit 1') })).toEqual({ status: 0, text: '' });
    expect(written()).toEqual([]);
  });

  it('with a compiler that fails at linking leaves nothing behind', () => {
    const compiler = fakeCompiler(`case "$*" in *addon.c*) exit 1;; esac; ${PRETEND}`);
    expect(build({ CC: compiler })).toEqual({ status: 0, text: '' });
    expect(written()).toEqual([]);
  });

  it('without a writable folder succeeds silently, and says so when debugging', () => {
    const compiler = fakeCompiler(PRETEND);
    writeFileSync(output(), 'in the way of the folder');
    expect(build({ CC: compiler })).toEqual({ status: 0, text: '' });
    expect(build({ CC: compiler }, '--verbose')).toMatchObject({
      status: 0,
      text: expect.stringMatching(/not built\. E/) as string,
    });
    rmSync(output());
    mkdirSync(path.join(output(), 'troupe.node'), { recursive: true });
    expect(build({ CC: compiler })).toEqual({ status: 0, text: '' });
  });

  it('compiles again only after a change', () => {
    const compiler = fakeCompiler(PRETEND);
    expect(build({ CC: compiler }, '--verbose').text).toContain('built with');
    expect(written().sort()).toEqual(['troupe.node', 'troupe.stamp']);
    const { mtimeMs } = statSync(path.join(output(), 'troupe.node'));
    expect(build({ CC: compiler }, '--verbose').text).toContain('up to date');
    expect(statSync(path.join(output(), 'troupe.node')).mtimeMs).toBe(mtimeMs);
    writeFileSync(
      compiler,
      '#!/bin/sh\necho "fake 2.0"\nfor last; do :; done; [ "$last" = --version ] || echo compiled > "$last"\n',
    );
    expect(build({ CC: compiler }, '--verbose').text).toContain('built with');
  });

  it('keeps the current addon without a compiler, and removes an outdated one', () => {
    build({ CC: fakeCompiler(PRETEND) });
    build({ PATH: nowhere() });
    expect(written()).toContain('troupe.node');
    writeFileSync(path.join(output(), 'troupe.stamp'), 'of other sources');
    build({ PATH: nowhere() });
    expect(written()).toEqual([]);
  });
});

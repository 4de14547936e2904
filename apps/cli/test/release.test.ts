import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { unpackTar } from 'modern-tar';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { releaseTarball, type Release } from '../src/release.js';
import { archive } from '../src/release/archive.js';
import { placePackages, type Packages } from '../src/release/bundle.js';

const { signal } = new AbortController();
let folder: string;
let packed: Release;

beforeAll(async () => {
  packed = await releaseTarball(signal);
});

beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'troupe-release-'));
  vi.stubEnv('XDG_CACHE_HOME', path.join(folder, 'cache'));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

/** The files of a tarball by their paths in the package. */
async function unpacked(tarball: string) {
  const entries = await unpackTar(gunzipSync(await readFile(tarball)), { strip: 1 });
  return new Map(entries.map(({ header, data }) => [header.name, { mode: header.mode, bytes: Buffer.from(data ?? []) }]));
}

/** Unpacks a tarball as npm does. @returns the folder of the package */
async function install(tarball: string): Promise<string> {
  const root = path.join(folder, 'lib/node_modules/troupe');
  for (const [name, { bytes }] of await unpacked(tarball)) {
    await mkdir(path.dirname(path.join(root, name)), { recursive: true });
    await writeFile(path.join(root, name), bytes);
  }
  return root;
}

describe('a release', () => {
  it('is the same file each time', async () => {
    const { mtimeMs } = await stat(packed.path);
    expect(await releaseTarball(signal)).toEqual(packed);
    expect((await stat(packed.path)).mtimeMs).toBeGreaterThan(mtimeMs);
  });

  it('comes out of an installation as it went in, without what the installation added', async () => {
    const root = await install(packed.path);
    await writeFile(path.join(root, 'node_modules/@troupe/native/dist/troupe.node'), 'compiled here');
    await mkdir(path.join(root, 'node_modules/webgpu'));
    await writeFile(path.join(root, 'node_modules/webgpu/package.json'), '{}');
    const again = await releaseTarball(signal, root);
    expect(again.sha256).toBe(packed.sha256);
    expect(again.path).toBe(path.join(folder, `cache/troupe/releases/troupe-${packed.version}.tgz`));
  });

  it('says how to restore an installation that has lost files', async () => {
    const root = await install(packed.path);
    await rm(path.join(root, 'apps/worker/dist/main.js'));
    await expect(releaseTarball(signal, root)).rejects.toMatchObject({
      code: 'not_built',
      message: expect.stringContaining('apps/worker/dist/main.js is missing') as string,
      remedy: expect.stringContaining('Install Troupe again') as string,
    });
  });

  it('has programs, pages, texts and the sources of the native engine, and nothing else of ours', async () => {
    const files = await unpacked(packed.path);
    expect([...files.keys()]).toEqual(
      expect.arrayContaining([
        'LICENSE',
        'apps/cli/bin/troupe.mjs',
        'apps/coordinator/dist/side-thread.js',
        'apps/dashboard/dist/index.html',
        'apps/player/dist/player.js',
        'apps/volunteer/dist/trainer.js',
        'node_modules/@troupe/corpus/data/sonnets.txt',
        'node_modules/@troupe/engines/dist/node/engine-thread.js',
        'node_modules/@troupe/native/csrc/addon.c',
        'node_modules/node-api-headers/include/node_api.h',
      ]),
    );
    expect(
      [...files.keys()].filter((name) => /\.(ts|map|tsbuildinfo|stamp)$|troupe\.node$|(^|\/)src\/.*\.ts$/.test(name)),
    ).toEqual([]);
    const programs = [...files].filter(([, { mode }]) => mode !== 0o644);
    expect(programs.map(([name, { mode }]) => [name, mode])).toEqual([['apps/cli/bin/troupe.mjs', 0o755]]);
  });

  it('has no compiled code of others but what masks frames', async () => {
    const compiled = [...(await unpacked(packed.path)).keys()].filter((name) => /\.(node|so|dll|dylib)$/.test(name));
    expect(compiled.filter((name) => !name.startsWith('node_modules/bufferutil/prebuilds/'))).toEqual([]);
    expect(compiled.length).toBeGreaterThan(0);
  });

  it('has every package that it depends on inside', async () => {
    const files = await unpacked(packed.path);
    const manifest = JSON.parse(files.get('package.json')!.bytes.toString()) as Record<string, object>;
    expect(Object.keys(manifest.dependencies).filter((name) => !files.has(`node_modules/${name}/package.json`))).toEqual([]);
    expect(manifest.bundleDependencies).toEqual(expect.arrayContaining(Object.keys(manifest.dependencies)));
    expect(manifest).not.toHaveProperty('optionalDependencies');
    expect(Object.keys(manifest.peerDependencies)).toEqual(Object.keys(manifest.peerDependenciesMeta));
  });
});

describe('archive', () => {
  it('gives the same bytes whatever the order of the files', async () => {
    const [a, b] = ['a', 'b'].map((name) => ({ path: name, bytes: Buffer.from(name) }));
    expect(await archive([a, b])).toEqual(await archive([b, a]));
  });
});

describe('placePackages', () => {
  /** Packages on a disk: folder -> the folders of those that it needs. */
  const disk = (needs: Readonly<Record<string, readonly string[]>>): Packages => ({
    find: async ({ name, by }) => needs[by].find((each) => path.basename(each) === name)!,
    needs: async (at) => (needs[at] ?? []).map((each) => path.basename(each)),
  });
  const place = async (needs: Readonly<Record<string, readonly string[]>>, by = 'app') =>
    Object.fromEntries(
      await placePackages(
        needs[by].map((each) => ({ name: path.basename(each), by })),
        disk(needs),
      ),
    );

  it('puts all at the top if it can', async () => {
    expect(await place({ app: ['1/a'], '1/a': ['1/b'], '1/b': ['1/a'] })).toEqual({
      'node_modules/a': '1/a',
      'node_modules/b': '1/b',
    });
  });

  it('puts a second version into the package that needs it, where others do not find it', async () => {
    expect(await place({ app: ['1/a', '1/b'], '1/b': ['2/a', '1/c'], '1/c': ['1/a'], '2/a': ['1/c'] })).toEqual({
      'node_modules/a': '1/a',
      'node_modules/b': '1/b',
      'node_modules/b/node_modules/a': '2/a',
      'node_modules/c': '1/c',
    });
  });

  it('refuses two versions that workspaces need directly', async () => {
    const needs = { one: ['1/a'], two: ['2/a'] };
    const direct = [
      { name: 'a', by: 'one' },
      { name: 'a', by: 'two' },
    ];
    await expect(placePackages(direct, disk(needs))).rejects.toThrow('two versions of a');
  });
});

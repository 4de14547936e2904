import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { fetchRemedy, isNewEnough, platformOf } from '../../src/launch/node-platforms.js';
import { findTarballs, NodeSource, ownNode, placeNode, type NodeProgram, type OwnNode } from '../../src/launch/node-source.js';
import { explainFault, receiveNodeCommand } from '../../src/launch/ssh.js';
import { decode } from '../../src/launch/wire.js';

const folders: string[] = [];
afterEach(() => folders.splice(0).forEach((folder) => rmSync(folder, { recursive: true, force: true })));
function scratch(): string {
  folders.push(mkdtempSync(path.join(os.tmpdir(), 'troupe-node-')));
  return folders.at(-1)!;
}

const has = (program: string): boolean => spawnSync(program, ['--version']).error === undefined;
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/** A tarball as nodejs.org has them, with `program` in the place of Node. */
function tarball(name: string, program: string, folder = scratch()): string {
  const top = path.join(folder, name.replace(/\.tar\..*$/, ''));
  mkdirSync(path.join(top, 'bin'), { recursive: true });
  writeFileSync(path.join(top, 'bin/node'), program, { mode: 0o755 });
  writeFileSync(path.join(top, 'README.md'), 'Node');
  const file = path.join(folder, name);
  execFileSync('tar', [name.endsWith('.xz') ? '-cJf' : '-czf', file, '-C', folder, path.basename(top)]);
  rmSync(top, { recursive: true });
  return file;
}

const OWN: OwnNode = { platform: 'linux-x64', version: '22.1.0', file: '/nowhere/node' };

describe('the platform of a host', () => {
  it.each([
    ['Linux x86_64', 'linux-x64'],
    ['Linux aarch64', 'linux-arm64'],
    ['Linux armv7l', 'linux-armv7l'],
    ['Linux x86_64 musl', 'linux-x64-musl'],
    ['Darwin arm64', 'darwin-arm64'],
    ['', undefined],
    ['Windows_NT is odd', undefined],
  ])('"%s" is %s', (text, platform) => {
    expect(platformOf(text)).toBe(platform);
  });

  it('is the one that this machine says of itself', () => {
    const musl = readdirSync('/lib').some((name) => name.startsWith('ld-musl-')) ? ' musl' : '';
    const uname = execFileSync('uname', ['-sm'], { encoding: 'utf8' }).trim();
    expect(ownNode().platform).toBe(platformOf(uname + musl));
  });

  it('leads to the page that has Node for it', () => {
    expect(fetchRemedy('linux-arm64')).toMatch(/linux-arm64\.tar\.gz from https:\/\/nodejs\.org/);
    expect(fetchRemedy('linux-x64-musl')).toContain('unofficial-builds.nodejs.org');
  });

  it.each([
    ['20.18.9', false],
    ['20.19.0', true],
    ['8.20.0', false],
    ['24.0.0', true],
  ])('Node %s is new enough: %s', (version, isEnough) => {
    expect(isNewEnough(version)).toBe(isEnough);
  });
});

describe('--node-from', () => {
  it('takes the newest of a folder for each platform', async () => {
    const folder = scratch();
    for (const version of ['22.9.0', '22.12.0', '18.1.0']) tarball(`node-v${version}-linux-arm64.tar.gz`, version, folder);
    tarball('node-v22.1.0-linux-x64-glibc-217.tar.gz', 'old libraries', folder);
    const source = new NodeSource(findTarballs(folder), OWN);
    expect(await source.programFor('linux-arm64')).toMatchObject({ version: '22.12.0', digest: sha256('22.12.0') });
    expect(await source.programFor('linux-x64')).toMatchObject({ version: '22.1.0', digest: sha256('old libraries') });
  });

  it.skipIf(!has('xz'))('reads xz (SKIPPED without xz)', async () => {
    const file = tarball('node-v22.12.0-linux-x64.tar.xz', 'a program');
    const source = new NodeSource(findTarballs(file), OWN);
    expect(await source.programFor('linux-x64')).toMatchObject({ digest: sha256('a program') });
  });

  it.each([
    ['missing.tar.gz', /does not exist/],
    ['other.tar.gz', /no tarball of Node/],
    ['node-v18.20.0-linux-x64.tar.gz', /20\.19 or later is needed/],
  ])('refuses %s', (name, message) => {
    const folder = scratch();
    if (!name.startsWith('missing')) writeFileSync(path.join(folder, name), '');
    expect(() => findTarballs(path.join(folder, name))).toThrow(message);
  });

  it('says so if a tarball is broken, and that there is none for another platform', async () => {
    const file = path.join(scratch(), 'node-v22.12.0-linux-arm64.tar.gz');
    writeFileSync(file, 'no tarball');
    const source = new NodeSource(findTarballs(file), OWN);
    expect(await source.programFor('linux-arm64')).toMatchObject({ why: expect.stringContaining(file) });
    const none = { why: expect.stringMatching(/it is darwin-arm64, and this machine is linux-x64/) };
    expect(await source.programFor('darwin-arm64')).toMatchObject(none);
  });
});

/** Speaks for a Node: its version, and its digest if it is asked to compute that. */
const fake = (digest: string): string => `#!/bin/sh\nif [ "$1" = --version ]; then echo v22.1.0; else echo ${digest}; fi\n`;

async function programOf(text: string): Promise<NodeProgram> {
  const source = new NodeSource(findTarballs(tarball('node-v22.1.0-linux-x64.tar.gz', text)), OWN);
  return (await source.programFor('linux-x64')) as NodeProgram;
}

it('a program in the cache of this machine is whole and can be run', async () => {
  const cache = scratch();
  const program = await programOf(fake('x'));
  const file = await placeNode(program, cache);
  expect(execFileSync(file, ['--version'], { encoding: 'utf8' })).toBe('v22.1.0\n');
  expect(await placeNode(program, cache)).toBe(file);
  expect(readdirSync(cache)).toEqual([`node-${program.digest}`]);
});

describe('the shell of a host that receives Node', () => {
  const shells = ['sh', 'bash', 'dash', 'zsh', 'fish', 'csh'].filter((shell) => spawnSync(shell, ['-c', 'true']).status === 0);
  const digest = 'abc';

  function receive(input: Buffer, { shell = 'sh', tools = ['sh', 'mkdir', 'tar', 'gzip', 'rm', 'mv'], cache = scratch() } = {}) {
    const bin = scratch();
    const at = (tool: string): string => spawnSync('sh', ['-c', `command -v ${tool}`], { encoding: 'utf8' }).stdout.trim();
    for (const tool of tools) symlinkSync(at(tool), path.join(bin, tool));
    const env = { PATH: bin, HOME: '/nowhere', XDG_CACHE_HOME: cache };
    const { stdout, stderr } = spawnSync(at(shell), ['-c', receiveNodeCommand(digest)], { input, env, encoding: 'utf8' });
    expect(stderr).toBe('');
    const launch = path.join(cache, 'troupe/launch');
    const said = stdout.split('\n').flatMap((line) => decode(line) ?? []);
    return { said, cache, found: existsSync(launch) ? readdirSync(launch) : [] };
  }

  it.each(shells)('%s puts it into the cache, and asks for nothing a second time', async (shell) => {
    const { archive } = await programOf(fake(digest));
    const first = receive(archive, { shell });
    expect(first.said).toEqual([{ at: 'node_wanted' }, { at: 'node_ready' }]);
    expect(first.found).toEqual([`node-${digest}`]);
    expect(readFileSync(path.join(first.cache, 'troupe/launch', `node-${digest}`, 'bin/node'), 'utf8')).toBe(fake(digest));
    expect(receive(Buffer.alloc(0), { shell, cache: first.cache }).said).toEqual([{ at: 'node_ready' }]);
  });

  it.each([
    ['bad_node', '#!/bin/sh\necho "libc.so.6: version GLIBC_2.28 not found" >&2\nexit 1\n', 'GLIBC_2.28 not found'],
    ['bad_node', '#!/no/such/loader\n', 'not found'],
    ['bad_copy', fake('another'), 'another'],
  ])('%s: refuses %j and leaves nothing', async (code, program, detail) => {
    const { archive } = await programOf(program);
    const { said, found } = receive(archive);
    expect(said[1]).toMatchObject({ at: 'failed', code, detail: expect.stringContaining(detail) });
    expect(found).toEqual([]);
  });

  it('says if a copy breaks off, if there is no tar, and if nobody can write there', async () => {
    const { archive } = await programOf(fake(digest));
    const broken = receive(archive.subarray(0, archive.length / 2));
    expect(broken.said[1]).toMatchObject({ code: 'cannot_install' });
    expect(broken.found).toEqual([]);
    expect(receive(archive, { tools: ['sh', 'mkdir', 'rm', 'mv'] }).said[1]).toMatchObject({ code: 'no_tar' });
    expect(receive(archive, { cache: '/dev/null' }).said[0]).toMatchObject({ code: 'no_permission' });
  });

  it('is told where there is a Node that suits an old C library', () => {
    const { remedy } = explainFault('bad_node', 'version GLIBC_2.28 not found on Linux x86_64', {
      node: undefined,
      where: undefined,
    });
    expect(remedy).toContain('linux-x64-glibc-217.tar.gz from https://unofficial-builds.nodejs.org');
  });
});

/** Node for hosts that lack it: the program that runs this launch, or one from a tarball of nodejs.org that a person has given. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { gunzip, gzip } from 'node:zlib';
import { packTar, unpackTar } from 'modern-tar';
import { CliError } from '../errors.js';
import { fetchRemedy, isNewEnough, OLDEST_NODE, type Platform } from './node-platforms.js';

export interface NodeProgram {
  readonly version: string;
  /** SHA-256 of the program, in hex digits. */
  readonly digest: string;
  /** A tarball, compressed with gzip, that holds bin/node. */
  readonly archive: Buffer;
}

/** Why there is no Node for a platform, and what to do. Both are sentences. */
export interface NoNode {
  readonly why: string;
  readonly remedy: string;
}

/** This process, as far as it matters for running its program elsewhere. */
export interface OwnNode {
  readonly platform: Platform;
  readonly version: string;
  readonly file: string;
}

export function ownNode(): OwnNode {
  const arch = process.arch === 'arm' ? 'armv7l' : process.arch;
  const { header } = process.report.getReport() as { readonly header: { readonly glibcVersionRuntime?: string } };
  const isMusl = process.platform === 'linux' && header.glibcVersionRuntime === undefined;
  return {
    platform: `${process.platform}-${arch}${isMusl ? '-musl' : ''}`,
    version: process.versions.node,
    file: process.execPath,
  };
}

/** One for old C libraries runs with new ones too. */
const TARBALL = /^node-v(\d+\.\d+\.\d+)-([a-z\d]+-[a-z\d]+(?:-musl)?)(?:-glibc-\d+)?\.tar\.(?:gz|xz)$/;

interface Tarball {
  readonly file: string;
  readonly version: string;
  readonly platform: Platform;
}

/**
 * The tarballs of a path: a file, or all in a folder that are new enough, the newest first.
 * @throws CliError `usage`
 */
export function findTarballs(from: string): readonly Tarball[] {
  const stats = statSync(from, { throwIfNoEntry: false });
  const remedy = 'Give a file as nodejs.org names it, such as node-v22.12.0-linux-arm64.tar.xz, or a folder with such files.';
  if (stats === undefined) throw new CliError('usage', `--node-from ${from} does not exist.`, remedy);
  const files = stats.isDirectory() ? readdirSync(from).map((name) => path.join(from, name)) : [from];
  const found = files.flatMap((file) => {
    const [, version, platform] = TARBALL.exec(path.basename(file)) ?? [];
    return version === undefined ? [] : [{ file, version, platform }];
  });
  if (found.length === 0) throw new CliError('usage', `--node-from ${from} is no tarball of Node, and has none.`, remedy);
  const usable = found.filter(({ version }) => isNewEnough(version));
  if (usable.length > 0) return usable.sort((a, b) => b.version.localeCompare(a.version, 'en', { numeric: true }));
  const message = `--node-from ${from} has Node ${found[0].version}, and ${OLDEST_NODE.join('.')} or later is needed.`;
  throw new CliError('usage', message, 'Give a newer one.');
}

export class NodeSource {
  readonly #tarballs: readonly Tarball[];
  readonly #own: OwnNode;
  readonly #made = new Map<Platform, Promise<NodeProgram>>();

  constructor(tarballs: readonly Tarball[], own: OwnNode) {
    this.#tarballs = tarballs;
    this.#own = own;
  }

  /** A program for a platform: from a tarball if there is one for it, else that of this process if it fits. */
  async programFor(platform: Platform): Promise<NodeProgram | NoNode> {
    const tarball = this.#tarballs.find((each) => each.platform === platform);
    if (tarball === undefined && this.#own.platform !== platform) return this.#none(platform);
    const made = this.#made.get(platform) ?? (tarball === undefined ? packOwn(this.#own) : packFrom(tarball));
    this.#made.set(platform, made);
    try {
      return await made;
    } catch (error) {
      const { message, remedy = 'Fetch it again.' } = error as Error & { readonly remedy?: string };
      return { why: tarball === undefined ? message : `${tarball.file} cannot be used: ${message}`, remedy };
    }
  }

  #none(platform: Platform): NoNode {
    const why = `it has no Node, and this machine has none for it: it is ${platform}, and this machine is ${this.#own.platform}`;
    return { why, remedy: fetchRemedy(platform) };
  }
}

async function packOwn({ file, version }: OwnNode): Promise<NodeProgram> {
  return pack(await readFile(file), version);
}

async function packFrom({ file, version }: Tarball): Promise<NodeProgram> {
  const bytes = file.endsWith('.xz') ? await unxz(file) : await promisify(gunzip)(await readFile(file));
  const isNode = ({ name }: { readonly name: string }): boolean => /^[^/]+\/bin\/node$/.test(name);
  const [entry] = await unpackTar(bytes, { filter: isNode });
  if (entry?.data === undefined) throw new Error('it has no bin/node');
  return pack(entry.data, version);
}

/** Node itself cannot read xz. */
async function unxz(file: string): Promise<Buffer> {
  try {
    const options = { maxBuffer: 2 ** 30, encoding: 'buffer' } as const;
    return (await promisify(execFile)('xz', ['--decompress', '--stdout', file], options)).stdout;
  } catch (cause) {
    const isMissing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
    const message = isMissing ? 'xz is not installed here' : (cause as Error).message.trim().split('\n').at(-1)!;
    throw new CliError(
      'usage',
      message,
      `Give the file that ends with .tar.gz, from the same page${isMissing ? '' : ', or fetch it again'}.`,
      { cause },
    );
  }
}

async function pack(program: Uint8Array, version: string): Promise<NodeProgram> {
  const tar = await packTar([{ header: { name: 'bin/node', size: program.length, mode: 0o755 }, body: program }]);
  const digest = createHash('sha256').update(program).digest('hex');
  // A better compression takes longer than it saves on the network of a lab.
  return { version, digest, archive: await promisify(gzip)(tar, { level: 1 }) };
}

/**
 * Puts a program into a cache of releases on this machine.
 * @returns its path
 */
export async function placeNode({ digest, archive }: NodeProgram, cache: string): Promise<string> {
  const folder = path.join(cache, `node-${digest}`);
  const file = path.join(folder, 'bin/node');
  if (existsSync(file)) return file;
  const [{ data }] = await unpackTar(await promisify(gunzip)(archive));
  const temporary = path.join(cache, `.incoming-node-${process.pid}`);
  try {
    mkdirSync(path.join(temporary, 'bin'), { recursive: true, mode: 0o700 });
    writeFileSync(path.join(temporary, 'bin/node'), data!, { mode: 0o755 });
    renameSync(temporary, folder);
  } catch (error) {
    // Another launch may have been faster.
    if (!existsSync(file)) throw error;
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
  return file;
}

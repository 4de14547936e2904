import { createHash } from 'node:crypto';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { installationAt, type Installation } from '@troupe/config/installation';
import { defaultCacheDir } from '@troupe/corpus/node';
import { CliError } from './errors.js';
import { archive, type ReleaseFile } from './release/archive.js';
import { readManifest } from './release/bundle.js';
import { filesOfClone, filesOfInstallation } from './release/contents.js';

/** A tarball that npm installs: `npm install --global PATH` gives the command `troupe`. */
export interface Release {
  readonly path: string;
  readonly version: string;
  /** Of the tarball, in hex digits. */
  readonly sha256: string;
  readonly sizeBytes: number;
}

/** The folder of the clone or of the installed package; the same relative to dist/ and src/. */
const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

/**
 * Packs the copy of Troupe that runs into a tarball that npm installs on other machines, without
 * access to the registry. The same files give the same bytes, so another digest means another
 * release. (Another version of Node may compress them to other bytes.)
 *
 * In a clone it packs what the last `npm run build` compiled, and writes dist/troupe-VERSION.tgz. In
 * an installation it packs again what the package came with, without what the installation added
 * (the native addon, optional packages), and writes to the user's cache. The file is written
 * whole or not at all, and replaces one of an earlier call.
 * @throws CliError `not_built` if files are missing, `output_failed` if the tarball cannot be written
 */
export async function releaseTarball(signal: AbortSignal, root: string = ROOT): Promise<Release> {
  const installation = installationAt(pathToFileURL(path.join(root, '/')).href);
  const isPackage = installation.kind === 'package';
  const { name, version } = await readManifest(root);
  const files = await filesOf(root, installation, signal);
  const bytes = await archive(files);
  const folder = isPackage ? path.join(path.dirname(defaultCacheDir()), 'releases') : path.join(root, 'dist');
  const target = path.join(folder, `${name}-${version}.tgz`);
  await writeWhole(target, bytes, signal);
  return { path: target, version, sha256: createHash('sha256').update(bytes).digest('hex'), sizeBytes: bytes.length };
}

async function filesOf(root: string, { kind, restore }: Installation, signal: AbortSignal): Promise<ReleaseFile[]> {
  try {
    return await (kind === 'package' ? filesOfInstallation(root, signal) : filesOfClone(root, signal));
  } catch (cause) {
    const { code, path: missing = root } = cause as NodeJS.ErrnoException;
    if (code !== 'ENOENT') throw cause;
    throw new CliError('not_built', `${missing} is missing.`, restore, { cause });
  }
}

async function writeWhole(target: string, bytes: Buffer, signal: AbortSignal): Promise<void> {
  const temporary = `${target}.${process.pid}`;
  try {
    await mkdir(path.dirname(target), { recursive: true });
    await writeFile(temporary, bytes, { signal });
    await rename(temporary, target);
  } catch (cause) {
    await rm(temporary, { force: true });
    if (signal.aborted) throw cause;
    const remedy = `Free space, or make ${path.dirname(target)} a folder that you can write to.`;
    throw new CliError('output_failed', `cannot write ${target}: ${(cause as Error).message}`, remedy, { cause });
  }
}

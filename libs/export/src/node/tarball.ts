import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { packTar } from 'modern-tar';

export interface ArchivedFile {
  /** Relative to the folder, with slashes: "apps/cli/bin/troupe.mjs". */
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly executable?: boolean;
}

/** npm's own date for the files of a package: zip formats, which some tools convert to, begin in 1980. */
const MODIFIED = new Date('1985-10-26T08:15:00.000Z');

/**
 * A folder as a gzipped tar. The same files give the same bytes, whatever their order, owner, dates and permissions on the disk.
 * @param level of gzip, 1 (fast) to 9 (small)
 */
export async function tarball(folder: string, files: readonly ArchivedFile[], level: number): Promise<Buffer> {
  const sorted = [...files].sort((a, b) => (a.path < b.path ? -1 : 1));
  const entries = sorted.map(({ path, bytes, executable = false }) => ({
    header: {
      name: `${folder}/${path}`,
      size: bytes.length,
      mode: executable ? 0o755 : 0o644,
      mtime: MODIFIED,
      uid: 0,
      gid: 0,
      uname: '',
      gname: '',
    },
    body: bytes,
  }));
  return promisify(gzip)(await packTar(entries), { level });
}

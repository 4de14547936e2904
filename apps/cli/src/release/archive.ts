/** The bytes of a release: an npm tarball that depends on nothing but its files. */
import { tarball, type ArchivedFile } from '@troupe/export/node';

/** One file of a release. Its path is relative to the package. */
export type ReleaseFile = ArchivedFile;

/** The same files give the same bytes. */
export async function archive(files: readonly ReleaseFile[]): Promise<Buffer> {
  return tarball('package', files, 9);
}

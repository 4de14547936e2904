import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CorpusError } from '../errors.js';

export interface TextFile {
  readonly path: string;
  readonly inFolder: boolean;
}

/**
 * The file at a path, or all files in the folder and its subfolders, in the order of their names as
 * `LC_ALL=C sort` has it. Hidden files and folders are left out, and links to folders, which may form
 * circles.
 * @throws CorpusError `not_a_file`, `empty`, or an error of the file system
 */
export async function filesIn(path: string): Promise<TextFile[]> {
  const found = await stat(path);
  if (found.isFile()) return [{ path, inFolder: false }];
  if (!found.isDirectory()) {
    throw new CorpusError(
      'not_a_file',
      `${path} is neither a file nor a folder`,
      'Give the path of a text file or of a folder of such files.',
    );
  }
  const files = await filesBelow(path, '');
  if (files.length > 0) return files.sort(byName).map((name) => ({ path: join(path, name), inFolder: true }));
  throw new CorpusError(
    'empty',
    `there is no file in the folder ${path}`,
    'Give a folder with text files, or the path of one text file.',
  );
}

/** Paths below `folder`, with slashes. */
async function filesBelow(folder: string, prefix: string): Promise<string[]> {
  const names: string[] = [];
  for (const entry of await readdir(join(folder, prefix), { withFileTypes: true })) {
    if (entry.name.startsWith('.')) continue;
    const name = `${prefix}${entry.name}`;
    if (entry.isDirectory()) names.push(...(await filesBelow(folder, `${name}/`)));
    else if (entry.isFile() || (entry.isSymbolicLink() && (await isFile(join(folder, name))))) names.push(name);
  }
  return names;
}

/** False for a link to nothing. */
async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}

function byName(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

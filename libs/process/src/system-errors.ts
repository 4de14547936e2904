/** Errors of the operating system in words. */

const REMEDIES: Readonly<Record<string, string>> = {
  EACCES: 'This user has no permission for it. Change its permissions, or choose another place.',
  EPERM: 'The system does not permit it. Change its permissions, or choose another place.',
  EROFS: 'Its file system is read-only. Choose another place.',
  ENOSPC: 'The disk is full. Free some space, or choose another place.',
  EDQUOT: 'The disk quota is used up. Free some space, or choose another place.',
  ENOENT: 'It does not exist. Check the spelling.',
  ENOTDIR: 'A part of the path is a file. Check the spelling.',
  EISDIR: 'It is a folder. Give a file.',
  EEXIST: 'It exists already. Choose another place.',
  ENAMETOOLONG: 'The path is too long. Choose a shorter one.',
  EMFILE: 'Too many files are open. Raise the limit with "ulimit -n", or end other programs.',
  ENFILE: 'The system has too many files open. End other programs.',
  EIO: 'The disk or the network file system fails. Check it, or choose another place.',
  ENOMEM: 'The machine has too little memory. End other programs.',
  EAGAIN: 'The system has no room for another process. End other programs.',
};

const CAUSES: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'operation not permitted',
  EROFS: 'read-only file system',
  ENOSPC: 'no space left',
  EDQUOT: 'disk quota exceeded',
  ENOENT: 'no such file or folder',
  ENOTDIR: 'not a folder',
  EISDIR: 'is a folder',
  EEXIST: 'exists already',
};

/**
 * What to tell about an error of the operating system that no other code has explained, as two
 * sentences; undefined for any other error.
 */
export function systemProblem(error: unknown): { readonly message: string; readonly remedy: string } | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code, syscall, path, message } = error as NodeJS.ErrnoException;
  if (code === undefined || syscall === undefined || REMEDIES[code] === undefined) return undefined;
  const cause = CAUSES[code];
  const text = path === undefined || cause === undefined ? message : `${path}: ${cause} (${code}, ${syscall})`;
  return { message: `${text.replace(/\.$/, '')}.`, remedy: REMEDIES[code] };
}

/** How many sockets this process may have open: files need descriptors too, above all checkpoints. */
import fs from 'node:fs';

/** Descriptors that sockets leave: for checkpoints, texts, logs, the pages' files and the links of this process itself. */
const RESERVE = 64;
/** Where the system does not tell: what most systems allow without being asked. */
const USUAL_LIMIT = 1_024;
/** A limit below this leaves too little to work with; sockets get these all the same. */
const LEAST_SOCKETS = 16;

/** The limit of open files in the text of /proc/PID/limits; undefined if it is not there. Infinity: there is none. */
export function openFilesIn(limits: string): number | undefined {
  const soft = /^Max open files\s+(\S+)/m.exec(limits)?.[1];
  if (soft === undefined) return undefined;
  return soft === 'unlimited' ? Infinity : Number(soft);
}

/**
 * @param most how many the server wants at most
 * @param limit of open files
 * @param open descriptors that are open already
 */
export function socketPlaces(most: number, limit: number, open: number): number {
  return Math.max(LEAST_SOCKETS, Math.min(most, limit - open - RESERVE));
}

/** `socketPlaces` of this process, as it is now. Linux raises the soft limit by `ulimit -n` or LimitNOFILE. */
export function placesOfThisProcess(most: number): number {
  // Windows counts handles, and allows millions.
  if (process.platform === 'win32') return most;
  try {
    const limit = openFilesIn(fs.readFileSync('/proc/self/limits', 'utf8')) ?? USUAL_LIMIT;
    return socketPlaces(most, limit, fs.readdirSync('/proc/self/fd').length);
  } catch {
    return socketPlaces(most, USUAL_LIMIT, 0);
  }
}

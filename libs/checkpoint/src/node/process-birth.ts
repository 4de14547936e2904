/** When a process of this machine was born: its number alone is soon used again. */
import { readFile } from 'node:fs/promises';

const KNOWN_NUMBER_ONLY = 'alive';

/**
 * A text that differs between two processes with the same number. Undefined if there is no such
 * process. Only Linux tells the birth; elsewhere every living process has the same text.
 */
export async function birthOf(pid: number): Promise<string | undefined> {
  if (process.platform !== 'linux') return isAlive(pid) ? KNOWN_NUMBER_ONLY : undefined;
  try {
    const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
    // "pid (name) state ppid ... starttime": the name may hold spaces and parentheses.
    const status = await readFile(`/proc/${pid}/stat`, 'utf8');
    const fields = status.slice(status.lastIndexOf(')') + 2).split(' ');
    const [state, startTime] = [fields[0], fields[19]];
    // A zombie has ended; its parent has not noticed.
    return state === 'Z' || state === 'X' ? undefined : `${boot}:${startTime}`;
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    return isAlive(pid) ? KNOWN_NUMBER_ONLY : undefined;
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

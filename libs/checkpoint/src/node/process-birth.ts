/** Which process a lock means: a process number alone is soon used again, and is known in one name space only. */
import { readFile, readlink } from 'node:fs/promises';
import { hostname } from 'node:os';

/**
 * A text that differs between two processes with the same number. `gone`: there is no such process.
 * `unknown`: it lives, but the system does not tell when it began. Only Linux tells.
 */
export type Birth = string;
export const GONE: Birth = 'gone';
export const UNKNOWN: Birth = 'unknown';

export async function birthOf(pid: number): Promise<Birth> {
  if (process.platform === 'linux') {
    const exact = await linuxBirthOf(pid).catch(() => undefined);
    if (exact !== undefined) return exact;
  }
  return isAlive(pid) ? UNKNOWN : GONE;
}

async function linuxBirthOf(pid: number): Promise<Birth> {
  const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
  // "pid (name) state ppid ... starttime": the name may hold spaces and parentheses.
  const status = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = status.slice(status.lastIndexOf(')') + 2).split(' ');
  const [state, startTime] = [fields[0], fields[19]];
  // A zombie has ended; its parent has not noticed.
  return state === 'Z' || state === 'X' ? GONE : `${boot}:${startTime}`;
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Names the processes among which a process number is unique: those of this machine, or of this container. */
export async function numberSpace(): Promise<string> {
  const space = await readlink('/proc/self/ns/pid').catch(() => '');
  return `${hostname()} ${space}`.trim();
}

/** What `troupe launch --json` says of workers, and the processes that it leaves. */
import fs from 'node:fs/promises';
import type { Line } from './troupe.js';

export const is = (state: string, who: string) => (line: Line) =>
  line.event === 'state' && line.state === state && line.who === who;
export const computes = (slot: string) => (line: Line) =>
  line.event === 'progress' && line.slot === slot && (line.credit as number) > 0;

/** Process ids whose command line contains `text`. Linux only. */
export async function processesWith(text: string): Promise<number[]> {
  const pids = (await fs.readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const commands = await Promise.all(pids.map((pid) => fs.readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
  return pids.filter((_, i) => commands[i].includes(text)).map(Number);
}

/** The memory of this machine, and the limit that a container or service manager sets below it. */
import { readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

/** The text of a file; undefined if it cannot be read. */
export type ReadText = (file: string) => string | undefined;

export interface MachineMemory {
  /** Bytes that this process may ever have. */
  readonly totalBytes: number;
  /** Bytes that it can have now, without what others use. */
  readonly freeBytes: number;
}

const ROOT = '/sys/fs/cgroup';

/** Files with the limit and the use of a control group, and where its memory tree is mounted. */
const VERSIONS = {
  v1: { mount: `${ROOT}/memory`, limit: 'memory.limit_in_bytes', used: 'memory.usage_in_bytes', cache: 'total_inactive_file' },
  v2: { mount: ROOT, limit: 'memory.max', used: 'memory.current', cache: 'inactive_file' },
} as const;

const USABLE_ON_MACOS = 0.5;

/**
 * The memory of a machine by Node's figures. On macOS `free` leaves out what the kernel gives up on
 * demand and is always small, so there at least half of the memory counts as free.
 */
export function figuresOf(
  platform: NodeJS.Platform,
  total: number,
  free: number,
): { readonly total: number; readonly free: number } {
  return { total, free: platform === 'darwin' ? Math.max(free, total * USABLE_ON_MACOS) : free };
}

/** The memory of the machine, less what the control groups of this process (version 1 or 2) withhold. */
export function machineMemory(
  read: ReadText = readOrNothing,
  machine = figuresOf(process.platform, os.totalmem(), os.freemem()),
): MachineMemory {
  let [totalBytes, freeBytes] = [machine.total, machine.free];
  for (const { limit, free } of groupsOf(read)) {
    totalBytes = Math.min(totalBytes, limit);
    freeBytes = Math.min(freeBytes, free);
  }
  return { totalBytes, freeBytes: Math.max(0, freeBytes) };
}

/** The memory that this process may fill from now on, together with what it has already. */
export function memoryForThisProcess(
  machine: MachineMemory = machineMemory(),
  ownBytes = process.memoryUsage.rss(),
): MachineMemory {
  const { totalBytes, freeBytes } = machine;
  return { totalBytes, freeBytes: Math.min(totalBytes, freeBytes + ownBytes) };
}

/** The limits of the control group of this process and of all groups around it. */
function* groupsOf(read: ReadText): Generator<{ readonly limit: number; readonly free: number }> {
  for (const line of (read('/proc/self/cgroup') ?? '').split('\n')) {
    const [, id, controllers, folder] = /^(\d+):([^:]*):(.*)$/.exec(line) ?? [];
    const version =
      id === '0' && controllers === '' ? VERSIONS.v2 : controllers?.split(',').includes('memory') ? VERSIONS.v1 : undefined;
    if (version === undefined) continue;
    // In a container the folder may not exist below the mount, whose root is then the group itself.
    for (let at = folder; ; at = path.posix.dirname(at)) {
      const place = path.posix.join(version.mount, at);
      const limit = Number(read(path.posix.join(place, version.limit)) ?? NaN);
      const used = Number(read(path.posix.join(place, version.used)) ?? NaN);
      if (limit > 0 && used >= 0)
        yield { limit, free: limit - used + cacheOf(read(path.posix.join(place, 'memory.stat')), version.cache) };
      if (at === '/' || at === '.') break;
    }
  }
}

/** Bytes of files in the cache, which the kernel gives up first. */
function cacheOf(stat: string | undefined, key: string): number {
  return Number(new RegExp(`^${key} (\\d+)$`, 'm').exec(stat ?? '')?.[1] ?? 0);
}

function readOrNothing(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

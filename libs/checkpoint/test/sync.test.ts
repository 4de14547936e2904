import type * as fs from 'node:fs/promises';
import { mkdtemp, rm, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { writeWhole } from '../src/node/files.js';

const { log } = vi.hoisted(() => ({ log: [] as string[] }));

/** The real file system, with a record of what makes a file durable. */
vi.mock('node:fs/promises', async (importOriginal) => {
  const real = await importOriginal<typeof fs>();
  return {
    ...real,
    async open(path: string, flags: string): Promise<FileHandle> {
      const handle = await real.open(path, flags);
      const sync = handle.sync.bind(handle);
      handle.sync = () => {
        log.push(flags === 'r' ? 'sync folder' : 'sync file');
        return sync();
      };
      return handle;
    },
    rename(from: string, to: string) {
      log.push('rename');
      return real.rename(from, to);
    },
  };
});

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'troupe-sync-'));
  log.length = 0;
});
afterEach(() => rm(folder, { recursive: true }));

it.skipIf(process.platform === 'win32')('a file is synced before it gets its name, and the name after that', async () => {
  await writeWhole(folder, 'round.safetensors', Uint8Array.of(1, 2, 3));
  expect(log).toEqual(['sync file', 'rename', 'sync folder']);
});

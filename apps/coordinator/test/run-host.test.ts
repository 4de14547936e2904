/** What a run host does before its run starts, and when it cannot start. */
import fs from 'node:fs/promises';
import path from 'node:path';
import type { RunEvent } from '@troupe/run';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { runCoordinator } from '../src/coordinator.js';
import type * as Real from '../src/run-folder.js';
import { scratch, smallRun } from './running.js';

const released = vi.hoisted(() => ({ times: 0 }));
vi.mock('../src/run-folder.js', async (load) => {
  const real = await load<typeof Real>();
  const counting = (folder: Real.RunFolder): Real.RunFolder => ({
    ...folder,
    release() {
      released.times++;
      return folder.release();
    },
  });
  return { ...real, claimNewRun: async (...of: Parameters<typeof real.claimNewRun>) => counting(await real.claimNewRun(...of)) };
});

let out: string;
beforeEach(async () => {
  out = await scratch();
  released.times = 0;
});
afterEach(() => fs.rm(out, { recursive: true, force: true }));

const MIB = 1024 ** 2;
/** Runs a coordinator until it has listened, with that much memory. */
async function attempt(mib: number, ...flags: string[]): Promise<readonly RunEvent[]> {
  const events: RunEvent[] = [];
  const stop = new AbortController();
  const report = (event: RunEvent): void => {
    events.push(event);
    if (event.event === 'listening') stop.abort(new Error('enough'));
  };
  const memory = () => ({ totalBytes: mib * MIB, freeBytes: mib * MIB });
  await runCoordinator({ settings: smallRun([`--out=${out}`, ...flags]), env: {}, report, signal: stop.signal, memory });
  return events;
}

describe('a coordinator alone', () => {
  const short = {
    event: 'note',
    level: 'warn',
    text: expect.stringMatching(/^This run needs about 0\.\d GiB of memory/) as string,
  };

  it('tells before it listens that the memory is short', async () => {
    const events = await attempt(50);
    expect(events).toContainEqual(expect.objectContaining(short));
  });

  it('refuses a run that the machine can never hold', async () => {
    await expect(attempt(0.001)).rejects.toMatchObject({
      name: 'SettingsError',
      remedy: 'Use a smaller --window or a smaller model; or end other programs.',
    });
    expect(released.times).toBe(1);
    expect(await fs.readdir(out)).toEqual([]);
  });

  it('leaves the prediction to troupe train, which counts the workers as well', async () => {
    const events = await attempt(50, '--local-workers');
    expect(events).not.toContainEqual(expect.objectContaining(short));
  });
});

it('a run that cannot start frees its folder once', async () => {
  await expect(attempt(10_000, '--allreduce=ws://127.0.0.1:9')).rejects.toThrow(/127\.0\.0\.1:9/);
  expect(released.times).toBe(1);
  await expect(fs.access(path.join(out, 'run.lock'))).rejects.toThrow();
});

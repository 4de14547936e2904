import type { Checkpoint } from '@troupe/checkpoint';
import { beforeEach, describe, expect, it } from 'vitest';
import { writeInTurn, type CheckpointStore, type CheckpointWriter } from '../src/index.js';

/** The only field that a writer reads. */
const after = (round: number): Checkpoint => ({ round }) as Checkpoint;

let begun: string[];
let failures: string[];
let release: (() => void)[];
let fail: boolean;
let writer: CheckpointWriter;

/** A write takes until the test releases it. */
const store: CheckpointStore = {
  place: 'memory',
  holds: async () => true,
  async write({ round }, best) {
    begun.push(best ? `best ${round}` : `${round}`);
    await new Promise<void>((resolve) => release.push(resolve));
    if (fail) throw new Error(`no room for ${round}`);
    return `memory/${round}`;
  },
  onFailed: ({ message }) => failures.push(message),
};

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Ends the current write, so that the next one begins. */
async function endWrite(): Promise<void> {
  await turn();
  release.shift()!();
  await turn();
}

beforeEach(() => {
  [begun, failures, release, fail] = [[], [], [], false];
  writer = writeInTurn(store);
});

describe('a checkpoint writer', () => {
  it('writes one checkpoint at a time, in order, and returns the path of each', async () => {
    const first = writer.save(after(1), false);
    const second = writer.save(after(2), true);
    await turn();
    expect(begun).toEqual(['1']);
    await endWrite();
    expect(begun).toEqual(['1', 'best 2']);
    await endWrite();
    expect(await Promise.all([first, second])).toEqual(['memory/1', 'memory/2']);
  });

  it('writes only the newest checkpoint offered during a write', async () => {
    void writer.save(after(1), false);
    for (const round of [2, 3, 4]) writer.offer(after(round));
    await endWrite();
    expect(begun).toEqual(['1', '4']);
    writer.offer(after(5));
    await endWrite();
    expect(begun).toEqual(['1', '4', '5']);
  });

  it('reports a failure, continues, and never rejects', async () => {
    fail = true;
    const lost = writer.save(after(1), false);
    writer.offer(after(2));
    await endWrite();
    expect(await lost).toBeUndefined();
    fail = false;
    await endWrite();
    const third = writer.save(after(3), false);
    await endWrite();
    expect(await third).toBe('memory/3');
    expect(failures).toEqual(['no room for 1']);
  });

  it('settles when everything is written', async () => {
    let settled = false;
    writer.offer(after(1));
    const done = writer.settled().then(() => (settled = true));
    await turn();
    expect([begun, settled]).toEqual([['1'], false]);
    await endWrite();
    await done;
  });
});

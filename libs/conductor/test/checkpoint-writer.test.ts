import type { Checkpoint } from '@troupe/checkpoint';
import { beforeEach, describe, expect, it } from 'vitest';
import { writeInTurn, type CheckpointStore, type CheckpointWriter } from '../src/index.js';

/** All that a writer looks at. */
const after = (round: number): Checkpoint => ({ round }) as Checkpoint;

let begun: string[];
let failures: string[];
let release: (() => void)[];
let fail: boolean;
let writer: CheckpointWriter;

/** Writes take until the test lets go of them. */
const store: CheckpointStore = {
  place: 'memory',
  async write({ round }, best) {
    begun.push(best ? `best ${round}` : `${round}`);
    await new Promise<void>((resolve) => release.push(resolve));
    if (fail) throw new Error(`no room for ${round}`);
    return `memory/${round}`;
  },
  onFailed: ({ message }) => failures.push(message),
};

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Lets the write that has begun end, and the next one begin. */
async function letGo(): Promise<void> {
  await turn();
  release.shift()!();
  await turn();
}

beforeEach(() => {
  [begun, failures, release, fail] = [[], [], [], false];
  writer = writeInTurn(store);
});

describe('writing checkpoints in turn', () => {
  it('writes one at a time, in the order asked for, and says where each is', async () => {
    const first = writer.save(after(1), false);
    const second = writer.save(after(2), true);
    await turn();
    expect(begun).toEqual(['1']);
    await letGo();
    expect(begun).toEqual(['1', 'best 2']);
    await letGo();
    expect(await Promise.all([first, second])).toEqual(['memory/1', 'memory/2']);
  });

  it('writes the newest of those offered while another is being written', async () => {
    void writer.save(after(1), false);
    for (const round of [2, 3, 4]) writer.offer(after(round));
    await letGo();
    expect(begun).toEqual(['1', '4']);
    writer.offer(after(5));
    await letGo();
    expect(begun).toEqual(['1', '4', '5']);
  });

  it('tells of a failure, goes on, and never rejects', async () => {
    fail = true;
    const lost = writer.save(after(1), false);
    writer.offer(after(2));
    await letGo();
    expect(await lost).toBeUndefined();
    fail = false;
    await letGo();
    const kept = writer.save(after(3), false);
    await letGo();
    expect(await kept).toBe('memory/3');
    expect(failures).toEqual(['no room for 1']);
  });

  it('has settled when everything asked for is written, and what came before the first', async () => {
    let prepared = (): void => {};
    const late = writeInTurn({ ...store, ready: new Promise((resolve) => (prepared = resolve)) });
    let settled = false;
    late.offer(after(1));
    const done = late.settled().then(() => (settled = true));
    await turn();
    expect(begun).toEqual([]);
    prepared();
    await turn();
    expect([begun, settled]).toEqual([['1'], false]);
    await letGo();
    await done;
  });
});

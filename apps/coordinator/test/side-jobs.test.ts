import { EventEmitter } from 'node:events';
import { modelConfig } from '@troupe/config';
import { beforeEach, describe, expect, it } from 'vitest';
import type { StartedThread } from '../src/job-thread.js';
import { createSideThread, type SideRequest, type SideThread } from '../src/side-jobs.js';

/** A thread that the test answers for. */
class Thread extends EventEmitter implements Pick<StartedThread, 'postMessage' | 'unref' | 'terminate'> {
  readonly asked: SideRequest[] = [];
  postMessage = (request: SideRequest): void => void this.asked.push(request);
  unref = (): void => undefined;
  terminate = async (): Promise<number> => {
    this.emit('exit', 1);
    return 1;
  };
}

const DATA = { model: modelConfig({ hidden: 2, vocabulary: 3 }), validation: new Uint16Array(9), window: 2, reproducible: true };
const PARAMETERS = new Float32Array(4);

let threads: Thread[];
let side: SideThread;

beforeEach(() => {
  threads = [];
  side = createSideThread(DATA, () => {
    const thread = new Thread();
    threads.push(thread);
    return thread as unknown as StartedThread;
  });
});

describe('a side thread', () => {
  it('is replaced after it broke, and its jobs are rejected', async () => {
    const lost = side.evaluate(PARAMETERS);
    expect(side.pending).toBe(1);
    threads[0].emit('error', new Error('out of memory'));
    await expect(lost).rejects.toThrow('out of memory');
    expect(side.pending).toBe(0);
    const next = side.evaluate(PARAMETERS);
    expect(threads).toHaveLength(2);
    // The end of the one that broke does not concern its successor.
    threads[0].emit('exit', 1);
    void side.evaluate(PARAMETERS).catch(() => undefined);
    expect(threads).toHaveLength(2);
    const [{ id }] = threads[1].asked;
    threads[1].emit('message', { id, kind: 'evaluated', lossPerChar: 1.5, tokens: 40 });
    expect(await next).toMatchObject({ lossPerChar: 1.5, tokens: 40 });
  });

  it('stays open after a job that failed', async () => {
    const failed = side.evaluate(PARAMETERS);
    threads[0].emit('message', { id: threads[0].asked[0].id, kind: 'failed', message: 'not finite' });
    await expect(failed).rejects.toThrow('not finite');
    void side.evaluate(PARAMETERS).catch(() => undefined);
    expect(threads).toHaveLength(1);
    expect(threads[0].asked).toHaveLength(2);
    await side.close();
  });

  it('is not opened again once it is closed', async () => {
    const lost = side.evaluate(PARAMETERS);
    const ended = expect(lost).rejects.toThrow('has ended');
    await side.close();
    await ended;
    await expect(side.evaluate(PARAMETERS)).rejects.toThrow('the run is over');
    expect(threads).toHaveLength(1);
  });
});

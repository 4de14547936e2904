import type { Checkpoint } from '@troupe/checkpoint';
import type { CheckpointWriter } from './ports.js';

/** Where checkpoints are written. */
export interface CheckpointStore extends Pick<CheckpointWriter, 'place' | 'holds'> {
  /** The newest checkpoint there, in a resumed run. */
  readonly newest?: string | undefined;
  /** Writes all of it or nothing. Resolves to the path. @throws Error, which goes to `onFailed` */
  write(checkpoint: Checkpoint, best: boolean): Promise<string>;
  onFailed(error: Error): void;
}

/**
 * Writes to the store one checkpoint at a time, in order. Of those offered during a write, only
 * the newest is written.
 */
export function writeInTurn({ place, newest, write, holds, onFailed }: CheckpointStore): CheckpointWriter {
  let queue: Promise<unknown> = Promise.resolve();
  let written = newest;
  let offered: Checkpoint | undefined;
  const enqueue = (next: () => Checkpoint, best: boolean): Promise<string | undefined> => {
    const writing = queue
      .then(async () => {
        const path = await write(next(), best);
        if (!best || written === undefined) written = path;
        return path;
      })
      .catch((error: Error) => {
        onFailed(error);
        return undefined;
      });
    queue = writing;
    return writing;
  };
  const takeOffered = (): Checkpoint => {
    const newest = offered!;
    offered = undefined;
    return newest;
  };
  return {
    place,
    get newest() {
      return written;
    },
    async holds(round) {
      await queue;
      return holds(round);
    },
    save: (checkpoint, best) => enqueue(() => checkpoint, best),
    offer(checkpoint) {
      const waits = offered !== undefined;
      offered = checkpoint;
      if (!waits) void enqueue(takeOffered, false);
    },
    async settled() {
      await queue;
    },
  };
}

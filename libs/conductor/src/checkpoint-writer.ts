import type { Checkpoint } from '@troupe/checkpoint';
import type { CheckpointWriter } from './ports.js';

/** Where checkpoints are written. */
export interface CheckpointStore extends Pick<CheckpointWriter, 'place'> {
  /** Writes all of it or nothing. Resolves to the path. @throws Error, which goes to `onFailed` */
  write(checkpoint: Checkpoint, best: boolean): Promise<string>;
  onFailed(error: Error): void;
}

/**
 * Writes to the store one checkpoint at a time, in order. Of those offered during a write, only
 * the newest is written.
 */
export function writeInTurn({ place, write, onFailed }: CheckpointStore): CheckpointWriter {
  let queue: Promise<unknown> = Promise.resolve();
  let offered: Checkpoint | undefined;
  const enqueue = (next: () => Checkpoint, best: boolean): Promise<string | undefined> => {
    const written = queue
      .then(() => write(next(), best))
      .catch((error: Error) => {
        onFailed(error);
        return undefined;
      });
    queue = written;
    return written;
  };
  const takeOffered = (): Checkpoint => {
    const newest = offered!;
    offered = undefined;
    return newest;
  };
  return {
    place,
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

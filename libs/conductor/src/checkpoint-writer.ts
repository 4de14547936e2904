import type { Checkpoint } from '@troupe/checkpoint';
import type { CheckpointWriter } from './ports.js';

/** Where checkpoints go. */
export interface CheckpointStore extends Pick<CheckpointWriter, 'place'> {
  /** Nothing is written before; never rejects. */
  readonly ready?: Promise<void>;
  /** Whole or not at all. Resolves to the path. @throws Error that is told to `onFailed` */
  write(checkpoint: Checkpoint, best: boolean): Promise<string>;
  onFailed(error: Error): void;
}

/** Writes to the store one at a time, in the order asked for; of those offered while one is being written, the newest. */
export function writeInTurn({ place, ready = Promise.resolve(), write, onFailed }: CheckpointStore): CheckpointWriter {
  let queue: Promise<unknown> = ready;
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

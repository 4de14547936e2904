/** A disk whose writes take time, may fail, and are atomic. */
import { decodeCheckpoint, encodeCheckpoint, type Checkpoint } from '@troupe/checkpoint';
import type { Host } from './host.js';
import { sha256 } from './training.js';

const WRITE_MS = 40;
const KEEP = 3;

/** Outlives the processes that write to it. */
export interface Disk {
  full: boolean;
  /** Called with every file that is written. */
  onWritten: (round: number, best: boolean, bytes: Uint8Array) => void;
  /** Forgets what is of a later round. */
  goBack(round: number): void;
  /** Whether it has one of this round or before. */
  holds(round: number): boolean;
  /** The checkpoint from which a run resumes. */
  latest(): Checkpoint | undefined;
  best(): { readonly path: string; readonly checkpoint: Checkpoint } | undefined;
  /** @throws Error when it is full */
  write(host: Host, checkpoint: Checkpoint, best: boolean): Promise<string>;
}

/** @param first a checkpoint that is there from the start */
export function createDisk(first?: Checkpoint): Disk {
  let files: { readonly round: number; readonly bytes: Uint8Array }[] = [];
  if (first) files.push({ round: first.round, bytes: encodeCheckpoint(first, sha256) });
  let bestFile: Uint8Array | undefined;
  const disk: Disk = {
    full: false,
    onWritten: () => undefined,
    goBack(round) {
      files = files.filter((file) => file.round <= round);
      if ((disk.best()?.checkpoint.round ?? 0) > round) bestFile = undefined;
    },
    holds: (round) => files.some((file) => file.round <= round),
    latest() {
      const newest = files.toSorted((a, b) => b.round - a.round).at(0);
      return newest && decodeCheckpoint(newest.bytes, sha256);
    },
    best: () => bestFile && { path: 'disk/best', checkpoint: decodeCheckpoint(bestFile, sha256) },
    async write(host, checkpoint, best) {
      const bytes = encodeCheckpoint(checkpoint, sha256);
      // If the process dies during this time, the old files stay.
      await host.sleep(WRITE_MS);
      if (disk.full) throw new Error('no space left on device');
      const { round } = checkpoint;
      files = [...files.filter((file) => file.round !== round), { round, bytes }].slice(-KEEP);
      if (best) bestFile = bytes;
      disk.onWritten(round, best, bytes);
      return best ? 'disk/best' : `disk/${round}`;
    },
  };
  return disk;
}

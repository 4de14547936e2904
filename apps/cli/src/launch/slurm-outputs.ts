/** The output files of the tasks of a job, which the launcher reads while they grow. They may lie on a network file system. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/** Of a file that is followed from its middle, what is read at first. */
const RECENT_BYTES = 64 * 1024;
/** A line of a log is far shorter. */
const MOST_BYTES = 1024 * 1024;

/** The lines of a file that are new since the last call. */
export class Tail {
  readonly #file: string;
  #at: number | undefined;
  #partial = '';
  #skipsLine = false;

  /** @param fromMiddle start with the last lines of what is there already */
  constructor(file: string, fromMiddle: boolean) {
    this.#file = file;
    if (!fromMiddle) this.#at = 0;
  }

  /** @returns whole lines; none while there is no file */
  read(): readonly string[] {
    const text = this.#partial + this.#readBytes();
    const lines = text.split('\n');
    this.#partial = lines.pop()!.slice(-MOST_BYTES);
    if (this.#skipsLine && lines.length > 0) {
      this.#skipsLine = false;
      lines.shift();
    }
    return lines;
  }

  /** Opens the file each time: only that makes a network file system look for what is new. */
  #readBytes(): string {
    let fd: number;
    try {
      fd = openSync(this.#file, 'r');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
      throw error;
    }
    try {
      const { size } = fstatSync(fd);
      this.#at ??= this.#startOf(size);
      const bytes = Buffer.alloc(Math.min(Math.max(0, size - this.#at), MOST_BYTES));
      const got = readSync(fd, bytes, 0, bytes.length, this.#at);
      this.#at += got;
      return bytes.toString('utf8', 0, got);
    } finally {
      closeSync(fd);
    }
  }

  #startOf(size: number): number {
    this.#skipsLine = size > RECENT_BYTES;
    return Math.max(0, size - RECENT_BYTES);
  }
}

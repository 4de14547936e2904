/** Appends to a file in the background: what is written there is a record, and no run waits for it or fails with it. */
import { appendFile, mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';

const FLUSH_MS = 1_000;
/** Kept while the disk does not take them; more are lost. */
const MOST_PENDING_BYTES = 8 * 1024 ** 2;

export interface Appender {
  append(bytes: Uint8Array): void;
  /** Resolves when everything so far is written, or was tried. Never rejects. */
  flush(): Promise<void>;
  /** Flushes, and takes no more. */
  close(): Promise<void>;
}

export interface AppenderOptions {
  /** Put in front when bytes may have been torn off before, so that they spoil no more than one record. */
  readonly separator?: Uint8Array;
  /** Starts with an empty file. */
  readonly truncate?: boolean;
  /** Said once until writing works again. */
  onFailed(error: Error): void;
}

export function createAppender(file: string, { separator, truncate = false, onFailed }: AppenderOptions): Appender {
  let pending: Uint8Array[] = [];
  let pendingBytes = 0;
  let failing = false;
  let fresh = truncate;
  let closed = false;
  let queue: Promise<void> = Promise.resolve();
  const timer = setInterval(() => void flush(), FLUSH_MS);
  timer.unref();

  return {
    append(bytes) {
      if (closed || pendingBytes > MOST_PENDING_BYTES) return;
      pending.push(bytes);
      pendingBytes += bytes.length;
    },
    flush,
    async close() {
      closed = true;
      clearInterval(timer);
      await flush();
    },
  };

  function flush(): Promise<void> {
    queue = queue.then(write);
    return queue;
  }

  async function write(): Promise<void> {
    if (pending.length === 0) return;
    const [taken, bytes] = [pending, pendingBytes];
    [pending, pendingBytes] = [[], 0];
    const whole = Buffer.concat(failing && separator ? [separator, ...taken] : taken);
    try {
      await mkdir(path.dirname(file), { recursive: true });
      await (fresh ? writeFile(file, whole) : appendFile(file, whole));
      fresh = false;
      failing = false;
    } catch (error) {
      pending.unshift(...taken);
      pendingBytes += bytes;
      if (!failing) onFailed(error as Error);
      failing = true;
    }
  }
}

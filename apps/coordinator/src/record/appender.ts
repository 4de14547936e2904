/** Appends to a file in the background. The file is only a record: no run waits for it or fails because of it. */
import { mkdir, open } from 'node:fs/promises';
import path from 'node:path';

const FLUSH_MS = 1_000;
/** Bytes kept in memory while the disk refuses them; further ones are lost. */
const MAX_PENDING_BYTES = 8 * 1024 ** 2;

export interface Appender {
  append(bytes: Uint8Array): void;
  /** Nothing is written before this. */
  begin(): void;
  /** Resolves when everything so far is written, or writing has failed. Never rejects. */
  flush(): Promise<void>;
  /** Flushes, and accepts no more. */
  close(): Promise<void>;
}

export interface AppenderOptions {
  /** Starts with an empty file. */
  readonly truncate?: boolean;
  /** Called before the first bytes are written, again until it succeeds. */
  readonly prepare?: () => Promise<void>;
  /** Called once until writing works again. */
  onFailed(error: Error): void;
}

export function createAppender(file: string, { truncate = false, prepare, onFailed }: AppenderOptions): Appender {
  let pending: Uint8Array[] = [];
  let pendingBytes = 0;
  let failing = false;
  let begun = false;
  let unprepared = prepare;
  let fresh = truncate;
  /** Size of the file before a failed write. */
  let good: number | undefined;
  let closed = false;
  let queue: Promise<void> = Promise.resolve();
  const timer = setInterval(() => void flush(), FLUSH_MS);
  timer.unref();

  return {
    append(bytes) {
      if (closed || pendingBytes > MAX_PENDING_BYTES) return;
      pending.push(bytes);
      pendingBytes += bytes.length;
    },
    begin() {
      begun = true;
    },
    flush,
    async close() {
      closed = true;
      clearInterval(timer);
      await flush();
    },
  };

  function flush(): Promise<void> {
    queue = queue.then(write).catch(onFailed);
    return queue;
  }

  async function write(): Promise<void> {
    if (!begun || pending.length === 0) return;
    const [taken, bytes] = [pending, pendingBytes];
    pending = [];
    try {
      await unprepared?.();
      unprepared = undefined;
      await put(Buffer.concat(taken));
      pendingBytes -= bytes;
      failing = false;
    } catch (error) {
      pending = taken.concat(pending);
      if (!failing) onFailed(error as Error);
      failing = true;
    }
  }

  async function put(whole: Uint8Array): Promise<void> {
    await mkdir(path.dirname(file), { recursive: true });
    const handle = await open(file, fresh ? 'w' : 'a');
    try {
      const { size } = await handle.stat();
      // A failed write may have left a partial line, which would damage the next one.
      if (good !== undefined && good < size) await handle.truncate(good);
      good ??= size;
      await handle.appendFile(whole);
    } finally {
      await handle.close();
    }
    fresh = false;
    good = undefined;
  }
}

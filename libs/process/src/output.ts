/**
 * Text output that never blocks. Node writes to terminals synchronously: when someone pauses the
 * terminal (Ctrl-S) or an ssh connection stalls, the whole process stands still.
 */
import type { WriteStream } from 'node:tty';

/** Characters to keep while nobody reads. After that the oldest lines are dropped. */
const KEEP_CHARACTERS = 4 * 1024 ** 2;
/** Characters to hand to the stream at a time. */
const CHUNK_CHARACTERS = 64 * 1024;
/** Time for the rest of the output after a request to stop. */
const GRACE_MS = 2_000;

/** What an output needs of a stream: process.stdout or process.stderr. */
export type OutputStream = Pick<WriteStream, 'write' | 'on' | 'isTTY' | 'columns' | 'rows'>;

export interface OutputOptions {
  /** A line that stands for `lines` lines that are lost, without the line break. */
  readonly missing?: (lines: number) => string;
  readonly keepCharacters?: number;
}

/** "1,234 lines of output are missing here; ..." */
export function missingLines(lines: number): string {
  const count = lines === 1 ? '1 line of output is' : `${lines.toLocaleString('en')} lines of output are`;
  return `${count} missing here: the output was paused or could not be written.`;
}

/** A bounded queue in front of a stream. */
export class LiveOutput {
  readonly #stream: OutputStream;
  readonly #missing: (lines: number) => string;
  readonly #keep: number;
  readonly #gone = new AbortController();
  readonly #idle = new Set<() => void>();
  #failure: Error | undefined;
  #queue: string[] = [];
  #queued = 0;
  #lost = 0;
  #writing = false;

  constructor(stream: OutputStream, { missing = missingLines, keepCharacters = KEEP_CHARACTERS }: OutputOptions = {}) {
    this.#stream = stream;
    this.#missing = missing;
    this.#keep = keepCharacters;
    writeWithoutBlocking(stream);
    // Errors arrive at the callback of write(). Without a listener they would end the process.
    stream.on('error', (error: Error) => this.#note(error));
  }

  get isTTY(): boolean {
    return this.#stream.isTTY === true;
  }

  get columns(): number | undefined {
    return this.#stream.columns;
  }

  get rows(): number | undefined {
    return this.#stream.rows;
  }

  /** Text waits because nobody reads. Leave out what is worth showing only now. */
  get isStalled(): boolean {
    return this.#queue.length > 0;
  }

  /** Aborts when the reader is gone: a closed pipe or terminal. Later text is dropped. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /** Why text could not be written although somebody may want it: a full disk. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Writes whole lines. Never blocks and never throws. */
  write(text: string): void {
    if (this.#gone.signal.aborted) return;
    this.#queue.push(text);
    this.#queued += text.length;
    while (this.#queued > this.#keep && this.#queue.length > 1) this.#lost += linesIn(this.#take());
    this.#pump();
  }

  /**
   * Resolves with true when all text is written or the reader is gone. After `stop` aborts it waits
   * only two more seconds, and then resolves with false.
   */
  async flush(stop?: AbortSignal, graceMs = GRACE_MS): Promise<boolean> {
    if (this.#isIdle()) return true;
    return new Promise((resolve) => {
      let timer: NodeJS.Timeout | undefined;
      const settle = (isDone: boolean): void => {
        clearTimeout(timer);
        stop?.removeEventListener('abort', hurry);
        this.#idle.delete(done);
        resolve(isDone);
      };
      const done = (): void => settle(true);
      const hurry = (): void => void (timer = setTimeout(() => settle(false), graceMs));
      this.#idle.add(done);
      if (stop?.aborted) hurry();
      else stop?.addEventListener('abort', hurry, { once: true });
    });
  }

  #isIdle(): boolean {
    return this.#gone.signal.aborted || (!this.#writing && this.#queue.length === 0);
  }

  #take(): string {
    const text = this.#queue.shift()!;
    this.#queued -= text.length;
    return text;
  }

  #pump(): void {
    if (this.#writing) return;
    if (this.#isIdle()) {
      for (const done of [...this.#idle]) done();
      return;
    }
    let chunk = '';
    while (this.#queue.length > 0 && chunk.length < CHUNK_CHARACTERS) chunk += this.#take();
    const lines = this.#lost + linesIn(chunk);
    const notice = this.#lost > 0 ? `${this.#missing(this.#lost)}\n` : '';
    this.#lost = 0;
    this.#writing = true;
    this.#stream.write(notice + chunk, (error) => {
      this.#writing = false;
      if (error) {
        this.#lost += lines;
        this.#note(error);
      }
      this.#pump();
    });
  }

  #note(error: Error): void {
    if (!isReaderGone(error)) this.#failure ??= error;
    else if (!this.#gone.signal.aborted) {
      this.#gone.abort(new Error('nobody reads the output', { cause: error }));
      this.#queue = [];
      this.#queued = 0;
      this.#pump();
    }
  }
}

/**
 * Node sets terminals to blocking writes and has no public way back. Pipes are non-blocking on POSIX
 * systems already. On Windows consoles and pipes always block, so there a paused console may pause the
 * run; docs/operate.md says so.
 */
function writeWithoutBlocking(stream: OutputStream): void {
  if (stream.isTTY !== true) return;
  const { _handle: handle } = stream as { readonly _handle?: { setBlocking?(isBlocking: boolean): unknown } };
  handle?.setBlocking?.(false);
}

const READER_GONE: ReadonlySet<string> = new Set(['EPIPE', 'EIO', 'ECONNRESET', 'ENXIO', 'ERR_STREAM_DESTROYED', 'EOF']);

/** Whether an error of an output means that its reader is gone. Any other error, such as a full disk, is a failure. */
export function isReaderGone(error: Error): boolean {
  return READER_GONE.has((error as NodeJS.ErrnoException).code ?? '');
}

/** What to tell about an output that could not be written, as two sentences. */
export function outputProblem(error: Error): { readonly message: string; readonly remedy: string } {
  return {
    message: `Standard output could not be written completely: ${error.message}.`,
    remedy:
      'Lines of it are missing. If its disk is full, free some space or write to another file. Checkpoints are not affected.',
  };
}

function linesIn(text: string): number {
  return Math.max(1, text.split('\n').length - 1);
}

/** The logs of the workers of a launch, a file of JSON lines for each. */
import { createWriteStream, existsSync, mkdirSync, readdirSync, type WriteStream } from 'node:fs';
import path from 'node:path';
import type { WorkerEntry } from './wire.js';

/** Leases are counted, not listed: one line a minute tells how far a worker is. */
const PROGRESS_MS = 60_000;
const RUNS = 'runs';
/** The claim of a running coordinator on the folder of its run. */
const CLAIM = 'run.lock';

/**
 * Where logs go without --logs: beside the checkpoints, if one coordinator runs in this folder; otherwise beside the runs.
 */
export function defaultLogFolder(runs: string = RUNS): string {
  const names = existsSync(runs) ? readdirSync(runs) : [];
  const running = names.filter((name) => existsSync(path.join(runs, name, CLAIM)));
  return running.length === 1 ? path.join(runs, running[0], 'hosts') : path.join(runs, 'hosts');
}

/** "lab-01/2" -> "lab-01-2.jsonl". */
export function logFileName(slot: string): string {
  return `${slot.replace(/[^\w.-]+/g, '-').replace(/^[.-]+/, '')}.jsonl`;
}

export class SlotLogs {
  readonly #folder: string;
  readonly #now: () => Date;
  readonly #onError: (error: Error) => void;
  readonly #files = new Map<string, WriteStream>();
  readonly #progressMs = new Map<string, number>();
  #isBroken = false;

  /**
   * @param onError called once, when a log cannot be written; workers go on without
   * @throws NodeJS.ErrnoException if the folder cannot be made
   */
  constructor(folder: string, now: () => Date, onError: (error: Error) => void) {
    mkdirSync(folder, { recursive: true });
    this.#folder = folder;
    this.#now = now;
    this.#onError = onError;
  }

  write(slot: string, entry: WorkerEntry): void {
    const now = this.#now();
    if (this.#isBroken || (entry.kind === 'computed' && !this.#isDue(slot, now.getTime()))) return;
    this.#fileOf(slot).write(`${JSON.stringify({ time: now.toISOString(), ...entry })}\n`);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#files.values()].map((file) => new Promise<void>((resolve) => file.end(() => resolve()))));
  }

  #isDue(slot: string, nowMs: number): boolean {
    const lastMs = this.#progressMs.get(slot) ?? -Infinity;
    if (nowMs - lastMs < PROGRESS_MS) return false;
    this.#progressMs.set(slot, nowMs);
    return true;
  }

  #fileOf(slot: string): WriteStream {
    const known = this.#files.get(slot);
    if (known !== undefined) return known;
    const file = createWriteStream(path.join(this.#folder, logFileName(slot)), { flags: 'a' });
    file.on('error', (error) => {
      if (this.#isBroken) return;
      this.#isBroken = true;
      this.#onError(error);
    });
    this.#files.set(slot, file);
    return file;
  }
}

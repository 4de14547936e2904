/** A run as its folder shows it: its history, which may still grow, and its best model. Nothing in the folder changes. */
import { open, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Checkpoint } from '@troupe/checkpoint';
import { BEST, LOCK, readCheckpoint } from '@troupe/checkpoint/node';
import { createRunHistory, decodeEntry, lossOf, type EvaluationPoint, type RunHistory, type RunPhase } from '@troupe/run';
import { HISTORY_FILE } from '../record/history-file.js';

const CHUNK_BYTES = 4 * 1024 ** 2;
/** A run whose history has not grown for this long computes no longer, whatever its folder says. */
const SILENCE_MS = 60_000;

export interface StoredRun {
  readonly folder: string;
  readonly history: RunHistory;
  readonly best: EvaluationPoint | undefined;
  /** The best model on disk, or else the newest one that can be read. */
  readonly model: Checkpoint | undefined;
  phase(): readonly [RunPhase, reason: string];
  /**
   * Reads what is new.
   * @returns false if the run has been rewound: open it again
   * @throws errors of the file system
   */
  refresh(): Promise<boolean>;
}

/** @returns undefined if the folder holds no history of a run. @throws errors of the file system */
export async function openStoredRun(folder: string, now: () => number): Promise<StoredRun | undefined> {
  const run = new FolderRun(folder, now);
  await run.refresh();
  return run.history.run === undefined ? undefined : run;
}

class FolderRun implements StoredRun {
  readonly folder: string;
  readonly history = createRunHistory();
  best: EvaluationPoint | undefined;
  model: Checkpoint | undefined;
  readonly #now: () => number;
  /** The end of the last complete line that was read. */
  #offset = 0;
  #modelAtMs = -1;
  #grewAtMs = -Infinity;
  #isLocked = false;
  #reading: Promise<boolean> | undefined;

  constructor(folder: string, now: () => number) {
    this.folder = folder;
    this.#now = now;
  }

  phase(): readonly [RunPhase, string] {
    const { run, lastRound } = this.history;
    const { rounds } = run!.config;
    if (lastRound >= rounds) return ['over', 'all rounds are complete'];
    const isLive = this.#isLocked && this.#now() - this.#grewAtMs < SILENCE_MS;
    return isLive ? ['running', `round ${lastRound + 1} of ${rounds} is being computed`] : ['over', 'stopped'];
  }

  refresh(): Promise<boolean> {
    this.#reading ??= this.#read().finally(() => (this.#reading = undefined));
    return this.#reading;
  }

  async #read(): Promise<boolean> {
    const file = path.join(this.folder, HISTORY_FILE);
    const { size, mtimeMs } = await stat(file);
    if (size < this.#offset) return false;
    this.#grewAtMs = mtimeMs;
    this.#isLocked = (await stat(path.join(this.folder, LOCK)).catch(() => undefined)) !== undefined;
    for await (const line of linesFrom(file, this.#offset, (offset) => (this.#offset = offset))) this.#add(line);
    await this.#readModel();
    return true;
  }

  #add(line: string): void {
    const entry = decodeEntry(line);
    if (!entry) return;
    this.history.add(entry);
    if (entry.type !== 'evaluation') return;
    const { evaluation } = entry;
    if (!this.best || lossOf(evaluation) < lossOf(this.best)) this.best = evaluation;
  }

  async #readModel(): Promise<void> {
    const about = await stat(path.join(this.folder, BEST)).catch(() => undefined);
    const changedMs = about?.mtimeMs ?? 0;
    if (changedMs === this.#modelAtMs) return;
    this.#modelAtMs = changedMs;
    // Without a model, or with one of another release, there are still its curves.
    this.model = (await readCheckpoint(this.folder, { prefer: 'best' }).catch(() => undefined))?.checkpoint ?? this.model;
  }
}

/** The complete lines of a file from a byte on. */
async function* linesFrom(file: string, from: number, onRead: (offset: number) => void): AsyncGenerator<string> {
  const handle = await open(file);
  try {
    let rest = Buffer.alloc(0);
    for (let at = from; ;) {
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(CHUNK_BYTES), 0, CHUNK_BYTES, at);
      if (bytesRead === 0) return;
      at += bytesRead;
      const bytes = Buffer.concat([rest, buffer.subarray(0, bytesRead)]);
      const end = bytes.lastIndexOf('\n') + 1;
      rest = bytes.subarray(end);
      onRead(at - rest.length);
      yield* bytes.subarray(0, end).toString('utf8').split('\n').filter(Boolean);
    }
  } finally {
    await handle.close();
  }
}

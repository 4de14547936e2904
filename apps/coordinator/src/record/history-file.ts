/** A run's history on disk: history.jsonl beside its checkpoints, one entry a line. A running run only appends to it. */
import { createReadStream } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { createRunHistory, decodeEntry, encodeEntry, roundOf, type HistoryEntry, type RunHistory } from '@troupe/run';
import { createAppender } from './appender.js';

export const HISTORY_FILE = 'history.jsonl';
/** Troupe writes no longer lines. */
const MAX_LINE = 1024 ** 2;
const LINES_AT_ONCE = 1_000;

export interface HistoryFile {
  append(entry: HistoryEntry): void;
  /** The file does not change before this. */
  begin(): void;
  flush(): Promise<void>;
  close(): Promise<void>;
}

export interface OpenedHistory {
  /** The run's history up to the round from which it resumes. */
  readonly history: RunHistory;
  readonly file: HistoryFile;
}

/**
 * @param resumedAt round of the checkpoint from which the run resumes; entries of later rounds are dropped. Undefined: a new run
 * @param onFailed called if the history cannot be read or written; the run continues
 */
export async function openHistory(
  folder: string,
  resumedAt: number | undefined,
  onFailed: (error: Error) => void,
): Promise<OpenedHistory> {
  const file = path.join(folder, HISTORY_FILE);
  const history = createRunHistory();
  if (resumedAt !== undefined) await readUpTo(file, resumedAt, history).catch(onFailed);
  const prepare = resumedAt === undefined ? {} : { prepare: () => rewind(file, resumedAt) };
  const appender = createAppender(file, { truncate: resumedAt === undefined, ...prepare, onFailed });
  return {
    history,
    file: {
      begin: () => appender.begin(),
      append: (entry) => appender.append(Buffer.from(`${encodeEntry(entry)}\n`)),
      flush: () => appender.flush(),
      close: () => appender.close(),
    },
  };
}

async function readUpTo(file: string, resumedAt: number, history: RunHistory): Promise<void> {
  try {
    for await (const entry of readEntries(file)) if (roundOf(entry) <= resumedAt) history.add(entry);
  } catch (error) {
    // Runs of older releases have no such file.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

/** Writes the file again without partial lines and without entries after round `resumedAt`. */
async function rewind(file: string, resumedAt: number): Promise<void> {
  const temporary = `${file}.tmp`;
  try {
    const out = await open(temporary, 'w');
    try {
      let lines: string[] = [];
      const write = async (): Promise<void> => {
        await out.appendFile(lines.join(''));
        lines = [];
      };
      for await (const entry of readEntries(file)) {
        if (roundOf(entry) > resumedAt) continue;
        lines.push(`${encodeEntry(entry)}\n`);
        if (lines.length === LINES_AT_ONCE) await write();
      }
      await write();
      await out.sync();
    } finally {
      await out.close();
    }
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true });
    // Runs of older releases have no such file.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

/** Entries of a history file, in order. Unreadable lines are skipped. @throws errors of the file system */
export async function* readEntries(file: string): AsyncGenerator<HistoryEntry> {
  const stream = createReadStream(file, 'utf8');
  try {
    // Without this, an error before the first line would be lost.
    await new Promise<void>((resolve, reject) => stream.once('open', () => resolve()).once('error', reject));
    for await (const line of createInterface({ input: stream, crlfDelay: Infinity })) {
      const entry = line.length > MAX_LINE ? undefined : decodeEntry(line);
      if (entry) yield entry;
    }
  } finally {
    stream.destroy();
  }
}

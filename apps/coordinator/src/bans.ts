/** The bans of a run, in a file beside its checkpoints, so that they outlive the process. */
import { readPrivateFile, writePrivateFile, type PrivateFile } from '@troupe/checkpoint/node';
import { createBanList, type BanList } from '@troupe/conductor';
import { LIMITS } from '@troupe/protocol';
import type { Ban, BansView, RunEvent } from '@troupe/run';
import * as v from 'valibot';
import type { Report } from './reporter.js';
import type { RunFolder } from './run-folder.js';

const line = (length: number) => v.pipe(v.string(), v.maxLength(length), v.regex(/^[^\p{Cc}]*$/u));
const ADDRESS_LENGTH = 256;

export const BanIdSchema = v.pipe(v.string(), v.regex(/^b\d{1,15}$/));

const BanSchema = v.strictObject({
  id: BanIdSchema,
  at: v.pipe(v.number(), v.safeInteger()),
  by: v.picklist(['admin', 'audit']),
  address: line(ADDRESS_LENGTH),
  // A worker without a name has its address as its name.
  name: line(ADDRESS_LENGTH),
  tokenId: v.exactOptional(line(LIMITS.tokenLength)),
  refused: v.boolean(),
  held: v.boolean(),
  reason: line(LIMITS.reasonLength),
});
const BansSchema = v.strictObject({ bans: v.pipe(v.array(BanSchema), v.maxLength(LIMITS.bans)) });

const BANS: PrivateFile<BansView> = {
  name: 'bans.json',
  what: 'the bans of the run',
  remedy: 'Correct the file, or move it away: nobody is banned then.',
  parse(fields) {
    const result = v.safeParse(BansSchema, fields);
    if (result.success) return result.output;
    const [issue] = result.issues;
    throw new Error(`${v.getDotPath(issue) ?? 'the list'}: ${issue.message}`);
  },
};

/** The name of the file. */
export const BANS_FILE = BANS.name;

/** @throws CheckpointError `cannot_read` if the file is damaged: a ban must not end because of that */
export async function readBans(folder: string): Promise<readonly Ban[]> {
  return (await readPrivateFile(folder, BANS))?.bans ?? [];
}

export interface BanBook {
  readonly list: BanList;
  /** The folder is surely this run's. Bans that another run left there are gone from it. */
  begin(): Promise<void>;
  /** Nothing is written afterwards. Never rejects. */
  close(): Promise<void>;
}

export interface BanBookOptions {
  readonly folder: Pick<RunFolder, 'path' | 'check'>;
  readonly bans: readonly Ban[];
  readonly report: Report;
}

/** Writes the bans after each change, one write at a time: of changes during a write, the last one counts. */
export function openBanBook({ folder, bans, report }: BanBookOptions): BanBook {
  let state: 'waiting' | 'open' | 'closed' = 'waiting';
  let isStored = false;
  /** An empty list is news only then. */
  let hadSome = bans.length > 0;
  let writing: Promise<void> | undefined;
  const list = createBanList({
    bans,
    now: Date.now,
    onChange() {
      [isStored, hadSome] = [false, true];
      void store();
    },
  });

  async function write(): Promise<void> {
    while (!isStored) {
      isStored = true;
      try {
        const now = list.list();
        await folder.check();
        await writePrivateFile(folder.path, BANS, now.length > 0 ? { bans: now } : undefined);
      } catch (error) {
        isStored = false;
        if (hadSome) report(notStored(error as Error));
        return;
      }
    }
  }
  const store = (): Promise<void> => {
    if (state !== 'open') return Promise.resolve();
    writing ??= write().finally(() => (writing = undefined));
    return writing;
  };
  return {
    list,
    async begin() {
      if (state === 'waiting') state = 'open';
      await store();
    },
    async close() {
      await writing;
      await store();
      state = 'closed';
    },
  };
}

function notStored({ message }: Error): RunEvent {
  const text = `the list of bans is not stored, and a resumed run would not know its last changes: ${message}`;
  return { event: 'note', level: 'warn', text, remedy: 'It is stored with the next change, or when the run ends.' };
}

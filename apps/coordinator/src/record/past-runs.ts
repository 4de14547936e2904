/** Reads the histories of the runs in neighbouring folders, to compare their curves. */
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { createRunHistory, lossOf, type EvaluationPoint, type PastRun, type RunHistory } from '@troupe/run';
import { HISTORY_FILE, readEntries } from './history-file.js';

const MAX_RUNS = 50;
const MAX_POINTS = 300;
/** Entries read of the parent folder, which may contain anything. */
const MAX_FOLDERS = 2_000;
/** A history that grows is read again after this time, because it may be large. */
const REST_MS = 300_000;
const MAX_BYTES = 256 * 1024 ** 2;

export interface PastRuns {
  /** Newest first. For the run in the `own` folder, `current` replaces its file. */
  list(current: RunHistory): Promise<PastRun[]>;
  /** Only the current run. */
  own(current: RunHistory): PastRun[];
}

interface Found {
  readonly folder: string;
  readonly file: string;
  /** Changes when the file changes. */
  readonly version: string;
  readonly modifiedMs: number;
}

/** @param own the folder of the current run */
export function createPastRuns(own: string, nowMs: () => number): PastRuns {
  const parent = path.dirname(path.resolve(own));
  const ownName = path.basename(path.resolve(own));
  const known = new Map<string, { version: string; readMs: number; run: PastRun | undefined }>();
  let reading: Promise<PastRun[]> | undefined;

  return {
    async list(current) {
      // One reader at a time: concurrent requests share its result.
      reading ??= readOthers().finally(() => (reading = undefined));
      const others = await reading;
      return [...ownOf(current), ...others];
    },
    own: ownOf,
  };

  function ownOf(current: RunHistory): PastRun[] {
    const summaryOfOwn = summary(ownName, current, true);
    return summaryOfOwn ? [summaryOfOwn] : [];
  }

  async function readOthers(): Promise<PastRun[]> {
    const found = (await findHistories(parent)).filter(({ folder }) => folder !== ownName).slice(0, MAX_RUNS - 1);
    for (const { folder, file, version } of found) {
      const before = known.get(folder);
      if (before && (before.version === version || nowMs() - before.readMs < REST_MS)) continue;
      const run = await readRun(folder, file);
      known.set(folder, { version, readMs: nowMs(), run });
    }
    for (const folder of known.keys()) if (!found.some((one) => one.folder === folder)) known.delete(folder);
    return found.flatMap(({ folder }) => known.get(folder)?.run ?? []);
  }
}

async function findHistories(parent: string): Promise<Found[]> {
  const entries = await readdir(parent, { withFileTypes: true }).catch(() => []);
  const found: Found[] = [];
  for (const entry of entries.slice(0, MAX_FOLDERS)) {
    if (!entry.isDirectory()) continue;
    const file = path.join(parent, entry.name, HISTORY_FILE);
    const about = await stat(file).catch(() => undefined);
    if (!about?.isFile() || about.size > MAX_BYTES) continue;
    const { size, mtimeMs } = about;
    found.push({ folder: entry.name, file, version: `${size} ${mtimeMs}`, modifiedMs: mtimeMs });
  }
  return found.sort((a, b) => b.modifiedMs - a.modifiedMs);
}

async function readRun(folder: string, file: string): Promise<PastRun | undefined> {
  const history = createRunHistory();
  try {
    for await (const entry of readEntries(file)) history.add(entry);
    return summary(folder, history, false);
  } catch {
    // It is gone or unreadable by now, so it is not listed.
    return undefined;
  }
}

function summary(folder: string, history: RunHistory, current: boolean): PastRun | undefined {
  const { run, lastRound, evaluations, flows } = history;
  if (!run) return undefined;
  const { round, smoothedLoss, gradientNorm } = history.points(0, lastRound, MAX_POINTS).points;
  const best = bestOf(evaluations);
  const flow = flows.at(-1);
  return {
    ...run,
    folder,
    round: lastRound,
    rounds: run.config.rounds,
    ...(best ? { best } : {}),
    losses: { round, smoothedLoss, gradientNorm },
    evaluations: evaluations.slice(-MAX_POINTS),
    ...(flow ? { flow } : {}),
    current,
  };
}

function bestOf(evaluations: readonly EvaluationPoint[]): EvaluationPoint | undefined {
  let best: EvaluationPoint | undefined;
  for (const one of evaluations) if (!best || lossOf(one) < lossOf(best)) best = one;
  return best;
}

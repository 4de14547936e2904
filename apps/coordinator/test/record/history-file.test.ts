import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { encodeEntry, type HistoryEntry, type RoundPoint } from '@troupe/run';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createAppender } from '../../src/record/appender.js';
import { openHistory, type OpenedHistory } from '../../src/record/history-file.js';
import { createPastRuns } from '../../src/record/past-runs.js';

let folder: string;
let failures: Error[];
beforeEach(async () => {
  folder = await fs.mkdtemp(path.join(os.tmpdir(), 'troupe-history-'));
  failures = [];
});
afterEach(() => fs.rm(folder, { recursive: true, force: true }));

const file = (): string => path.join(folder, 'history.jsonl');
async function openAt(place: string, resumedAt?: number): Promise<OpenedHistory> {
  const opened = await openHistory(place, resumedAt, (error) => failures.push(error));
  opened.file.begin();
  return opened;
}
const open = (resumedAt?: number) => openAt(folder, resumedAt);
const sample = (round: number): HistoryEntry => ({ type: 'sample', sample: { round, text: `at ${round}` } });
const flow = (round: number): HistoryEntry => ({ type: 'flow', flow: { round, layers: [[1, 0.1]] } });
const run: HistoryEntry = {
  type: 'run',
  run: {
    runId: 'r',
    name: 'a run',
    model: 'LSTM',
    config: { rounds: 9 } as never,
    corpus: 'sonnets',
    parameters: 5,
    startedAt: 1,
  },
};

function point(round: number): HistoryEntry {
  const figures = { trainLoss: 3, smoothedLoss: 3, gradientNorm: 1, clipScale: 1, learningRate: 0.1, roundMs: 4 };
  const rest = { computeMs: 1, transferMs: 1, reduceMs: 1, waitingMs: 1, charsPerSecond: 9, workers: 1 };
  return { type: 'round', point: { round, ...figures, ...rest } satisfies RoundPoint };
}

describe('the history on disk', () => {
  it('is read after a restart, up to the checkpoint that the run continues from', async () => {
    const { file: first } = await open();
    for (const entry of [run, ...[1, 2, 3, 4, 5].map(point), sample(2), sample(4)]) first.append(entry);
    await first.close();
    const { history, file: second } = await open(3);
    expect(history.points(0, 9, 100).points.round).toEqual([1, 2, 3]);
    expect(history.samples).toEqual([{ round: 2, text: 'at 2' }]);
    expect(history.run?.name).toBe('a run');
    second.append(point(4));
    await second.close();
    const { history: third, file: last } = await open(9);
    await last.close();
    expect(third.points(0, 9, 100).points.round).toEqual([1, 2, 3, 4]);
    expect(failures).toEqual([]);
  });

  it('leaves the file as it is until the run begins', async () => {
    const { file: first } = await open();
    for (const entry of [run, ...[1, 2, 3].map(point)]) first.append(entry);
    await first.close();
    const before = await fs.readFile(file(), 'utf8');
    for (const resumedAt of [1, undefined]) {
      const { file: second } = await openHistory(folder, resumedAt, (error) => failures.push(error));
      second.append(point(9));
      await second.close();
      expect(await fs.readFile(file(), 'utf8')).toBe(before);
    }
    expect(failures).toEqual([]);
  });

  it('is rewound as soon as the disk has room, and written to only then', async () => {
    const { file: first } = await open();
    for (const entry of [run, ...[1, 2, 3].map(point)]) first.append(entry);
    await first.close();
    const before = await fs.readFile(file(), 'utf8');
    // In the place of the temporary file nothing can be written.
    await fs.mkdir(`${file()}.tmp`);
    const { file: second } = await open(1);
    second.append(point(2));
    await second.flush();
    expect(await fs.readFile(file(), 'utf8')).toBe(before);
    expect(failures).toHaveLength(1);
    await fs.rmdir(`${file()}.tmp`);
    await second.close();
    const { history, file: third } = await open(9);
    await third.close();
    expect(history.points(0, 9, 100).points.round).toEqual([1, 2]);
  });

  it('survives a partial last line and unreadable lines', async () => {
    const lines = [run, point(1), point(2), sample(2)].map(encodeEntry);
    await fs.writeFile(file(), [lines[0], lines[1], '{"type":"of a later release"}', lines[2], lines[3].slice(0, 20)].join('\n'));
    const { history, file: again } = await open(2);
    again.append(sample(2));
    await again.close();
    expect(history.lastRound).toBe(2);
    expect(history.samples).toEqual([]);
    expect((await fs.readFile(file(), 'utf8')).split('\n')).toEqual([lines[0], lines[1], lines[2], lines[3], '']);
  });

  it('of a new run replaces an older one', async () => {
    await fs.writeFile(file(), `${encodeEntry(sample(7))}\n`);
    const { file: fresh } = await open();
    fresh.append(point(1));
    await fresh.close();
    expect(await fs.readFile(file(), 'utf8')).toBe(`${encodeEntry(point(1))}\n`);
  });

  it('is empty for a resumed run that has none', async () => {
    const { history, file: fresh } = await open(10);
    await fresh.close();
    expect(history.lastRound).toBe(0);
    expect(failures).toEqual([]);
  });

  it('that cannot be written reports that once, and continues when it can be written again', async () => {
    await fs.mkdir(file());
    const { file: blocked } = await open();
    blocked.append(point(1));
    await blocked.flush();
    blocked.append(point(2));
    await blocked.flush();
    expect(failures).toHaveLength(1);
    await fs.rmdir(file());
    blocked.append(point(3));
    await blocked.close();
    const { history, file: again } = await open(9);
    await again.close();
    expect(history.points(0, 9, 10).points.round).toEqual([1, 2, 3]);
  });
});

describe('an appender', () => {
  it('keeps many pieces in memory while the disk refuses them', async () => {
    await fs.mkdir(file());
    const appender = createAppender(file(), { onFailed: (error) => failures.push(error) });
    appender.begin();
    for (let i = 0; i < 200_000; i++) appender.append(Buffer.from('x'));
    await appender.flush();
    appender.append(Buffer.from('y'));
    await appender.flush();
    expect(failures).toHaveLength(1);
    await fs.rmdir(file());
    await appender.close();
    expect(await fs.readFile(file(), 'utf8')).toBe(`${'x'.repeat(200_000)}y`);
  });
});

describe('past runs', () => {
  it('are those in neighbouring folders, the current run first, then the newest', async () => {
    const own = path.join(folder, 'own');
    const older = path.join(folder, 'older');
    const newer = path.join(folder, 'newer');
    for (const [place, rounds] of [
      [older, 3],
      [newer, 5],
      [own, 2],
    ] as const) {
      const { file: written } = await openAt(place);
      written.append(run);
      for (let round = 1; round <= rounds; round++) written.append(point(round));
      written.append({ type: 'evaluation', evaluation: { round: 2, validationLoss: 1.5 } });
      written.append(flow(2));
      await written.close();
    }
    await fs.utimes(path.join(older, 'history.jsonl'), 1, 1);
    await fs.mkdir(path.join(folder, 'something else'));
    await fs.mkdir(path.join(folder, 'broken'));
    await fs.writeFile(path.join(folder, 'broken', 'history.jsonl'), 'no history\n');
    const { history, file: current } = await openAt(own, 9);
    await current.close();
    const runs = await createPastRuns(own, () => 0).list(history);
    expect(runs.map((one) => [one.folder, one.round, one.current])).toEqual([
      ['own', 2, true],
      ['newer', 5, false],
      ['older', 3, false],
    ]);
    expect(runs[1]).toMatchObject({
      name: 'a run',
      rounds: 9,
      best: { round: 2, validationLoss: 1.5 },
      losses: { round: [1, 2, 3, 4, 5] },
      flow: { round: 2 },
    });
    expect(failures).toEqual([]);
  });

  it('are read again after a while if they have changed', async () => {
    let now = 0;
    const other = path.join(folder, 'other');
    const { file: growing } = await openAt(other);
    growing.append(run);
    growing.append(point(1));
    await growing.flush();
    const { history, file: mine } = await open();
    const pastRuns = createPastRuns(path.join(folder, 'own'), () => now);
    expect((await pastRuns.list(history)).map(({ round }) => round)).toEqual([1]);
    growing.append(point(2));
    await growing.close();
    expect((await pastRuns.list(history)).map(({ round }) => round)).toEqual([1]);
    now = 300_000;
    expect((await pastRuns.list(history)).map(({ round }) => round)).toEqual([2]);
    expect(pastRuns.own(history)).toEqual([]);
    await mine.close();
  });
});

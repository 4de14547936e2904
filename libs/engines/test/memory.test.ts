import { parameterCount, stateSize } from '@troupe/model';
import { describe, expect, it } from 'vitest';
import { coordinatorBytes, memoryProblem, workerBytes } from '../src/index.js';

const MIB = 1024 ** 2;
const size = (hidden: number, streams: number, window: number) => ({
  model: { cell: 'lstm', layers: 2, hidden, vocabulary: 61 } as const,
  streams,
  leaseStreams: 0,
  window,
  localSteps: 1,
  tracks: 0,
});

describe('the memory of a run', () => {
  // Peaks of resident memory, measured on Linux with the native engine.
  it.each([
    ['a large model', size(1024, 32, 64), 837, 1521],
    ['many streams and a long window', size(256, 256, 128), 688, 281],
  ])('is predicted within a third for %s', (_, run, worker, coordinator) => {
    for (const [predicted, measured] of [
      [workerBytes(run) / MIB, worker],
      [coordinatorBytes(run) / MIB, coordinator],
    ]) {
      expect(predicted).toBeGreaterThan(measured / 1.34);
      expect(predicted).toBeLessThan(measured * 1.34);
    }
  });

  // Peaks of a process with the native engine alone, before and after threads are added.
  it.each([
    [2, 206],
    [4, 627],
    [8, 1462],
  ])('grows with the threads of a worker: %d of them', (threads, measured) => {
    const more = (workerBytes(size(1024, 32, 64), threads) - workerBytes(size(1024, 32, 64))) / MIB;
    expect(more).toBeGreaterThan(measured / 1.34);
    expect(more).toBeLessThan(measured * 1.34);
  });

  it('counts the checkpoints that wait: more in a reproducible run, which skips none', () => {
    const run = size(1024, 4096, 64);
    const parameters = 4 * parameterCount(run.model);
    const states = 4 * 4096 * stateSize(run.model);
    expect(coordinatorBytes({ ...run, leaseStreams: 512 }) - coordinatorBytes(run)).toBe(5 * (3 * parameters + states));
  });

  const run = size(1024, 32, 64);
  const machine = (mib: number) => ({ totalBytes: mib * MIB, freeBytes: mib * MIB });
  it.each([
    [{ coordinators: 1, workers: 2, threads: 1 }, 8_000, undefined, ''],
    [
      { coordinators: 1, workers: 4, threads: 1 },
      3_800,
      'tight',
      'With --workers 2 it fits. Use fewer --workers, a smaller --batch',
    ],
    [{ coordinators: 1, workers: 1, threads: 8 }, 3_800, 'tight', 'With --threads 5 it fits. Use fewer --threads, a smaller'],
    [{ coordinators: 1, workers: 2, threads: 8 }, 3_200, 'tight', 'With --workers 1 --threads 1 it fits. Use fewer'],
    [{ coordinators: 1, workers: 4, threads: 1 }, 1_300, 'tight', 'Use fewer --workers, a smaller --batch or --window, or a'],
    [{ coordinators: 1, workers: 4, threads: 1 }, 500, 'impossible', 'Use fewer --workers'],
    [{ coordinators: 1, workers: 0, threads: 1 }, 1_000, 'tight', 'Use a smaller --window or a smaller model; or end other'],
    [{ coordinators: 1, workers: 0, threads: 1 }, 100, 'impossible', 'Use a smaller --window or a smaller model'],
    [{ coordinators: 0, workers: 1, threads: 1 }, 500, 'tight', 'Use a machine with more memory; or end other programs.'],
    [{ coordinators: 0, workers: 1, threads: 4 }, 1_150, 'tight', 'With --threads 2 it fits. Use fewer --threads, or a machine'],
  ] as const)('for %j with %d MiB is %s: %s', (processes, mib, verdict, remedy) => {
    const problem = memoryProblem(run, processes, machine(mib));
    expect(problem?.verdict).toBe(verdict);
    expect(problem?.remedy ?? '').toContain(remedy);
  });

  it('counts and names the reducers of a coordinator', () => {
    const text = (reducers: number) =>
      memoryProblem(run, { coordinators: 1, reducers, workers: 0, threads: 1 }, machine(50))!.text;
    expect(text(0)).toMatch(/^This run needs about 1\.7 GiB of memory for a coordinator, of/);
    expect(text(3)).toMatch(/^This run needs about 2\.0 GiB of memory for a coordinator with 3 reducers, of/);
  });

  it('names the processes and the machine in its problem', () => {
    const { text } = memoryProblem(run, { coordinators: 1, workers: 1, threads: 8 }, machine(2_048))!;
    expect(text).toMatch(
      /^This run needs about 4\.\d GiB of memory for a coordinator and 1 worker with 8 threads, of 2\.0 GiB that .* free\.$/,
    );
  });
});

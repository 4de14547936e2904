import { describe, expect, it } from 'vitest';
import { coordinatorBytes, planMemory, workerBytes } from '../src/index.js';

const MIB = 1024 ** 2;
const size = (hidden: number, streams: number, window: number) => ({
  model: { cell: 'lstm', layers: 2, hidden, vocabulary: 61 } as const,
  streams,
  window,
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

  const run = size(1024, 32, 64);
  it('fits, is tight with the number of workers that fit, or cannot fit', () => {
    const machine = (mib: number) => ({ totalBytes: mib * MIB, freeBytes: mib * MIB });
    expect(planMemory(run, 2, machine(8_000)).verdict).toBe('fits');
    expect(planMemory(run, 4, machine(3_500))).toMatchObject({ verdict: 'tight', workers: 2 });
    expect(planMemory(run, 4, machine(1_000))).toMatchObject({ verdict: 'tight', workers: 0 });
    expect(planMemory(run, 4, machine(500)).verdict).toBe('impossible');
  });
});

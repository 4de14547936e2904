import { describe, expect, it } from 'vitest';
import { describeLocalWorkers, localWorkerArguments, planLocalWorkers } from '../src/local-workers.js';

const run = { streams: 32, leaseStreams: 0, localSteps: 1, tracks: 0 };
const reproducible = { ...run, leaseStreams: 4 };
const local = { ...run, localSteps: 32, tracks: 4 };

describe('the workers of one machine', () => {
  it.each([
    ['auto', {}, 2, run, '1 worker with 2 threads on this machine (one thread per core, faster than several workers)'],
    ['native', {}, 8, run, '1 worker with 8 threads on this machine (one thread per core, faster than several workers)'],
    ['auto', {}, 16, run, '1 worker with 8 threads on this machine (one thread per 4 streams: more would not be faster)'],
    ['auto', {}, 384, { ...run, streams: 4096 }, '1 worker with 256 threads on this machine (the most that it can have)'],
    ['wasm', {}, 16, { ...run, streams: 2 }, '1 worker on this machine (one thread per 4 streams: more would not be faster)'],
    ['auto', {}, 4, reproducible, '4 workers on this machine (workers of a reproducible run have one thread each)'],
    ['auto', { threads: 4 }, 16, reproducible, '8 workers with 4 threads each on this machine (workers of a reproducible'],
    ['auto', { workers: 3 }, 16, run, '3 workers on this machine'],
    ['auto', { threads: 2 }, 16, run, '8 workers with 2 threads each on this machine'],
    ['auto', { threads: 16 }, 16, run, '1 worker with 16 threads on this machine'],
    ['auto', { workers: 2, threads: 3 }, 16, run, '2 workers with 3 threads each on this machine'],
    ['auto', {}, 2, local, '2 workers on this machine (each computes whole tracks)'],
    ['auto', {}, 16, local, '4 workers with 4 threads each on this machine (each computes whole tracks)'],
    ['webgpu', {}, 16, run, '1 worker on this machine (one for the GPU)'],
    ['tfjs', {}, 4, run, '4 workers on this machine (tfjs takes one thread)'],
  ] as const)('with %s and %j on %d cores for %j are %s', (engine, given, cores, config, words) => {
    const described = describeLocalWorkers(planLocalWorkers({ engine, ...given }, cores, config));
    expect(described.slice(0, words.length)).toBe(words);
  });

  it('that are alone on a core say nothing of several', () => {
    expect(describeLocalWorkers(planLocalWorkers({ engine: 'auto' }, 1, run))).toBe('1 worker on this machine (it has one core)');
  });

  it('leave the GPU to the first one, when they choose themselves', () => {
    const plan = planLocalWorkers({ engine: 'tfjs' }, 4, run);
    expect([1, 2].map((number) => localWorkerArguments('tfjs', plan, number))).toEqual([
      ['--engine=tfjs', '--threads=1'],
      ['--engine=tfjs', '--threads=1', '--no-gpu'],
    ]);
  });
});

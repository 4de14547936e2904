/** How many workers `troupe train` starts on this machine, and with how many threads. */
import { isLocal, type TrainingConfig } from '@troupe/config';
import { GPU_ENGINES, takesThreads, type EngineChoice } from '@troupe/engines';
import { THREADS_OPTION } from '@troupe/engines/options';
import { counted } from './terminal/style.js';

/** More local processes seldom speed up a run of the default size, and each holds a replica. */
export const USUAL_MOST_WORKERS = 8;
/** Engines compute four streams at a time or more. With fewer in each thread, threads add work instead of sharing it. */
const STREAMS_PER_THREAD = 4;

/** What the user asked for. */
export interface LocalWishes {
  readonly engine: EngineChoice;
  /** Absent: what is fastest. */
  readonly workers?: number | undefined;
  readonly threads?: number | undefined;
}

export interface LocalWorkers {
  readonly workers: number;
  /** Engine threads of each worker. */
  readonly threads: number;
  /** Why these numbers; undefined if the user gave them. */
  readonly why: string | undefined;
}

/**
 * The fastest way to use the cores. Threads share one replica and one link, so a worker with a
 * thread per core computes more than a worker per core, where the engine can divide a lease.
 */
export function planLocalWorkers(
  { engine, workers, threads }: LocalWishes,
  cores: number,
  { streams, leaseStreams, localSteps, tracks }: Pick<TrainingConfig, 'streams' | 'leaseStreams' | 'localSteps' | 'tracks'>,
): LocalWorkers {
  if (workers !== undefined) return { workers, threads: threads ?? 1, why: undefined };
  const fill = (each: number): number => Math.max(1, Math.min(Math.floor(cores / each), USUAL_MOST_WORKERS));
  if (GPU_ENGINES.some((name) => name === engine)) return { workers: 1, threads: threads ?? 1, why: 'one for the GPU' };
  if (leaseStreams > 0) {
    return { workers: fill(1), threads: threads ?? 1, why: 'workers of a reproducible run have one thread each' };
  }
  if (threads !== undefined) return { workers: fill(threads), threads, why: undefined };
  if (isLocal({ localSteps })) return localTracks(cores, Math.min(fill(1), tracks), takesThreads(engine));
  if (!takesThreads(engine)) return { workers: fill(1), threads: 1, why: `${engine} takes one thread` };
  const most = Math.max(1, Math.floor(streams / STREAMS_PER_THREAD));
  if (cores === 1) return { workers: 1, threads: 1, why: 'it has one core' };
  if (Math.min(cores, most) > THREADS_OPTION.max)
    return { workers: 1, threads: THREADS_OPTION.max, why: 'the most that it can have' };
  if (cores <= most) return { workers: 1, threads: cores, why: 'one thread per core, faster than several workers' };
  return { workers: 1, threads: most, why: `one thread per ${STREAMS_PER_THREAD} streams: more would not be faster` };
}

/** "1 worker with 8 threads on this machine (one thread per core, faster than several workers)". */
export function describeLocalWorkers({ workers, threads, why }: LocalWorkers): string {
  const each = threads > 1 ? ` with ${threads} threads${workers > 1 ? ' each' : ''}` : '';
  return `${counted(workers, 'worker')}${each} on this machine${why === undefined ? '' : ` (${why})`}`;
}

/**
 * Flags for a worker. With `auto` or `tfjs` all workers would choose the same GPU and slow each
 * other down, so only the first may use it.
 * @param number starting at 1
 */
export function localWorkerArguments(engine: EngineChoice, { threads }: LocalWorkers, number: number): string[] {
  const choosesItself = engine === 'auto' || engine === 'tfjs';
  return [`--engine=${engine}`, `--threads=${threads}`, ...(choosesItself && number > 1 ? ['--no-gpu'] : [])];
}

/** Tracks are computed apart, so workers share nothing until the end of a round. */
function localTracks(cores: number, workers: number, takes: boolean): LocalWorkers {
  const threads = takes ? Math.max(1, Math.floor(cores / workers)) : 1;
  return { workers, threads, why: 'each computes whole tracks' };
}

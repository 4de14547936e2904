/** What a host does with its workers: how many threads each has, and whether one that has ended starts again. */
import { LIMITS } from '@troupe/config';
import { GPU_ENGINES, takesThreads } from '@troupe/engines';
import { THREADS_OPTION } from '@troupe/engines/options';
import { EXIT, isLastingExit } from '@troupe/process';
import { backoffMs, type BackoffOptions } from '@troupe/transport';
import type { Slot } from './hosts.js';
import type { SlotListen } from './listening.js';

const BACKOFF: BackoffOptions = { firstMs: 500, longestMs: 30_000, jitter: [0.5, 1] };
/** After running for this long a worker counts as healthy: what ends it then is something new. */
const HEALTHY_MS = 60_000;
/** Failures in a row of a worker that has never joined, before it is given up. */
const HOPELESS = 5;
/** Times in a row that the system may kill a worker, most likely for want of memory: each time other work is in danger. */
const KILLS = 5;

/** A worker that has ended. */
export interface Ending {
  readonly code: number;
  /** The system or a person killed it. */
  readonly wasKilled: boolean;
  /** It has joined the run at least once, in this life or an earlier one. */
  readonly hasJoined: boolean;
  readonly ranMs: number;
  /** Failures in a row before this one. */
  readonly failures: number;
}

export type Next =
  | { readonly next: 'done' | 'failed'; readonly why: string; readonly failures: number; readonly retryInMs: 0 }
  | { readonly next: 'restarts'; readonly why: string; readonly failures: number; readonly retryInMs: number };

/** @param random in [0, 1) */
export function afterEnding({ code, wasKilled, hasJoined, ranMs, failures: before }: Ending, random: number): Next {
  const failures = ranMs >= HEALTHY_MS ? 1 : before + 1;
  const end = (next: 'done' | 'failed', why: string): Next => ({ next, why, failures, retryInMs: 0 });
  if (code === EXIT.ok) return end('done', '');
  if (isLastingExit(code)) return end('failed', 'it would fail in the same way again');
  if (wasKilled && failures >= KILLS) return end('failed', `it was killed ${KILLS} times in a row; the memory may be too small`);
  if (!hasJoined && failures >= HOPELESS) return end('failed', `it has failed ${HOPELESS} times and never joined`);
  return { next: 'restarts', why: '', failures, retryInMs: Math.round(backoffMs(failures, random, BACKOFF)) };
}

/** Delay before a host is connected to again, in ms. @param random in [0, 1) */
export function reconnectMs(failures: number, random: number): number {
  return Math.round(backoffMs(failures, random, { firstMs: 1_000, longestMs: 60_000, jitter: [0.5, 1] }));
}

/** How many threads a worker gets. @param cores of its machine */
export function threadsFor({ engine, threads, sharedBy }: Slot, cores: number): number {
  if (threads !== undefined) return threads;
  if (GPU_ENGINES.some((name) => name === engine) || !takesThreads(engine)) return 1;
  return Math.min(THREADS_OPTION.max, Math.max(1, Math.floor(cores / sharedBy)));
}

/** The arguments of `troupe worker` for a slot. The token is not among them. */
export function workerArguments(slot: Slot, address: string, threads: number): string[] {
  const gpu = slot.gpu ? [] : ['--no-gpu'];
  // Of a long name the end tells more.
  const name = slot.name.slice(-LIMITS.nameLength);
  const listen = slot.listen === undefined ? [] : listenArguments(slot.listen);
  return [address, `--name=${name}`, `--engine=${slot.engine}`, `--threads=${threads}`, ...gpu, ...listen, '--json'];
}

function listenArguments({ at, tls }: SlotListen): string[] {
  return [`--listen=${at}`, ...(tls === undefined ? [] : [`--tls-cert=${tls.cert}`, `--tls-key=${tls.key}`])];
}

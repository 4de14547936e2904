/**
 * The two ends of an engine thread and their messages. Bulk data does not travel in messages; see
 * shared-memory.ts.
 */
import type { ModelConfig } from '../config.js';
import type { DropoutKey } from '../dropout.js';
import type { EngineError, EngineInfo, EngineLimits } from '../engine.js';
import type { SharedMemory } from './shared-memory.js';

/**
 * A thread as its owner sees it: Node's worker_threads, a browser's Worker, or a simulation.
 * Messages are structured clones.
 */
export interface EngineThread {
  post(order: ThreadOrder): void;
  onReply(handler: (reply: ThreadReply) => void): void;
  /**
   * Called at least once when the thread ends, for any reason, unless `terminate` was called
   * before.
   */
  onEnd(handler: (reason: Error) => void): void;
  /** Ends it immediately, even during a computation. May be called more than once. */
  terminate(): void;
}

/** The owner as the thread sees it. */
export interface ThreadOwner {
  post(reply: ThreadReply): void;
  onOrder(handler: (order: ThreadOrder) => void): void;
}

/** A thread's share of a call. */
export interface Share {
  /** First of the call's streams, and how many. */
  readonly from: number;
  readonly streams: number;
  /** Number of threads in the call. */
  readonly members: number;
  /** Counts calls of setParameters: if it has changed, the thread reads the parameters again. */
  readonly version: number;
}

export type ThreadOrder =
  | {
      readonly kind: 'open';
      readonly config: ModelConfig;
      /** Limits of this thread's engine. */
      readonly limits: EngineLimits;
      readonly index: number;
      /** The variant that the first thread chose, so that all use the same. */
      readonly variant: string | undefined;
      readonly memory: SharedMemory;
    }
  | {
      readonly kind: 'gradient';
      readonly window: number;
      readonly share: Share;
      readonly dropout: DropoutKey | undefined;
      /** Whether the owner wants to know how far the gradient is. */
      readonly reports: boolean;
    }
  | { readonly kind: 'evaluate'; readonly window: number; readonly share: Share }
  | { readonly kind: 'step'; readonly share: Share };

export type ThreadReply =
  | { readonly kind: 'opened'; readonly info: EngineInfo }
  /**
   * The sum of the gradients is final from index `from` on. One thread says so, before its reply to
   * the order.
   */
  | { readonly kind: 'progress'; readonly from: number }
  /** lossSum is 0 after a step. */
  | { readonly kind: 'done'; readonly lossSum: number }
  /** Without a code: an error that is no EngineError. */
  | { readonly kind: 'failed'; readonly code?: EngineError['code']; readonly message: string; readonly remedy: string };

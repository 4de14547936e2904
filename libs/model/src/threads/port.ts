/** The two ends of an engine thread, and what is said between them. Bulk data does not travel in messages: see shared.ts. */
import type { ModelConfig } from '../config.js';
import type { DropoutKey } from '../dropout.js';
import type { EngineError, EngineInfo, EngineLimits } from '../engine.js';
import type { SharedMemory } from './shared-memory.js';

/** A thread as its owner sees it: Node's worker_threads, a browser's Worker, or a simulation. Messages are structured clones. */
export interface EngineThread {
  post(order: ThreadOrder): void;
  onReply(handler: (reply: ThreadReply) => void): void;
  /** Called at least once when the thread has ended, for whatever reason, and `terminate` had not been called. */
  onEnd(handler: (reason: Error) => void): void;
  /** Ends it at once, wherever it is. May be called more than once. */
  terminate(): void;
}

/** The owner as the thread sees it. */
export interface ThreadOwner {
  post(reply: ThreadReply): void;
  onOrder(handler: (order: ThreadOrder) => void): void;
}

/** A thread's part of a call. */
export interface Share {
  /** Which of the call's streams. */
  readonly from: number;
  readonly streams: number;
  /** Threads that take part, and where their count of arrivals ends. */
  readonly members: number;
  readonly arrivals: number;
  /** Counts the parameters that were set: another number than before, and they are read anew. */
  readonly version: number;
}

export type ThreadOrder =
  | {
      readonly kind: 'open';
      readonly config: ModelConfig;
      /** Of this thread. */
      readonly limits: EngineLimits;
      readonly index: number;
      /** What the first thread has chosen, so that all compute alike. */
      readonly variant: string | undefined;
      readonly memory: SharedMemory;
    }
  | { readonly kind: 'gradient'; readonly window: number; readonly share: Share; readonly dropout: DropoutKey | undefined }
  | { readonly kind: 'evaluate'; readonly window: number; readonly share: Share }
  | { readonly kind: 'step'; readonly share: Share };

export type ThreadReply =
  | { readonly kind: 'opened'; readonly info: EngineInfo }
  /** lossSum is 0 after a step. */
  | { readonly kind: 'done'; readonly lossSum: number }
  /** No code: a fault that is no EngineError. */
  | { readonly kind: 'failed'; readonly code?: EngineError['code']; readonly message: string; readonly remedy: string };

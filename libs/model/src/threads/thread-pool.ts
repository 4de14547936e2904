import { EngineError } from '../engine.js';
import type { EngineThread, ThreadOrder, ThreadReply } from './port.js';

/** The threads of one engine. When one ends, all are ended and every request fails. */
export interface ThreadPool {
  readonly size: number;
  /**
   * Sends orders[i] to thread first + i and resolves with their replies, in that order, when all
   * have arrived. `onProgress` is told the index in a progress message.
   * @throws EngineError of the first thread, in that order, that failed; `device_lost`, `disposed`
   */
  ask(orders: readonly ThreadOrder[], first?: number, onProgress?: (from: number) => void): Promise<ThreadReply[]>;
  dismiss(): void;
}

interface Question {
  readonly replies: (ThreadReply | undefined)[];
  readonly first: number;
  missing: number;
  readonly onProgress: ((from: number) => void) | undefined;
  resolve(replies: ThreadReply[]): void;
  reject(error: Error): void;
}

export function createThreadPool(threads: readonly EngineThread[]): ThreadPool {
  let question: Question | undefined;
  let over: EngineError | undefined;

  const end = (error: EngineError): void => {
    over ??= error;
    for (const thread of threads) thread.terminate();
    const asked = question;
    question = undefined;
    asked?.reject(over);
  };
  const onReply = (index: number, reply: ThreadReply): void => {
    if (!question) return;
    if (reply.kind === 'progress') {
      question.onProgress?.(reply.from);
      return;
    }
    question.replies[index - question.first] = reply;
    if (--question.missing > 0) return;
    const { replies, resolve } = question;
    question = undefined;
    resolve(replies as ThreadReply[]);
  };
  threads.forEach((thread, index) => {
    thread.onReply((reply) => onReply(index, reply));
    thread.onEnd((reason) => end(lost(reason)));
  });

  return {
    size: threads.length,
    async ask(orders, first = 0, onProgress = undefined) {
      if (over) throw over;
      if (orders.length === 0) return [];
      const replies = await new Promise<ThreadReply[]>((resolve, reject) => {
        question = { replies: [], first, missing: orders.length, onProgress, resolve, reject };
        orders.forEach((order, i) => threads[first + i].post(order));
      });
      for (const reply of replies) if (reply.kind === 'failed') throw errorOf(reply);
      return replies;
    },
    dismiss: () => end(new EngineError('disposed', 'this engine was disposed', 'create a new engine')),
  };
}

function lost(cause: Error): EngineError {
  return new EngineError(
    'device_lost',
    `an engine thread has ended: ${cause.message}`,
    'create a new engine; if it happens again, use fewer threads or another engine',
    { cause },
  );
}

function errorOf({ code, message, remedy }: ThreadReply & { kind: 'failed' }): Error {
  return code ? new EngineError(code, message, remedy) : new Error(message);
}

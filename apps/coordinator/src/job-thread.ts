/** A thread that answers each job with a reply of the same id. */
import type { Worker } from 'node:worker_threads';

/** A started thread. */
export type StartedThread = Pick<Worker, 'postMessage' | 'on' | 'unref' | 'terminate'>;

/** What a thread posts: parts of the outcome, if the job has any, and then the outcome, or that it failed. */
type Reply = { readonly id: number } & ({ readonly kind: string } | Failure);

interface Failure {
  readonly kind: 'failed';
  readonly message: string;
}

export interface JobThreadOptions {
  start(): StartedThread;
  /** What it is for: "audits". */
  readonly purpose: string;
  /** Why jobs are rejected once it is closed. */
  readonly closedReason: string;
}

/** @typeParam R what the thread posts */
export interface JobThread<R extends Reply> {
  /** Starts the thread unless it runs. */
  open(): void;
  /**
   * Posts a job. The reply rejects when the job fails, the thread breaks, or it is closed.
   * @param onPart sees each reply first; absent: the first reply is the outcome
   */
  begin(
    job: object,
    transfer: readonly ArrayBuffer[],
    onPart?: PartListener<R>,
  ): { readonly id: number; readonly reply: Promise<R> };
  /** Posts what has no reply, if the thread runs. */
  post(message: object): void;
  /** Jobs that wait are rejected. Nothing is started afterwards. */
  close(): Promise<void>;
}

/** @returns whether this was a part of the outcome, and more follows */
type PartListener<R> = (reply: R) => boolean;

interface Waiting<R> {
  resolve(reply: R): void;
  reject(error: Error): void;
  readonly onPart: PartListener<R> | undefined;
}

/** A thread that broke is replaced at the next job; what it was asked before is rejected. */
export function createJobThread<R extends Reply>({ start, purpose, closedReason }: JobThreadOptions): JobThread<R> {
  const waiting = new Map<number, Waiting<R>>();
  let thread: StartedThread | undefined;
  let jobs = 0;
  let closed = false;

  function alive(): StartedThread {
    if (thread) return thread;
    const mine = start();
    const broken = (error: Error): void => {
      // The end of one that broke does not concern its successor.
      if (thread !== mine) return;
      thread = undefined;
      for (const { reject } of waiting.values()) reject(error);
      waiting.clear();
    };
    mine.on('message', settle);
    mine.on('error', broken);
    mine.on('exit', () => broken(new Error(`the thread for ${purpose} has ended`)));
    mine.unref();
    return (thread = mine);
  }

  function settle(reply: R): void {
    const job = waiting.get(reply.id);
    if (job?.onPart?.(reply)) return;
    waiting.delete(reply.id);
    if (isFailure(reply)) job?.reject(new Error(reply.message));
    else job?.resolve(reply);
  }

  return {
    open: () => void alive(),
    begin(job, transfer, onPart) {
      const id = jobs++;
      if (closed) return { id, reply: Promise.reject(new Error(closedReason)) };
      const reply = new Promise<R>((resolve, reject) => {
        const target = alive();
        waiting.set(id, { resolve, reject, onPart });
        target.postMessage({ ...job, id }, transfer);
      });
      return { id, reply };
    },
    post: (message) => thread?.postMessage(message),
    async close() {
      closed = true;
      await thread?.terminate();
    },
  };
}

function isFailure(reply: Reply): reply is Reply & Failure {
  return reply.kind === 'failed';
}

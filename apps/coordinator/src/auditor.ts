/** Computes leases of volunteers again in a separate thread. It is started with the first of them. */
import { Worker } from 'node:worker_threads';
import type { AuditShape } from '@troupe/collective';
import type { AuditFinding, AuditJob, Auditor, VerifyJob } from '@troupe/conductor';
import type { ModelConfig } from '@troupe/model';

export interface AuditData {
  readonly model: ModelConfig;
  readonly shape: AuditShape;
  /** T */
  readonly window: number;
  /** Streams that are computed at once; those of a larger lease come in turn. */
  readonly maxStreams: number;
  /** Workers compute the same bits as this thread. */
  readonly reproducible: boolean;
}

export type AuditRequest = { readonly id: number } & (
  ({ readonly kind: 'audit' } & AuditJob) | ({ readonly kind: 'verify' } & VerifyJob)
);
export type AuditReply = { readonly id: number } & (
  | ({ readonly kind: 'audited' } & AuditFinding)
  | { readonly kind: 'verified'; readonly finite: boolean }
  | { readonly kind: 'failed'; readonly error: string }
);

export interface AuditThread extends Auditor {
  close(): Promise<void>;
}

type StartedThread = Pick<Worker, 'postMessage' | 'on' | 'unref' | 'terminate'>;

interface Waiting {
  resolve(reply: AuditReply): void;
  reject(error: Error): void;
}

/** The built thread. Tests of the sources use it as well. */
const SCRIPT = new URL('../dist/audit-thread.js', import.meta.url);

function startThread(workerData: AuditData): StartedThread {
  return new Worker(SCRIPT, { workerData, execArgv: [] });
}

/** A thread that broke is replaced at the next audit; what it was asked before is rejected. */
export function createAuditor(data: AuditData, start: (data: AuditData) => StartedThread = startThread): AuditThread {
  const waiting = new Map<number, Waiting>();
  let thread: StartedThread | undefined;
  let jobs = 0;
  let closed = false;

  function alive(): StartedThread {
    if (thread) return thread;
    const mine = start(data);
    const broken = (error: Error): void => {
      if (thread !== mine) return;
      thread = undefined;
      for (const { reject } of waiting.values()) reject(error);
      waiting.clear();
    };
    mine.on('message', settle);
    mine.on('error', broken);
    mine.on('exit', () => broken(new Error('the thread for audits has ended')));
    mine.unref();
    return (thread = mine);
  }

  function settle(reply: AuditReply): void {
    const job = waiting.get(reply.id);
    waiting.delete(reply.id);
    if (reply.kind === 'failed') job?.reject(new Error(reply.error));
    else job?.resolve(reply);
  }

  function ask(kind: AuditRequest['kind'], job: VerifyJob): Promise<AuditReply> {
    if (closed) return Promise.reject(new Error('the run is over'));
    return new Promise((resolve, reject) => {
      const id = jobs++;
      const target = alive();
      waiting.set(id, { resolve, reject });
      target.postMessage({ ...job, id, kind }, [job.parameters.buffer as ArrayBuffer]);
    });
  }

  return {
    async audit(job) {
      const { verdict, reason } = (await ask('audit', job)) as Extract<AuditReply, { kind: 'audited' }>;
      return { verdict, reason };
    },
    verify: async (job) => ((await ask('verify', job)) as Extract<AuditReply, { kind: 'verified' }>).finite,
    async close() {
      closed = true;
      await thread?.terminate();
    },
  };
}

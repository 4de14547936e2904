/** Computes leases of volunteers again in a separate thread. It is started with the first of them. */
import { Worker } from 'node:worker_threads';
import type { AuditShape } from '@troupe/collective';
import type { AuditFinding, AuditJob, Auditor, VerifyJob } from '@troupe/conductor';
import type { ModelConfig } from '@troupe/model';
import type { OptimizerConfig } from '@troupe/optim';
import { createJobThread, type StartedThread } from './job-thread.js';

export interface AuditData {
  readonly model: ModelConfig;
  readonly shape: AuditShape;
  /** T */
  readonly window: number;
  /** Of tracks, in a local run. */
  readonly optimizer: OptimizerConfig;
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
  | { readonly kind: 'failed'; readonly message: string }
);

export interface AuditThread extends Auditor {
  close(): Promise<void>;
}

/** The built thread. Tests of the sources use it as well. */
const SCRIPT = new URL('../dist/audit-thread.js', import.meta.url);

function startThread(workerData: AuditData): StartedThread {
  return new Worker(SCRIPT, { workerData, execArgv: [] });
}

export function createAuditor(data: AuditData, start: (data: AuditData) => StartedThread = startThread): AuditThread {
  const thread = createJobThread<AuditReply>({ start: () => start(data), purpose: 'audits', closedReason: 'the run is over' });

  function ask(kind: AuditRequest['kind'], job: VerifyJob): Promise<AuditReply> {
    return thread.begin({ ...job, kind }, [job.parameters.buffer as ArrayBuffer]).reply;
  }

  return {
    async audit(job) {
      const { verdict, reason } = (await ask('audit', job)) as Extract<AuditReply, { kind: 'audited' }>;
      return { verdict, reason };
    },
    verify: async (job) => ((await ask('verify', job)) as Extract<AuditReply, { kind: 'verified' }>).finite,
    close: () => thread.close(),
  };
}

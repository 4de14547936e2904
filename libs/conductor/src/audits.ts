/** Has leases of volunteers computed again, and tells the all-reduce service what comes of it. */
import type { Claim, ReduceAudit } from '@troupe/collective';
import { aborted, isLocal } from '@troupe/protocol';
import type { ConductorEvent } from './events.js';
import type { AuditFinding, AuditJob, Auditor, ConductorPorts, VerifyJob } from './ports.js';
import type { ReduceLink } from './reduce-link.js';
import { batchOf, localLeaseOf, type Training } from './training.js';

export interface AuditsParts {
  readonly training: Pick<Training, 'config' | 'streams' | 'states' | 'stateFloats' | 'replica' | 'knobs' | 'held'>;
  /** Absent: nobody is audited, and nothing asks for it. */
  readonly auditor: Auditor | undefined;
  readonly reduce: Pick<ReduceLink, 'rule'>;
  /** Whether replica, hidden states and round agree. */
  isSound(): boolean;
  /** Rounds completed. */
  round(): number;
  readonly ports: Pick<ConductorPorts, 'deadline' | 'report'>;
  /** Aborts when the run is over: then its auditor is closed, whatever it was asked. */
  readonly over: AbortSignal;
  put(event: ConductorEvent): void;
}

/** Audits that wait for the auditor or run. Each holds a copy of the parameters. */
const MOST_JOBS = 16;
/** An auditor that does not answer by then has failed. For each window of a lease. */
const AUDIT_MS = 120_000;

export class Audits {
  readonly #parts: AuditsParts;
  /** Settle with the jobs. */
  readonly #jobs = new Set<Promise<void>>();
  #hasWarned = false;

  constructor(parts: AuditsParts) {
    this.#parts = parts;
  }

  handle(event: ConductorEvent): void {
    if (event.type === 'audit') this.#start(event.audit);
    if (event.type === 'verify') void this.#verify(event);
    if (event.type === 'audited') this.#parts.reduce.rule({ ...event.lease, ...event.finding });
  }

  /** Resolves when every audit that runs is decided. Never rejects. */
  async settled(): Promise<void> {
    await Promise.all(this.#jobs);
  }

  #start({ round, leaseId, workerId, ...audit }: ReduceAudit): void {
    const lease = { round, leaseId, workerId };
    const job = this.#find({ ...audit, ...lease }).then((finding) => {
      this.#jobs.delete(job);
      this.#parts.put({ type: 'audited', lease, finding });
    });
    this.#jobs.add(job);
  }

  /** Never rejects. */
  async #verify({ round, streams, claimants }: Extract<ConductorEvent, { type: 'verify' }>): Promise<void> {
    const { finite, reason } = await this.#isFinite(round, streams);
    this.#parts.put({ type: 'verified', round, claimants, finite, reason });
  }

  async #isFinite(
    round: number,
    streams: readonly number[],
  ): Promise<{ readonly finite: boolean | undefined; readonly reason: string }> {
    const auditor = this.#auditorFor(round);
    if (typeof auditor === 'string') return { finite: undefined, reason: auditor };
    try {
      const finite = await this.#inTime(auditor.verify(this.#leaseOf(round, streams)));
      return { finite, reason: `the gradient of streams ${streams.slice(0, 8).join(', ')} is not finite` };
    } catch (error) {
      return { finite: undefined, reason: this.#failed(error as Error) };
    }
  }

  /** Takes what it needs before it waits: the replica is about to step. */
  async #find(audit: ReduceAudit): Promise<AuditFinding> {
    const auditor = this.#auditorFor(audit.round);
    if (typeof auditor === 'string') return { verdict: 'unknown', reason: auditor };
    try {
      return await this.#inTime(auditor.audit(this.#jobOf(audit)));
    } catch (error) {
      return { verdict: 'unknown', reason: this.#failed(error as Error) };
    }
  }

  /** @returns why nobody can compute a lease of this round now, if so */
  #auditorFor(round: number): Auditor | string {
    const { auditor, isSound, round: now } = this.#parts;
    if (!auditor) return 'nobody audits this run';
    // Parameters and hidden states are those of another round by now.
    if (!isSound() || round !== now()) return 'its round is over';
    return this.#jobs.size < MOST_JOBS ? auditor : 'too many audits wait';
  }

  async #inTime<T>(job: Promise<T>): Promise<T> {
    const ms = AUDIT_MS * this.#parts.training.config.localSteps;
    const late = aborted(this.#parts.ports.deadline(ms)).then(() => {
      throw new Error(`the auditor did not answer within ${ms / 1000} s`);
    });
    return Promise.race([job, late]);
  }

  /** Volunteers whose work cannot be audited compute in vain, so a person must know. */
  #failed({ message }: Error): string {
    const text = `what volunteers compute cannot be audited: ${message}`;
    const remedy = 'See that this machine has memory to spare. Workers with the worker token are not affected.';
    const { ports, over } = this.#parts;
    if (!this.#hasWarned && !over.aborted) ports.report({ event: 'note', level: 'warn', text, remedy });
    this.#hasWarned = true;
    return `the audit failed: ${message}`;
  }

  #jobOf({ round, streams, lossSum, bytes }: ReduceAudit): AuditJob {
    const claim: Claim = { round, streams, lossSum, bytes };
    return { ...this.#leaseOf(round, streams), claim };
  }

  #leaseOf(round: number, streams: readonly number[]): VerifyJob {
    const { training } = this.#parts;
    const parameters = training.replica.parameters.slice();
    return isLocal(training.config)
      ? { parameters, local: localLeaseOf(training, round, streams) }
      : { parameters, batch: batchOf(training, round, streams) };
  }
}

/** Has leases of volunteers computed again, and tells the all-reduce service what comes of it. */
import type { Claim, ReduceAudit } from '@troupe/collective';
import { dropoutKeyOf, type Batch } from '@troupe/model';
import type { ConductorEvent } from './events.js';
import type { AuditFinding, AuditJob, Auditor } from './ports.js';
import type { ReduceLink } from './reduce-link.js';
import type { Training } from './training.js';

export interface AuditsParts {
  readonly training: Pick<Training, 'config' | 'streams' | 'states' | 'stateFloats' | 'replica'>;
  /** Absent: nobody is audited, and nothing asks for it. */
  readonly auditor: Auditor | undefined;
  readonly reduce: Pick<ReduceLink, 'rule'>;
  /** Whether replica, hidden states and round agree. */
  isSound(): boolean;
  put(event: ConductorEvent): void;
}

export class Audits {
  readonly #parts: AuditsParts;

  constructor(parts: AuditsParts) {
    this.#parts = parts;
  }

  handle(event: ConductorEvent): void {
    if (event.type === 'audit') void this.#audit(event.audit);
    if (event.type === 'verify') void this.#verify(event);
    if (event.type === 'audited') this.#parts.reduce.rule({ ...event.lease, ...event.finding });
  }

  /** Never rejects. */
  async #audit(audit: ReduceAudit): Promise<void> {
    const { round, leaseId, workerId } = audit;
    const finding = await this.#find(audit);
    this.#parts.put({ type: 'audited', lease: { round, leaseId, workerId }, finding });
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
    const { auditor, isSound, training } = this.#parts;
    if (!auditor || !isSound()) return { finite: undefined, reason: 'nobody could compute it' };
    try {
      const parameters = training.replica.parameters.slice();
      const finite = await auditor.verify({ parameters, batch: this.#batchOf(round, streams) });
      return { finite, reason: `the gradient of streams ${streams.slice(0, 8).join(', ')} is not finite` };
    } catch (error) {
      return { finite: undefined, reason: (error as Error).message };
    }
  }

  /** Takes what it needs before it waits: the replica is about to step. */
  async #find(audit: ReduceAudit): Promise<AuditFinding> {
    const { auditor, isSound } = this.#parts;
    if (!auditor || !isSound()) return { verdict: 'unknown', reason: 'nobody could compute it again' };
    try {
      return await auditor.audit(this.#jobOf(audit));
    } catch (error) {
      return { verdict: 'unknown', reason: `the audit failed: ${(error as Error).message}` };
    }
  }

  #jobOf({ round, streams, lossSum, bytes }: ReduceAudit): AuditJob {
    const claim: Claim = { round, streams, lossSum, bytes };
    return { parameters: this.#parts.training.replica.parameters.slice(), batch: this.#batchOf(round, streams), claim };
  }

  /** The batch that the worker was given. */
  #batchOf(round: number, ids: readonly number[]): Batch {
    const { config, streams, states, stateFloats } = this.#parts.training;
    const { window, model, seed } = config;
    const tokens = new Uint16Array(ids.length * (window + 1));
    const before = new Float32Array(ids.length * stateFloats);
    const wraps = round % streams.roundsPerPass === 0;
    ids.forEach((stream, i) => {
      tokens.set(streams.streamWindow(stream, round), i * (window + 1));
      if (!wraps) before.set(states.of(stream), i * stateFloats);
    });
    return { streams: ids.length, window, tokens, states: before, ...dropoutKeyOf(model, { seed, round, streams: ids }) };
  }
}

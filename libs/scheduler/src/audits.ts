/** What is remembered of audits; trust.ts decides about them. */
import type { AuditMode } from '@troupe/protocol';

export interface AuditPolicy {
  /** Secret, so that no worker can tell which of its leases are audited. Two whole numbers below 2^32. */
  readonly seed: readonly [number, number];
}

/** What the scheduler knows about the honesty of a worker. */
export interface Trust {
  /** By its token. It is not audited. */
  readonly trusted: boolean;
  /** Audits passed. */
  passed: number;
  /** Contributions that counted since its last audit, and the round of the first of them. */
  unaudited: number;
  unauditedSince: number | undefined;
  /** How often it said that a gradient is not finite, and it was. */
  falseClaims: number;
}

/** The audits of a run. */
export interface Audits {
  readonly policy: AuditPolicy | undefined;
  /** Leases that are granted with an audit which is not decided. */
  readonly open: Map<string, { readonly workerId: string; readonly round: number; readonly mode: AuditMode }>;
  draws: number;
  /** Rounds completed when a checkpoint was last due, so that a lie which is found later costs little. */
  guardedRound: number;
  /** The coordinator is computing a lease that volunteers say is not finite. */
  verifying: boolean;
  /** What is counted in this round by those who are trusted, or is audited. */
  judged: { lossSum: number; characters: number };
}

export function createAudits(policy: AuditPolicy | undefined): Audits {
  return { policy, open: new Map(), draws: 0, guardedRound: -Infinity, verifying: false, judged: { lossSum: 0, characters: 0 } };
}

export function createTrust(trusted: boolean): Trust {
  return { trusted, passed: 0, unaudited: 0, unauditedSince: undefined, falseClaims: 0 };
}

/** What is remembered of audits; trust.ts decides about them. */
import type { AuditMode } from '@troupe/protocol';
import { createNorms, type Norms } from './norms.js';

export interface AuditPolicy {
  /** Secret, so that no worker can tell which of its leases are audited. Two whole numbers below 2^32. */
  readonly seed: readonly [number, number];
}

/** What the scheduler knows about the honesty of a worker. */
export interface Trust {
  /** By its token. It is not audited. */
  readonly trusted: boolean;
  /** Somebody at its address has lied: nothing of it ever counts before it is audited. */
  readonly suspect: boolean;
  /** Audits passed. */
  passed: number;
  /** The rounds of contributions that counted and that no audit has vouched for, in order. */
  unverified: number[];
  /** A lie of it is known: further ones are no news. */
  exposed: boolean;
  /** Its next lease is audited: what it said is doubtful. */
  doubted: boolean;
  /** How often it said that a gradient is not finite, and it was. */
  falseClaims: number;
}

export interface OpenAudit {
  readonly workerId: string;
  readonly round: number;
  readonly mode: AuditMode;
  /** The deadline of the lease. */
  readonly dueAtMs: number;
}

/** A worker that left before the audits of what it contributed were decided. */
export interface Departed {
  readonly id: string;
  readonly name: string;
  readonly trust: Trust;
  readonly sinceMs: number;
  /** The leases whose audits were open when it left, and of which no verdict has come. */
  readonly pending: Set<string>;
}

/** The audits of a run. */
export interface Audits {
  readonly policy: AuditPolicy | undefined;
  /** Leases that are granted with an audit which is not decided. */
  readonly open: Map<string, OpenAudit>;
  /** By id. */
  readonly departed: Map<string, Departed>;
  draws: number;
  /** Rounds completed when a checkpoint was last due, so that a lie which is found later costs little. */
  guardedRound: number;
  /** The coordinator is computing a lease that volunteers say is not finite. */
  verifying: boolean;
  /** Of contributions of volunteers. */
  readonly norms: Norms;
  /** What is counted in this round by those who are trusted, or is audited. */
  judged: { lossSum: number; characters: number };
}

export function createAudits(policy: AuditPolicy | undefined): Audits {
  return {
    policy,
    open: new Map(),
    departed: new Map(),
    draws: 0,
    guardedRound: -Infinity,
    verifying: false,
    norms: createNorms(),
    judged: { lossSum: 0, characters: 0 },
  };
}

export function createTrust(trusted: boolean, suspect: boolean): Trust {
  return { trusted, suspect, passed: 0, unverified: [], exposed: false, doubted: false, falseClaims: 0 };
}

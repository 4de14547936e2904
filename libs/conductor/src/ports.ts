/** What a coordinator needs from its platform, which is a Node process or a simulation. */
import type { Checkpoint } from '@troupe/checkpoint';
import type { Claim, Collective } from '@troupe/collective';
import type { Batch, LocalLease } from '@troupe/model';
import type { MessageOf } from '@troupe/protocol';
import type { RunEvent } from '@troupe/run';

export interface ConductorPorts {
  /** Monotonic, ms. */
  nowMs(): number;
  /** Resolves after `ms`; rejects with the signal's reason when aborted. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
  /** Aborts after `ms`. */
  deadline(ms: number): AbortSignal;
  /** ISO 8601. */
  timestamp(): string;
  /** An unguessable text made of `bytes` random bytes, in letters, digits, - and _. */
  secret(bytes: number): string;
  /** SHA-256 of these bytes, one after the other. */
  sha256(parts: readonly Uint8Array[]): Uint8Array;
  /** How gradients are reduced. */
  readonly collective: Pick<Collective, 'host'>;
  /** Receives the news of the run. */
  report(event: RunEvent): void;
}

/**
 * Validations and samples, outside of the rounds. They run one at a time, in the order of the
 * calls.
 */
export interface SideJobs {
  /** Jobs that are waiting or running. */
  readonly pending: number;
  /** `parameters` [P] are copied. `lossPerChar` in nats. */
  evaluate(parameters: Float32Array): Promise<{ readonly lossPerChar: number; readonly tokens: number }>;
  sample(parameters: Float32Array, request: SampleRequest): Promise<Uint16Array>;
}

/** A lease of which volunteers say that its gradient is not finite: a window, or the steps of a track. */
export type VerifyJob = {
  /** [P], of the lease's round; the receiver's own. */
  readonly parameters: Float32Array;
} & ({ readonly batch: Batch; readonly local?: undefined } | { readonly local: LocalLease });

/** A lease that a volunteer has computed. */
export type AuditJob = VerifyJob & { readonly claim: Claim };

/** `reason`: how the claim differs, or why nobody can tell; empty if it is sound. */
export type AuditFinding = Pick<MessageOf<'rule'>, 'verdict' | 'reason'>;

/** Computes leases again, one at a time, in the order of the calls. */
export interface Auditor {
  audit(job: AuditJob): Promise<AuditFinding>;
  /** Whether the gradient is finite. */
  verify(job: VerifyJob): Promise<boolean>;
}

export interface SampleRequest {
  readonly prime: Uint16Array;
  /** Characters. */
  readonly length: number;
  readonly seed: number;
  readonly temperature: number;
}

/**
 * Writes one checkpoint at a time and keeps the newest few. A failure is reported and does not
 * stop the run.
 */
export interface CheckpointWriter {
  /** Where the checkpoints are, as text for people. */
  readonly place: string;
  /** The newest checkpoint there, if there is one. */
  readonly newest: string | undefined;
  /** Whether a checkpoint of this round or of one before is there. Never rejects. */
  holds(round: number): Promise<boolean>;
  /** Resolves to the path, or undefined when it could not be written. Never rejects. */
  save(checkpoint: Checkpoint, best: boolean): Promise<string | undefined>;
  /** Saves when the disk is free. A newer checkpoint replaces one that still waits. */
  offer(checkpoint: Checkpoint): void;
  /** Resolves when everything saved and offered so far is written. */
  settled(): Promise<void>;
}

/** What a coordinator needs of its platform: a Node process, or a simulation. */
import type { Checkpoint } from '@troupe/checkpoint';
import type { Collective } from '@troupe/collective';
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
  /** Text that nobody can guess, of so many random bytes, in letters, digits, - and _. */
  secret(bytes: number): string;
  /** How gradients are reduced. */
  readonly collective: Pick<Collective, 'host'>;
  /** What the run tells the world. */
  report(event: RunEvent): void;
}

/** Validation and samples, so that no round waits for them. One at a time, in the order asked for. */
export interface SideJobs {
  /** Jobs not done yet. */
  readonly pending: number;
  /** `parameters` [P] are copied. `lossPerChar` in nats. */
  evaluate(parameters: Float32Array): Promise<{ readonly lossPerChar: number; readonly tokens: number }>;
  sample(parameters: Float32Array, request: SampleRequest): Promise<Uint16Array>;
}

export interface SampleRequest {
  readonly prime: Uint16Array;
  /** Characters. */
  readonly length: number;
  readonly seed: number;
  readonly temperature: number;
}

/** Writes one at a time, keeps the newest few, and never stops the run: a failure is reported and the last good one stays. */
export interface CheckpointWriter {
  /** Where checkpoints are, for people. */
  readonly place: string;
  /** Resolves to the path, or undefined when it could not be written. Never rejects. */
  save(checkpoint: Checkpoint, best: boolean): Promise<string | undefined>;
  /** Saves when the disk has time: a newer one takes the place of one that still waits. */
  offer(checkpoint: Checkpoint): void;
  /** When everything asked for is written. */
  settled(): Promise<void>;
}

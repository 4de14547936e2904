/** What all parts of a simulation share. */
import type { Checkpoint } from '@troupe/checkpoint';
import type { Cadences, StopRules } from '@troupe/conductor';
import type { TrainingConfig } from '@troupe/protocol';
import type { Audit } from './audit.js';
import type { Clock } from './clock.js';
import type { CreateEngine } from './engine.js';
import type { Network } from './network.js';
import type { Random } from './random.js';
import type { Text } from './training.js';

export interface World {
  readonly clock: Clock;
  readonly random: Random;
  readonly network: Network;
  readonly audit: Audit;
  readonly config: TrainingConfig;
  readonly text: Text;
  /** Of the workers, in no simulated time. */
  readonly createEngine: CreateEngine;
  /** From which the run resumes. */
  readonly start: Checkpoint | undefined;
  readonly cadences: Cadences;
  readonly stopRules: StopRules;
  /** Whether the all-reduce is a separate process. */
  readonly separate: boolean;
  /** The machines of its reducers. */
  readonly reducers: readonly string[];
  /** Whether the workers that reach others also sum for them. */
  readonly peers: boolean;
  /** A new one each time. */
  ticket(): string;
  readonly token: string;
  /** Of workers whose leases are audited. */
  readonly volunteerToken: string;
  /** `text` is called only if the trace is read. */
  trace(who: string, text: () => string): void;
  onRound(round: number): void;
  /** The run was over, but its end could not be saved: the supervisor restarts the workers too. */
  onNotSaved(): void;
  onWorkerFailed(name: string, error: Error): void;
}

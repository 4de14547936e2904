/** What everything in a simulation shares. */
import type { Cadences } from '@troupe/conductor';
import type { TrainingConfig } from '@troupe/protocol';
import type { Audit } from './audit.js';
import type { Clock } from './clock.js';
import type { Network } from './network.js';
import type { Random } from './random.js';

export interface World {
  readonly clock: Clock;
  readonly random: Random;
  readonly network: Network;
  readonly audit: Audit;
  readonly config: TrainingConfig;
  readonly cadences: Cadences;
  /** The all-reduce is a process of its own. */
  readonly separate: boolean;
  readonly token: string;
  /** The text is only made where someone reads it. */
  trace(who: string, text: () => string): void;
  onRound(round: number): void;
  /** The run was over, and its end is not on disk: whoever goes on with it starts the workers, too. */
  onNotSaved(): void;
  onWorkerFailed(name: string, error: Error): void;
}

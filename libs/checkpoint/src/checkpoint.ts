import type { ModelConfig } from '@troupe/model';
import type { OptimizerState } from '@troupe/optim';

/** Everything that a run needs to continue as if it had never stopped. */
export interface Checkpoint {
  readonly runId: string;
  /** Number of completed rounds, which is also the round to compute next. */
  readonly round: number;
  readonly model: ModelConfig;
  /** The run's training config: any JSON value. The reader validates it. */
  readonly config: unknown;
  /** [V] characters in the order of their ids. */
  readonly vocabulary: readonly string[];
  readonly corpus: CorpusIdentity;
  /** [P], carved by the model's ParameterLayout. */
  readonly parameters: Float32Array;
  /** The digest of `parameters` that replicas compare. */
  readonly parametersDigest: string;
  readonly optimizer: OptimizerState;
  /** Hidden states before `round` [B, L, S, H]. */
  readonly streamStates: Float32Array;
  /** [B] position of each stream's next input in the training part. */
  readonly cursors: readonly number[];
  /** State of the random generators: any JSON value. */
  readonly rng: unknown;
  /** The validation history: any JSON value. */
  readonly history: unknown;
  /** ISO 8601. Absent in a reproducible run, where the same state must give the same bytes. */
  readonly savedAt?: string;
}

export interface CorpusIdentity {
  readonly name: string;
  /** SHA-256 of the UTF-8 text, hex. */
  readonly sha256: string;
  /** Number of code points. */
  readonly characters: number;
  readonly trainFraction: number;
}

import type { ModelConfig } from '@troupe/model';
import type { OptimizerState } from '@troupe/optim';

/** Everything from which a run goes on as if it had never stopped. */
export interface Checkpoint {
  readonly runId: string;
  /** Rounds completed, which is also the round to compute next. */
  readonly round: number;
  readonly model: ModelConfig;
  /** The run's training config; any JSON value, which the reader validates. */
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
  /** [B] index in the training part of each stream's next input. */
  readonly cursors: readonly number[];
  /** State of the random numbers; any JSON value. */
  readonly rng: unknown;
  /** Losses so far, best validation and the like; any JSON value. */
  readonly history: unknown;
  /** ISO 8601. Absent in a reproducible run: the same state gives the same bytes, whenever it is saved. */
  readonly savedAt?: string;
}

export interface CorpusIdentity {
  readonly name: string;
  /** SHA-256 of the UTF-8 text, hex. */
  readonly sha256: string;
  /** Code points in all. */
  readonly characters: number;
  readonly trainFraction: number;
}

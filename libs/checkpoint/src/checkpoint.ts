import type { ModelConfig } from '@troupe/model';
import type { OptimizerState } from '@troupe/optim';

/** Everything that a run needs to continue as if it had never stopped, or the weights of its model alone. */
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
  /** The model can write, be measured and start a new run, but no run can continue from here. */
  readonly weightsOnly?: true;
}

/**
 * The same model without what only the run needs: optimizer, hidden states and history. For Adam the
 * file is a third of the size.
 */
export function weightsOnly(checkpoint: Checkpoint): Checkpoint {
  return {
    ...checkpoint,
    optimizer: { slots: [], scalars: [] },
    streamStates: new Float32Array(0),
    cursors: [],
    rng: null,
    history: null,
    weightsOnly: true,
  };
}

export interface CorpusIdentity {
  readonly name: string;
  /** SHA-256 of the UTF-8 text, hex. */
  readonly sha256: string;
  /** Number of code points. */
  readonly characters: number;
  readonly trainFraction: number;
}

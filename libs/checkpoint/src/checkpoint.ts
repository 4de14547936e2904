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
  /** [P], the model, carved by its ParameterLayout. */
  readonly parameters: Float32Array;
  /**
   * `parameters` are the moving average of those that the run trains: it was the better model.
   * Absent: they are those that the run trains.
   */
  readonly averaged?: true;
  /** [P], the other ones, in a run that averages its parameters. Absent with weights only. */
  readonly twin?: Float32Array;
  /** The digest of the parameters that the run trains, which replicas compare. */
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
  const { twin: _, ...rest } = checkpoint;
  return {
    ...rest,
    optimizer: { slots: [], scalars: [] },
    streamStates: new Float32Array(0),
    cursors: [],
    rng: null,
    history: null,
    weightsOnly: true,
  };
}

/** The parameters [P] that the run trains, and their moving average, if it keeps one. */
export function trainedParameters({ parameters, averaged, twin }: Checkpoint): {
  readonly parameters: Float32Array;
  readonly average: Float32Array | undefined;
} {
  return averaged && twin ? { parameters: twin, average: parameters } : { parameters, average: twin };
}

/** The same moment of the run, with the parameters that it trains or their moving average as the model. */
export function asModel(checkpoint: Checkpoint, which: 'trained' | 'average'): Checkpoint {
  const { averaged, ...rest } = checkpoint;
  const { parameters, average } = trainedParameters(checkpoint);
  if ((which === 'average') === (averaged === true) || average === undefined) return checkpoint;
  return which === 'average'
    ? { ...rest, averaged: true, parameters: average, twin: parameters }
    : { ...rest, parameters, twin: average };
}

export interface CorpusIdentity {
  readonly name: string;
  /** SHA-256 of the UTF-8 text, hex. */
  readonly sha256: string;
  /** Number of code points. */
  readonly characters: number;
  readonly trainFraction: number;
}

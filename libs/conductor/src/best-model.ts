/** The best model of a run: the validation that it is from, and the file that holds it. */
import type { Checkpoint } from '@troupe/checkpoint';
import { lossOf } from '@troupe/run';
import type { CheckpointWriter } from './ports.js';
import { validationHistoryOf, type Evaluation } from './training.js';

/** The best model on disk and its validation. */
export interface SavedBest extends Evaluation {
  readonly path: string;
}

/** The best model as it is on disk; undefined if the file does not say how good it is. */
export function savedBestOf(file: { readonly path: string; readonly checkpoint: Checkpoint } | undefined): SavedBest | undefined {
  const evaluation = validationHistoryOf(file?.checkpoint).evaluations.find(({ round }) => round === file?.checkpoint.round);
  return file && evaluation && { ...evaluation, path: file.path };
}

interface Candidate {
  readonly checkpoint: Checkpoint;
  readonly evaluation: Evaluation;
}

/**
 * A model counts as saved only when its file is written. A write that failed is tried again with
 * the next validation and at the end of the run.
 */
export class BestModel {
  readonly #writer: Pick<CheckpointWriter, 'save'>;
  #saved: SavedBest | undefined;
  /** Better than the saved one. */
  #unsaved: Candidate | undefined;

  constructor(writer: Pick<CheckpointWriter, 'save'>, saved: SavedBest | undefined) {
    this.#writer = writer;
    this.#saved = saved;
  }

  get saved(): SavedBest | undefined {
    return this.#saved;
  }

  /** Saves the model if it is better than all models before it. Never rejects. */
  offer(checkpoint: Checkpoint, evaluation: Evaluation): Promise<void> {
    const before = this.#unsaved?.evaluation ?? this.#saved;
    if (!before || lossOf(evaluation) < lossOf(before)) this.#unsaved = { checkpoint, evaluation };
    return this.save();
  }

  /** Saves what is better than the file, if anything is. Never rejects. */
  async save(): Promise<void> {
    const candidate = this.#unsaved;
    if (!candidate) return;
    const path = await this.#writer.save(candidate.checkpoint, true);
    if (path === undefined) return;
    this.#saved = { ...candidate.evaluation, path };
    if (this.#unsaved === candidate) this.#unsaved = undefined;
  }
}

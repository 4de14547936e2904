/** What follows a round: validations, samples and checkpoints. No round waits for any of it. */
import type { Checkpoint } from '@troupe/checkpoint';
import { aborted } from './aborted.js';
import type { ConductorEvent } from './events.js';
import type { CheckpointWriter, ConductorPorts, SideJobs } from './ports.js';
import { validationHistoryUpTo, isReproducible, takeCheckpoint, type Training } from './training.js';

/** Who pauses a reproducible run while too many of its validations are pending. */
export const VALIDATION = 'validation';

const SAMPLE_CHARS = 200;
const FINAL_SAMPLE_CHARS = 600;
const SAMPLE_TEMPERATURE = 0.5;
/**
 * Validations that may be pending in a reproducible run, which skips none. More of them pause the
 * run.
 */
const MAX_EVALUATIONS = 2;
/** How long saving a reproducible run waits for its validations. */
const VALIDATION_MS = 60_000;

export interface FollowUpParts {
  readonly training: Training;
  readonly side: SideJobs;
  readonly writer: CheckpointWriter;
  /** The best checkpoint so far, in a resumed run. */
  readonly bestPath?: string | undefined;
  readonly ports: Pick<ConductorPorts, 'report' | 'timestamp' | 'deadline'>;
  put(event: ConductorEvent): void;
}

export interface Concluding {
  readonly round: number;
  readonly outcome: 'completed' | 'stopped';
}

export class FollowUps {
  readonly #parts: FollowUpParts;
  readonly #reproducible: boolean;
  #bestPath: string | undefined;
  #concluded = false;
  /** How many validations are pending, and the end of the last of them. */
  #evaluations = 0;
  #evaluated: Promise<void> = Promise.resolve();
  /** The newest checkpoint that waits for its validations. */
  #offered: Checkpoint | undefined;

  constructor(parts: FollowUpParts) {
    this.#parts = parts;
    this.#reproducible = isReproducible(parts.training.config);
    this.#bestPath = parts.bestPath;
  }

  /** Starts side jobs that are due. Nothing waits for them. */
  handle(event: ConductorEvent): void {
    if (event.type !== 'outcome') return;
    const { outcome } = event;
    const { side, training } = this.#parts;
    switch (outcome.type) {
      case 'checkpoint':
        return this.#offer(this.#snapshot(outcome.round));
      case 'evaluate':
        // One that still runs when the next is due means that validation is slower than training:
        // skip this one.
        if (this.#reproducible || side.pending === 0) this.#evaluateSoon(this.#snapshot(outcome.round));
        return;
      case 'sample':
        if (side.pending <= 1) this.#inTheBackground(this.#sample(training.replica.parameters, outcome.round, SAMPLE_CHARS));
        return;
      default:
    }
  }

  /**
   * Saves the run after `round` rounds. @returns the path, or undefined when it was not written.
   * Never rejects.
   */
  saveNow(round: number): Promise<string | undefined> {
    return this.#save(this.#snapshot(round));
  }

  /**
   * Ends a run that was saved at `savedFirst` (undefined: saving failed). A completed run is
   * validated and sampled first, unless `stop` aborts, and saved once more.
   * @throws NotSaved
   */
  async conclude({ round, outcome }: Concluding, savedFirst: string | undefined, stop: AbortSignal): Promise<void> {
    const { training, writer, ports } = this.#parts;
    let saved = savedFirst;
    if (outcome === 'completed') {
      await Promise.race([this.#finalEvaluation(round), aborted(stop)]);
      // This checkpoint has the last validation in its history.
      saved = (await writer.save(this.#snapshot(round), false)) ?? saved;
    }
    this.#concluded = true;
    await writer.settled();
    if (saved === undefined) throw new NotSaved(writer.place, round);
    const { best } = training.history;
    ports.report({
      event: 'finished',
      round,
      reason: outcome,
      checkpoint: saved,
      ...(this.#bestPath === undefined ? {} : { bestCheckpoint: this.#bestPath }),
      ...(best === undefined ? {} : { validationLoss: best.validationLoss }),
    });
  }

  #snapshot(round: number): Checkpoint {
    return takeCheckpoint(this.#parts.training, round, this.#parts.ports.timestamp());
  }

  /**
   * In a reproducible run, a checkpoint contains every validation up to its round, so it waits for
   * them.
   */
  async #withValidations(checkpoint: Checkpoint): Promise<Checkpoint> {
    if (!this.#reproducible) return checkpoint;
    await this.#evaluated;
    return { ...checkpoint, history: validationHistoryUpTo(this.#parts.training.history, checkpoint.round) };
  }

  /** Only the newest waits, because each is a copy of everything. */
  #offer(checkpoint: Checkpoint): void {
    if (!this.#reproducible) return this.#parts.writer.offer(checkpoint);
    const first = this.#offered === undefined;
    this.#offered = checkpoint;
    if (first) this.#inTheBackground(this.#offerNewest());
  }

  async #offerNewest(): Promise<void> {
    await this.#evaluated;
    const newest = this.#offered!;
    this.#offered = undefined;
    this.#parts.writer.offer(await this.#withValidations(newest));
  }

  /** @returns the path, or undefined when writing failed or its validations took too long */
  async #save(checkpoint: Checkpoint): Promise<string | undefined> {
    const { writer, ports } = this.#parts;
    if (!this.#reproducible || this.#evaluations === 0) return writer.save(await this.#withValidations(checkpoint), false);
    const tooLong = aborted(ports.deadline(VALIDATION_MS)).then(() => false);
    const inTime = await Promise.race([this.#evaluated.then(() => true), tooLong]);
    if (inTime) return writer.save(await this.#withValidations(checkpoint), false);
    ports.report({
      event: 'note',
      level: 'warn',
      text: `round ${checkpoint.round} was not saved: its validations took longer than ${VALIDATION_MS / 1000} s`,
      remedy: 'A reproducible run is only saved with its validations. Continue from the last checkpoint with --resume.',
    });
    return undefined;
  }

  #evaluateSoon(checkpoint: Checkpoint): void {
    this.#evaluated = this.#evaluateInTurn(checkpoint);
  }

  /** Never rejects. */
  async #evaluateInTurn(checkpoint: Checkpoint): Promise<void> {
    const { put } = this.#parts;
    if (++this.#evaluations > MAX_EVALUATIONS) put({ type: 'order', order: { type: 'pause', by: VALIDATION } });
    const before = this.#evaluated;
    try {
      await this.#evaluate(checkpoint);
    } catch (error) {
      this.#warn(error as Error);
    }
    if (--this.#evaluations === MAX_EVALUATIONS) put({ type: 'order', order: { type: 'resume', by: VALIDATION } });
    await before;
  }

  #inTheBackground(job: Promise<void>): void {
    job.catch((error: Error) => this.#warn(error));
  }

  #warn({ message }: Error): void {
    if (this.#concluded) return;
    this.#parts.ports.report({ event: 'note', level: 'warn', text: `a validation or a sample was skipped: ${message}` });
  }

  async #evaluate(checkpoint: Checkpoint): Promise<void> {
    const { training, side, writer, ports } = this.#parts;
    const { history } = training;
    const { round } = checkpoint;
    const { lossPerChar: validationLoss, tokens } = await side.evaluate(checkpoint.parameters);
    const best = !history.best || validationLoss < history.best.validationLoss;
    history.evaluations.push({ round, validationLoss });
    if (best) history.best = { round, validationLoss };
    const then = this.#reproducible
      ? validationHistoryUpTo(history, round)
      : { ...history, evaluations: [...history.evaluations] };
    ports.report({ event: 'evaluation', round, validationLoss, characters: tokens, best });
    if (best) this.#bestPath = (await writer.save({ ...checkpoint, history: then }, true)) ?? this.#bestPath;
  }

  async #sample(parameters: Float32Array, round: number, length: number): Promise<void> {
    const { training, side, ports } = this.#parts;
    const { vocabulary, config } = training;
    // Start at a line break, as verse does, or at the first character of a text without line
    // breaks.
    const prime = vocabulary.encode(vocabulary.characters.includes('\n') ? '\n' : vocabulary.characters[0]);
    const seed = (config.seed + round) >>> 0;
    const ids = await side.sample(parameters, { prime, length, seed, temperature: SAMPLE_TEMPERATURE });
    ports.report({ event: 'sample', round, text: vocabulary.decode(ids) });
  }

  async #finalEvaluation(round: number): Promise<void> {
    const { history, replica } = this.#parts.training;
    try {
      // A run that resumed at its last round was validated there before.
      if (!history.evaluations.some((evaluation) => evaluation.round === round)) await this.#evaluate(this.#snapshot(round));
      await this.#sample(replica.parameters, round, FINAL_SAMPLE_CHARS);
    } catch (error) {
      this.#warn(error as Error);
    }
  }
}

/** The run is over, and its last round is not on disk. */
export class NotSaved extends Error {
  override readonly name = 'NotSaved';
  readonly code = 'not_saved';
  readonly remedy: string;
  constructor(place: string, round: number) {
    super(`round ${round} could not be saved`);
    this.remedy = `The notes above say why. Make ${place} writable, then continue from its last checkpoint with --resume.`;
  }
}

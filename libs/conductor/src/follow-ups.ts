/** What follows a round: validations, samples and checkpoints. No round waits for any of it. */
import { asModel, type Checkpoint } from '@troupe/checkpoint';
import { aborted } from '@troupe/protocol';
import { isAverageBetter, lossOf } from '@troupe/run';
import { BestModel, type SavedBest } from './best-model.js';
import { jumpedSince, mayGoBack } from './loss-jump.js';
import type { ConductorEvent } from './events.js';
import type { CheckpointWriter, ConductorPorts, SideJobs } from './ports.js';
import {
  chanceLoss,
  createVectorCopies,
  currentModel,
  isOutOfPatience,
  isReproducible,
  isValidated,
  lacksValidations,
  takeCheckpoint,
  validationHistoryUpTo,
  withValidationHistory,
  type Evaluation,
  type Training,
} from './training.js';

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
/** How often a reproducible run tries a validation, and its first pause between two tries. */
const EVALUATION_TRIES = 5;
const RETRY_MS = 1_000;

export interface FollowUpParts {
  readonly training: Training;
  /** The scheduler's. */
  readonly loss: { readonly aboveLimit: number };
  /** See StopRules. */
  readonly patience: number;
  /** See ConductorOptions. */
  readonly jumps?: Set<number> | undefined;
  readonly side: SideJobs;
  readonly writer: CheckpointWriter;
  /** The best model on disk, in a resumed run. */
  readonly best?: SavedBest | undefined;
  /** Reads the best model from disk. It writes the sample at the end of the run. Absent: that of the last round does. */
  readBest?(): Promise<BestParameters | undefined>;
  readonly ports: Pick<ConductorPorts, 'report' | 'timestamp' | 'deadline' | 'sleep'>;
  put(event: ConductorEvent): void;
  /** Ends the run: it cannot continue as a reproducible one. */
  fail(error: ValidationFailed): void;
}

export interface BestParameters {
  readonly round: number;
  /** [P]. */
  readonly parameters: Float32Array;
}

/** A checkpoint of a reproducible run that is due. */
interface Offer {
  readonly checkpoint: Checkpoint;
  /** Resolves when the validations up to its round have ended. */
  readonly validated: Promise<void>;
}

export interface Concluding {
  readonly round: number;
  readonly outcome: 'completed' | 'stopped';
}

export class FollowUps {
  readonly #parts: FollowUpParts;
  readonly #reproducible: boolean;
  readonly #best: BestModel;
  /** A validation and a checkpoint of one round share their copies. */
  readonly #vectors: ReturnType<typeof createVectorCopies>;
  /** Aborts when the run is over. From then on nothing is tried, reported or offered. */
  readonly #over = new AbortController();
  /** How many validations are pending, and the end of the last of them. */
  #evaluations = 0;
  #evaluated: Promise<void> = Promise.resolve();
  /** The run as it was when patience ended. A reproducible run ends there, wherever it is by then. */
  #stopped: Checkpoint | undefined;
  /** The checkpoint that waits for its validations, and the newest one behind it. */
  readonly #offers: Offer[] = [];
  /** Resolves when nothing waits any more. */
  #offered: Promise<void> = Promise.resolve();
  /** The last round is complete or the run has diverged: no validation can stop it any more. */
  #trained = false;
  /** Of the last round, nats/char; 0 before the first. */
  #trainLoss = 0;

  constructor(parts: FollowUpParts) {
    this.#parts = parts;
    this.#reproducible = isReproducible(parts.training.config);
    this.#vectors = createVectorCopies(parts.training);
    this.#best = new BestModel(parts.writer, parts.best);
  }

  /** Starts side jobs that are due. Nothing waits for them. */
  handle(event: ConductorEvent): void {
    if (event.type === 'updated') this.#trainLoss = event.update.lossSum / event.update.tokens;
    if (event.type !== 'outcome') return;
    const { outcome } = event;
    const { side, training } = this.#parts;
    switch (outcome.type) {
      case 'checkpoint':
        return this.#offer(this.#snapshot(outcome.round));
      case 'evaluate':
        // One that still runs when the next is due means that validation is slower than training:
        // skip this one.
        if (this.#reproducible || side.pending === 0) void this.#evaluateSoon(this.#snapshot(outcome.round));
        return;
      case 'sample':
        if (side.pending <= 1) this.#inTheBackground(this.#sample(currentModel(training), outcome.round, SAMPLE_CHARS));
        return;
      case 'finish':
      case 'fail':
        this.#trained = true;
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
   * @throws NotSaved, ValidationFailed
   */
  async conclude({ round, outcome }: Concluding, savedFirst: string | undefined, stop: AbortSignal): Promise<void> {
    const { training, writer, ports } = this.#parts;
    const saved = outcome === 'completed' ? await this.#concludeCompleted(round, savedFirst, stop) : savedFirst;
    await this.#best.save();
    this.close();
    await writer.settled();
    const last = this.#stopped?.round ?? round;
    if (saved === undefined) throw new NotSaved(writer, last);
    const validation = training.history.evaluations.find((evaluation) => evaluation.round === last);
    const best = this.#best.saved;
    ports.report({
      event: 'finished',
      round: last,
      reason: this.#stopped ? 'stopped' : outcome,
      checkpoint: saved,
      ...(validation && lossesOf(validation)),
      ...(best && {
        bestCheckpoint: best.path,
        bestRound: best.round,
        bestValidationLoss: lossOf(best),
        ...(isAverageBetter(best) && { bestIsAverage: true }),
      }),
    });
  }

  /**
   * Waits, when the run has diverged, until everything that was due before is written. A
   * reproducible run waits for its validations first, however long they take: its outcome must not
   * depend on their speed. Only a person ends this wait, with `stop`.
   * @returns whether patience had stopped the run before. Never rejects
   */
  async settle(stop: AbortSignal): Promise<boolean> {
    const { ports, writer } = this.#parts;
    if (this.#reproducible) {
      this.#sayWhatIsPending();
      await Promise.race([this.#evaluated, aborted(stop)]);
    }
    const written = async (): Promise<void> => {
      await this.#offered.catch(() => undefined); // it is reported where it is started
      await writer.settled();
    };
    await Promise.race([written(), aborted(stop), aborted(ports.deadline(VALIDATION_MS))]);
    return this.#stopped !== undefined;
  }

  #sayWhatIsPending(): void {
    const count = this.#evaluations;
    if (count === 0) return;
    const text = `the loss stays above its limit; before the run ends it waits for ${count} pending validation${count > 1 ? 's' : ''}`;
    this.#parts.ports.report({ event: 'note', level: 'info', text });
  }

  /** The round to which a jump of the next validation would take the run back. */
  get lastValidated(): number | undefined {
    return this.#parts.jumps && this.#parts.training.history.evaluations.at(-1)?.round;
  }

  /** Stops a run that resumes although its validation has not improved for long enough. */
  checkPatience(): void {
    const { training, patience } = this.#parts;
    if (isOutOfPatience(training.history.evaluations, patience)) this.#stopAt(this.#snapshot(training.round));
  }

  #stopAt(checkpoint: Checkpoint): void {
    const { training, patience, put, ports } = this.#parts;
    if (this.#reproducible) this.#stopped = checkpoint;
    const { evaluations } = training.history;
    const { round } = evaluations.reduce((best, one) => (lossOf(one) < lossOf(best) ? one : best));
    const text = `validation has not improved since round ${round}, for ${patience} validations: the run stops`;
    ports.report({ event: 'note', level: 'info', text });
    put({ type: 'order', order: { type: 'stop' } });
  }

  /** Ends retries and offers. Call it before the side jobs are closed. */
  close(): void {
    this.#over.abort(new Error('the run is over'));
  }

  /** @returns where it is saved. @throws ValidationFailed */
  async #concludeCompleted(round: number, savedFirst: string | undefined, stop: AbortSignal): Promise<string | undefined> {
    const { training, writer, ports } = this.#parts;
    const failure = await Promise.race([this.#finalEvaluation(round), aborted(stop)]);
    if (this.#stopped) return this.#save(this.#stopped);
    const validated = isValidated(training.history, round);
    // This checkpoint has the last validation in its history. Without it, the first one is as good,
    // and in a reproducible run the same bytes.
    const saved = validated || savedFirst === undefined ? await this.#save(this.#snapshot(round)) : undefined;
    if (validated) return saved ?? savedFirst;
    if (stop.aborted) {
      const text = `round ${round} is saved without its validation, because the run was stopped`;
      ports.report({ event: 'note', level: 'warn', text, remedy: 'To validate it, continue with --resume.' });
    } else if (this.#reproducible) throw new ValidationFailed(writer, round, failure);
    return saved ?? savedFirst;
  }

  #snapshot(round: number): Checkpoint {
    const { training, loss, ports } = this.#parts;
    return takeCheckpoint(training, round, ports.timestamp(), loss.aboveLimit, this.#vectors(round));
  }

  /**
   * In a reproducible run, a checkpoint contains every validation up to its round.
   * @returns undefined when one of them is missing, because it failed
   */
  #withValidations(checkpoint: Checkpoint): Checkpoint | undefined {
    if (!this.#reproducible) return checkpoint;
    const { training } = this.#parts;
    if (lacksValidations(training, checkpoint.round)) return undefined;
    return withValidationHistory(checkpoint, validationHistoryUpTo(training, checkpoint.round));
  }

  /**
   * The first one keeps its place until its validations have ended: if newer ones replaced it, a
   * run that trains faster than it validates would never be saved. Only the newest one waits
   * behind it, because each is a copy of everything.
   */
  #offer(checkpoint: Checkpoint): void {
    if (!this.#reproducible) return this.#parts.writer.offer(checkpoint);
    const waiting = this.#offers.length;
    this.#offers[Math.min(waiting, 1)] = { checkpoint, validated: this.#evaluated };
    if (waiting > 0) return;
    this.#offered = this.#offerInTurn();
    this.#inTheBackground(this.#offered);
  }

  async #offerInTurn(): Promise<void> {
    for (; this.#offers.length > 0; this.#offers.shift()) {
      const [{ checkpoint, validated }] = this.#offers;
      await validated;
      const whole = this.#withValidations(checkpoint);
      if (whole && !this.#stopped) this.#parts.writer.offer(whole);
    }
  }

  /** @returns the path, or undefined when writing failed or a validation is missing */
  async #save(current: Checkpoint): Promise<string | undefined> {
    const { writer, ports } = this.#parts;
    if (this.#reproducible && this.#evaluations > 0) {
      await Promise.race([this.#evaluated, aborted(ports.deadline(VALIDATION_MS))]);
    }
    const checkpoint = this.#stopped ?? current;
    const { round } = checkpoint;
    const whole = this.#withValidations(checkpoint);
    if (whole) return writer.save(whole, false);
    const late = this.#evaluations > 0;
    ports.report({
      event: 'note',
      level: 'warn',
      text: `round ${round} was not saved: its validations ${late ? `took longer than ${VALIDATION_MS / 1000} s` : 'failed'}`,
      remedy: `A reproducible run is only saved with its validations. ${howToContinue(writer)}`,
    });
    return undefined;
  }

  #evaluateSoon(checkpoint: Checkpoint): Promise<Error | undefined> {
    const before = this.#evaluated;
    const evaluation = this.#reproducible ? this.#evaluateInTurn(checkpoint, before) : this.#evaluateOnce(checkpoint);
    this.#evaluated = evaluation.then(() => undefined);
    return evaluation;
  }

  /** @returns why it failed. Never rejects */
  async #evaluateOnce(checkpoint: Checkpoint): Promise<Error | undefined> {
    try {
      await this.#evaluate(checkpoint);
      return undefined;
    } catch (error) {
      this.#warn(error as Error);
      return error as Error;
    }
  }

  /**
   * Validations of a reproducible run are recorded in the order of their rounds, and none is left
   * out: its files depend on them.
   * @returns why it failed. Never rejects
   */
  async #evaluateInTurn(checkpoint: Checkpoint, before: Promise<void>): Promise<Error | undefined> {
    const { put, fail, writer, training } = this.#parts;
    if (++this.#evaluations > MAX_EVALUATIONS) put({ type: 'order', order: { type: 'pause', by: VALIDATION } });
    await before;
    if (this.#stopped) return undefined;
    const earlier = lacksValidations(training, checkpoint.round - 1) ? new Error('an earlier validation failed') : undefined;
    const failure = earlier ?? (await this.#evaluateWithRetries(checkpoint));
    if (--this.#evaluations === MAX_EVALUATIONS) put({ type: 'order', order: { type: 'resume', by: VALIDATION } });
    if (failure && !earlier && !this.#over.signal.aborted) fail(new ValidationFailed(writer, checkpoint.round, failure));
    return failure;
  }

  /** @returns the last failure if every try failed. Never rejects */
  async #evaluateWithRetries(checkpoint: Checkpoint): Promise<Error | undefined> {
    const { ports } = this.#parts;
    const { signal } = this.#over;
    for (let tries = 1; ; tries++) {
      try {
        signal.throwIfAborted();
        await this.#evaluate(checkpoint);
        return undefined;
      } catch (error) {
        const { message } = error as Error;
        if (signal.aborted || tries === EVALUATION_TRIES) return error as Error;
        const text = `the validation of round ${checkpoint.round} failed and is tried again: ${message}`;
        ports.report({ event: 'note', level: 'warn', text });
        // An abort ends the pause, and then the loop.
        await ports.sleep(RETRY_MS * 2 ** (tries - 1), signal).catch(() => undefined);
      }
    }
  }

  #inTheBackground(job: Promise<void>): void {
    job.catch((error: Error) => this.#warn(error));
  }

  #warn({ message }: Error): void {
    if (this.#over.signal.aborted) return;
    this.#parts.ports.report({ event: 'note', level: 'warn', text: `a validation or a sample was skipped: ${message}` });
  }

  async #evaluate(checkpoint: Checkpoint): Promise<void> {
    const { training, side, ports, patience } = this.#parts;
    const { history } = training;
    const { round } = checkpoint;
    const { lossPerChar: validationLoss, tokens } = await side.evaluate(checkpoint.parameters);
    const averageLoss = checkpoint.twin && (await side.evaluate(checkpoint.twin)).lossPerChar;
    this.#over.signal.throwIfAborted();
    const evaluation = { round, validationLoss, ...(averageLoss !== undefined && { averageLoss }) };
    // NaN is not below anything.
    const best = lossOf(evaluation) < (history.best ? lossOf(history.best) : chanceLoss(training.config));
    const since = jumpedSince({ ...history, evaluation, trainLoss: this.#trainLoss, chance: chanceLoss(training.config) });
    history.evaluations.push(evaluation);
    if (best) history.best = evaluation;
    const validated = withValidationHistory(
      checkpoint,
      this.#reproducible ? validationHistoryUpTo(training, round) : { ...history, evaluations: [...history.evaluations] },
    );
    ports.report({ event: 'evaluation', ...evaluation, characters: tokens, best });
    if (since !== undefined && !this.#trained && (await this.#goesBack(evaluation, since))) return;
    // A reproducible run still ends where patience ended, whatever happened since.
    const stoppable = this.#reproducible || !this.#trained;
    if (stoppable && round < training.config.rounds && isOutOfPatience(history.evaluations, patience)) this.#stopAt(validated);
    if (lossOf(evaluation) < chanceLoss(training.config)) {
      await this.#best.offer(asModel(validated, isAverageBetter(evaluation) ? 'average' : 'trained'), evaluation);
    }
  }

  /** @returns whether the run goes back because the loss has jumped since round `since` */
  async #goesBack({ round, validationLoss }: Evaluation, since: number): Promise<boolean> {
    const { jumps, writer, put, ports } = this.#parts;
    const text = `the validation loss jumped to ${validationLoss.toPrecision(4)} nats/char between rounds ${since} and ${round}`;
    const isPossible = jumps !== undefined && mayGoBack(jumps, since) && (await writer.holds(since));
    if (this.#trained || this.#over.signal.aborted) return false;
    if (isPossible) {
      jumps.add(round);
      put({ type: 'tainted', since, reason: text });
      return true;
    }
    const remedy = 'If it does not recover, stop the run and start again with a lower --lr, or with --clip.';
    const why = jumps?.size ? 'going back has not helped' : 'there is no checkpoint of before to go back to';
    ports.report({ event: 'note', level: 'warn', text: `${text}; the run continues: ${why}`, remedy });
    return false;
  }

  async #sample(parameters: Float32Array, round: number, length: number, bestRound?: number): Promise<void> {
    const { training, side, ports } = this.#parts;
    const { vocabulary, config } = training;
    // Start at a line break, as verse does, or at the first character of a text without line
    // breaks.
    const prime = vocabulary.encode(vocabulary.characters.includes('\n') ? '\n' : vocabulary.characters[0]);
    const seed = (config.seed + round) >>> 0;
    const ids = await side.sample(parameters, { prime, length, seed, temperature: SAMPLE_TEMPERATURE });
    ports.report({ event: 'sample', round, text: vocabulary.decode(ids), ...(bestRound !== undefined && { bestRound }) });
  }

  /** @returns why the validation failed. Never rejects */
  async #finalEvaluation(round: number): Promise<Error | undefined> {
    const { training } = this.#parts;
    // A run that resumed at its last round was validated there before.
    const failure = isValidated(training.history, round) ? undefined : await this.#evaluateSoon(this.#snapshot(round));
    if (this.#stopped) return undefined;
    await this.#finalSample(currentModel(training), round).catch((error: Error) => this.#warn(error));
    return failure;
  }

  /** By the best model: that of the last round may have learned its text by heart. */
  async #finalSample(last: Float32Array, round: number): Promise<void> {
    await this.#best.save();
    const best = this.#best.saved?.round === round ? undefined : await this.#parts.readBest?.();
    await this.#sample(best?.parameters ?? last, round, FINAL_SAMPLE_CHARS, best?.round);
  }
}

/** The losses of a validation, without its round. */
function lossesOf({ round: _, ...losses }: Evaluation): Omit<Evaluation, 'round'> {
  return losses;
}

type Place = Pick<CheckpointWriter, 'place' | 'newest'>;

/** A remedy: how to continue a run from what is on disk. */
export function howToContinue({ place, newest }: Place): string {
  if (newest === undefined) return `There is no checkpoint in ${place} yet: start the run again.`;
  return `Continue from the last checkpoint, ${newest}, with --resume.`;
}

/** The run is over, and its last round is not on disk. */
export class NotSaved extends Error {
  override readonly name = 'NotSaved';
  readonly code = 'not_saved';
  readonly remedy: string;
  constructor(writer: Place, round: number) {
    super(`round ${round} could not be saved`);
    this.remedy = `The notes above say why. Make ${writer.place} writable. ${howToContinue(writer)}`;
  }
}

/** A validation of a reproducible run failed again and again; without it the run cannot be saved. */
export class ValidationFailed extends Error {
  override readonly name = 'ValidationFailed';
  readonly code = 'validation_failed';
  readonly remedy: string;
  constructor(writer: Place, round: number, cause: Error | void) {
    const why = cause ? `: ${cause.message}` : '';
    super(`the validation of round ${round} failed ${EVALUATION_TRIES} times${why}`, { cause });
    this.remedy = `A reproducible run is only saved with its validations. ${howToContinue(writer)}`;
  }
}

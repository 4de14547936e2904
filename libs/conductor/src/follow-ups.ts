/** What follows a round: progress for people, validations, samples and checkpoints. No round waits for any of it. */
import type { Checkpoint } from '@troupe/checkpoint';
import type { ReduceUpdate } from '@troupe/collective';
import type { RoundTiming, RunEvent } from '@troupe/run';
import type { RunEffect } from '@troupe/scheduler';
import type { CheckpointWriter, SideJobs } from './ports.js';
import { createProgress } from './progress.js';
import { validationHistoryUpTo, isReproducible, takeCheckpoint, type Training } from './training.js';

const SAMPLE_CHARS = 200;
const FINAL_SAMPLE_CHARS = 600;
const SAMPLE_TEMPERATURE = 0.5;
/** Validations that may wait in a reproducible run, where none is left out; more hold the run back. */
const MAX_EVALUATIONS = 2;
/** How long a reproducible run that is to be saved waits for the validations of its rounds. */
const VALIDATION_MS = 60_000;

export interface FollowUpParts {
  readonly training: Training;
  readonly side: SideJobs;
  readonly writer: CheckpointWriter;
  /** The best checkpoint of before, in a resumed run. */
  readonly bestPath?: string | undefined;
  report(event: RunEvent): void;
  nowMs(): number;
  /** ISO 8601. */
  timestamp(): string;
  /** Aborts after `ms`. */
  deadline(ms: number): AbortSignal;
  /** Workers at work. */
  workers(): number;
  /** Of the round just completed. */
  timing(): RoundTiming;
  /** Holds the run back, and lets it go on. */
  hold(on: boolean): void;
}

export interface Concluding {
  readonly round: number;
  readonly outcome: 'completed' | 'stopped';
}

export interface FollowUps {
  onUpdate(update: ReduceUpdate): void;
  onDue(effect: Extract<RunEffect, { type: 'evaluate' | 'sample' | 'checkpoint' }>): void;
  /** Saves the run as it stands after `round` rounds. @returns where, or undefined when it could not be written. Never rejects. */
  saveNow(round: number): Promise<string | undefined>;
  /**
   * Says goodbye to a run that was saved at `saved` (undefined: it could not be); after the last round validates and samples first, unless
   * `stop` is aborted, and saves once more.
   * @throws NotSaved
   */
  conclude(ending: Concluding, saved: string | undefined, stop: AbortSignal): Promise<void>;
}

export function createFollowUps(parts: FollowUpParts): FollowUps {
  const { training, side, writer, report } = parts;
  const { config, history, vocabulary } = training;
  const reproducible = isReproducible(config);
  const progress = createProgress(parts.nowMs());
  let computed = 0;
  const startMs = parts.nowMs();
  let bestPath = parts.bestPath;
  let concluded = false;
  /** Validations asked for and not done, and the end of the last of them. */
  let evaluations = 0;
  let evaluated: Promise<void> = Promise.resolve();
  /** Waits for the validations of its rounds. */
  let offered: Checkpoint | undefined;

  return { onUpdate, onDue, saveNow: (round) => save(snapshot(round)), conclude };

  function onUpdate({ round, tokens, lossSum, gradientNorm, clipScale, learningRate }: ReduceUpdate): void {
    const nowMs = parts.nowMs();
    const { roundMs, charsPerSecond } = progress.add(tokens, nowMs);
    computed++;
    const left = config.rounds - (round + 1);
    report({
      event: 'round',
      round: round + 1,
      rounds: config.rounds,
      trainLoss: lossSum / tokens,
      gradientNorm,
      clipScale,
      learningRate,
      roundMs,
      charsPerSecond,
      etaMs: (left * (nowMs - startMs)) / computed,
      workers: parts.workers(),
      timing: parts.timing(),
    });
  }

  function onDue(effect: Extract<RunEffect, { type: 'evaluate' | 'sample' | 'checkpoint' }>): void {
    switch (effect.type) {
      case 'checkpoint':
        return offer(snapshot(effect.round));
      case 'evaluate':
        // One that is still running when the next is due means that validation is the slower of the two: it is left out.
        if (reproducible || side.pending === 0) evaluateSoon(snapshot(effect.round));
        return;
      case 'sample':
        if (side.pending <= 1) inTheBackground(sample(training.replica.parameters, effect.round, SAMPLE_CHARS));
        return;
      default:
        effect satisfies never;
    }
  }

  function snapshot(round: number): Checkpoint {
    return takeCheckpoint(training, round, parts.timestamp());
  }

  /** In a reproducible run a checkpoint has all validations of its rounds, whenever they were done: it is written after them. */
  async function whole(checkpoint: Checkpoint): Promise<Checkpoint> {
    if (!reproducible) return checkpoint;
    await evaluated;
    return { ...checkpoint, history: validationHistoryUpTo(history, checkpoint.round) };
  }

  /** One waits at most, the newest: each is a copy of everything. */
  function offer(checkpoint: Checkpoint): void {
    if (!reproducible) return writer.offer(checkpoint);
    const alone = offered === undefined;
    offered = checkpoint;
    if (alone) inTheBackground(offerNewest());
  }

  async function offerNewest(): Promise<void> {
    await evaluated;
    const newest = offered!;
    offered = undefined;
    writer.offer(await whole(newest));
  }

  /** @returns where, or undefined when it could not be written, or its validations do not end */
  async function save(checkpoint: Checkpoint): Promise<string | undefined> {
    if (!reproducible || evaluations === 0) return writer.save(await whole(checkpoint), false);
    const inTime = await Promise.race([evaluated.then(() => true), aborted(parts.deadline(VALIDATION_MS)).then(() => false)]);
    if (inTime) return writer.save(await whole(checkpoint), false);
    report({
      event: 'note',
      level: 'warn',
      text: `round ${checkpoint.round} is not saved: its validations are not done after ${VALIDATION_MS / 1000} s`,
      remedy: 'A reproducible run saves no round without them. Go on from its last checkpoint with --resume.',
    });
    return undefined;
  }

  function evaluateSoon(checkpoint: Checkpoint): void {
    evaluated = evaluateInTurn(checkpoint);
  }

  /** Never rejects. */
  async function evaluateInTurn(checkpoint: Checkpoint): Promise<void> {
    if (++evaluations > MAX_EVALUATIONS) parts.hold(true);
    const before = evaluated;
    try {
      await evaluate(checkpoint);
    } catch (error) {
      complain(error as Error);
    }
    if (--evaluations === MAX_EVALUATIONS) parts.hold(false);
    await before;
  }

  function inTheBackground(job: Promise<void>): void {
    job.catch(complain);
  }

  function complain(error: Error): void {
    if (!concluded) report({ event: 'note', level: 'warn', text: `validation or sample left out: ${error.message}` });
  }

  async function evaluate(checkpoint: Checkpoint): Promise<void> {
    const { round } = checkpoint;
    const { lossPerChar: validationLoss, tokens } = await side.evaluate(checkpoint.parameters);
    const best = !history.best || validationLoss < history.best.validationLoss;
    history.evaluations.push({ round, validationLoss });
    if (best) history.best = { round, validationLoss };
    const then = reproducible ? validationHistoryUpTo(history, round) : { ...history, evaluations: [...history.evaluations] };
    report({ event: 'evaluation', round, validationLoss, characters: tokens, best });
    if (best) bestPath = (await writer.save({ ...checkpoint, history: then }, true)) ?? bestPath;
  }

  async function sample(parameters: Float32Array, round: number, length: number): Promise<void> {
    // A line break is where verse begins; a text without one begins with its first character.
    const prime = vocabulary.encode(vocabulary.characters.includes('\n') ? '\n' : vocabulary.characters[0]);
    const ids = await side.sample(parameters, {
      prime,
      length,
      seed: (config.seed + round) >>> 0,
      temperature: SAMPLE_TEMPERATURE,
    });
    report({ event: 'sample', round, text: vocabulary.decode(ids) });
  }

  async function conclude({ round, outcome }: Concluding, savedFirst: string | undefined, stop: AbortSignal): Promise<void> {
    let saved = savedFirst;
    if (outcome === 'completed') {
      await Promise.race([lastLook(round), aborted(stop)]);
      // Once more, with the last validation in its history.
      saved = (await writer.save(snapshot(round), false)) ?? saved;
    }
    concluded = true;
    await writer.settled();
    if (saved === undefined) throw new NotSaved(writer.place, round);
    report({
      event: 'finished',
      round,
      reason: outcome,
      checkpoint: saved,
      ...(bestPath === undefined ? {} : { bestCheckpoint: bestPath }),
      ...(history.best === undefined ? {} : { validationLoss: history.best.validationLoss }),
    });
  }

  async function lastLook(round: number): Promise<void> {
    try {
      // A run that went on from its own end was validated there.
      if (!history.evaluations.some((evaluation) => evaluation.round === round)) await evaluate(snapshot(round));
      await sample(training.replica.parameters, round, FINAL_SAMPLE_CHARS);
    } catch (error) {
      complain(error as Error);
    }
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** The run is over and its last state is not on disk. */
export class NotSaved extends Error {
  override readonly name = 'NotSaved';
  readonly code = 'not_saved';
  readonly remedy: string;
  constructor(place: string, round: number) {
    super(`round ${round} could not be saved`);
    this.remedy = `The notes above say why. Make ${place} writable, then go on from its last checkpoint with --resume.`;
  }
}

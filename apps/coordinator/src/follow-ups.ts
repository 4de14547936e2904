/** What follows a round: progress for people, validations, samples and checkpoints. No round waits for any of it. */
import type { Checkpoint } from '@troupe/checkpoint';
import type { ReduceUpdate } from '@troupe/collective/star';
import type { RunEffect } from '@troupe/run';
import type { CheckpointWriter } from './checkpoints.js';
import { takeCheckpoint, type Preparation } from './preparation.js';
import { createProgress } from './progress.js';
import type { Report } from './reporter.js';
import type { SideJobs } from './side-jobs.js';

const SAMPLE_CHARS = 200;
const FINAL_SAMPLE_CHARS = 600;
const SAMPLE_TEMPERATURE = 0.5;

export interface FollowUpParts {
  readonly prepared: Preparation;
  readonly side: SideJobs;
  readonly writer: CheckpointWriter;
  readonly report: Report;
  nowMs(): number;
  /** ISO 8601. */
  timestamp(): string;
  /** Workers at work. */
  workers(): number;
}

export interface FollowUps {
  onUpdate(update: ReduceUpdate): void;
  onDue(effect: Extract<RunEffect, { type: 'evaluate' | 'sample' | 'checkpoint' }>): void;
  /**
   * Saves the run as it stands and says goodbye; after the last round also validates and samples, unless `stop` is aborted.
   * @throws NotSaved
   */
  conclude(round: number, outcome: 'completed' | 'stopped', stop: AbortSignal): Promise<void>;
}

export function createFollowUps(parts: FollowUpParts): FollowUps {
  const { prepared, side, writer, report } = parts;
  const { config, history, vocabulary } = prepared;
  const progress = createProgress(parts.nowMs());
  let computed = 0;
  const startMs = parts.nowMs();
  let bestPath = prepared.bestPath;
  let concluded = false;

  return { onUpdate, onDue, conclude };

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
    });
  }

  function onDue(effect: Extract<RunEffect, { type: 'evaluate' | 'sample' | 'checkpoint' }>): void {
    switch (effect.type) {
      case 'checkpoint':
        writer.offer(takeCheckpoint(prepared, effect.round, parts.timestamp()));
        return;
      case 'evaluate':
        // One that is still running when the next is due means that validation is the slower of the two: it is left out.
        if (side.pending === 0) inTheBackground(evaluate(takeCheckpoint(prepared, effect.round, parts.timestamp())));
        return;
      case 'sample':
        if (side.pending <= 1) inTheBackground(sample(prepared.replica.parameters, effect.round, SAMPLE_CHARS));
        return;
      default:
        effect satisfies never;
    }
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
    report({ event: 'evaluation', round, validationLoss, characters: tokens, best });
    if (best) bestPath = (await writer.save({ ...checkpoint, history: { ...history } }, true)) ?? bestPath;
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

  async function conclude(round: number, outcome: 'completed' | 'stopped', stop: AbortSignal): Promise<void> {
    // Saved first: what comes after may fail, or take longer than whoever waits.
    let saved = await writer.save(takeCheckpoint(prepared, round, parts.timestamp()), false);
    if (outcome === 'completed') {
      const look = lastLook(round).catch(complain);
      await Promise.race([look, aborted(stop)]);
      // Once more, with the last validation in its history.
      saved = (await writer.save(takeCheckpoint(prepared, round, parts.timestamp()), false)) ?? saved;
    }
    concluded = true;
    await writer.settled();
    if (saved === undefined) throw new NotSaved(prepared.folder, round);
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
    await evaluate(takeCheckpoint(prepared, round, parts.timestamp()));
    await sample(prepared.replica.parameters, round, FINAL_SAMPLE_CHARS);
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** The run is over and its last state is not on disk. */
class NotSaved extends Error {
  override readonly name = 'NotSaved';
  readonly code = 'not_saved';
  readonly remedy: string;
  constructor(folder: string, round: number) {
    super(`round ${round} could not be saved`);
    this.remedy = `The notes above say why. Make ${folder} writable, then go on from its last checkpoint with --resume.`;
  }
}

/** Records what a run reports: in its history, on disk, for TensorBoard. Pages show a run from this record. */
import path from 'node:path';
import { isLocal, modelName } from '@troupe/config';
import { brief } from '@troupe/protocol';
import {
  DECISION_KINDS,
  isWarnedOf,
  type DecisionKind,
  type EvaluationPoint,
  type EventKind,
  type GradientFlow,
  type HistoryEntry,
  type LoggedEvent,
  type RunEvent,
  type RunHeader,
  type RunHistory,
} from '@troupe/run';
import type { HistoryFile } from './history-file.js';
import { createRepeats, type LogLine } from './repeats.js';
import type { TensorBoardWriter } from './tensorboard.js';

/** Length of one event's text: an event about ten thousand workers does not name them all. */
const MAX_TEXT = 1_000;

type EventOf<K extends RunEvent['event']> = Extract<RunEvent, { event: K }>;

export interface Board {
  readonly history: RunHistory;
  /** Time until the end, estimated in the last round, ms. */
  readonly etaMs: number | undefined;
  readonly best: EvaluationPoint | undefined;
  /** The newest checkpoint on disk. */
  readonly checkpoint: { readonly round: number; readonly path: string } | undefined;
  readonly corpus: EventOf<'started'>['corpus'] | undefined;
  /** Number of decisions by kind, including those that the log omits as repeats. */
  readonly decisions: ReadonlyMap<DecisionKind, number>;
  note(event: RunEvent): void;
  noteFlow(flow: GradientFlow): void;
  /** Calls `listener` after each entry. */
  watch(listener: (entry: HistoryEntry) => void): void;
  /** Resolves when everything is on disk, or could not be written. */
  close(): Promise<void>;
}

export interface BoardOptions {
  readonly runId: string;
  readonly name: string | undefined;
  readonly history: RunHistory;
  readonly file: HistoryFile;
  readonly tensorboard: TensorBoardWriter | undefined;
  readonly best: EvaluationPoint | undefined;
  /** The checkpoint from which the run continues. */
  readonly checkpoint: Board['checkpoint'];
  /** Ms since 1970. */
  now(): number;
}

export function createBoard(options: BoardOptions): Board {
  return new RunBoard(options);
}

class RunBoard implements Board {
  readonly history: RunHistory;
  etaMs: number | undefined;
  best: EvaluationPoint | undefined;
  checkpoint: Board['checkpoint'];
  corpus: EventOf<'started'>['corpus'] | undefined;
  readonly decisions = new Map<DecisionKind, number>(DECISION_KINDS.map((kind) => [kind, 0]));
  readonly #options: BoardOptions;
  readonly #listeners: ((entry: HistoryEntry) => void)[] = [];
  readonly #repeats = createRepeats();
  #round = 0;

  constructor(options: BoardOptions) {
    this.#options = options;
    this.history = options.history;
    this.best = options.best;
    this.checkpoint = options.checkpoint;
    this.#round = options.checkpoint?.round ?? 0;
  }

  watch(listener: (entry: HistoryEntry) => void): void {
    this.#listeners.push(listener);
  }

  note(event: RunEvent): void {
    for (const line of this.#repeats.due(this.#options.now())) this.#logLine(line);
    switch (event.event) {
      case 'started':
        return this.#started(event);
      case 'round':
        return this.#completed(event);
      case 'evaluation':
        return this.#evaluated(event);
      case 'sample':
        return this.#sampled(event);
      case 'checkpoint':
        if (event.round >= (this.checkpoint?.round ?? 0)) this.checkpoint = { round: event.round, path: event.path };
        this.#log('checkpoint', `saved ${path.basename(event.path)} at round ${event.round}`);
        // A crash then loses only lines of rounds that the run computes again.
        void this.#options.file.flush();
        return;
      case 'credits':
        return this.#credited(event);
      default:
        return this.#logEvent(event);
    }
  }

  noteFlow(flow: GradientFlow): void {
    this.history.add({ type: 'flow', flow });
    this.#store({ type: 'flow', flow });
  }

  async close(): Promise<void> {
    for (const line of this.#repeats.due(this.#options.now(), true)) this.#logLine(line);
    await Promise.all([this.#options.file.close(), this.#options.tensorboard?.close()]);
  }

  #started({ round, config, parameters, corpus: reported }: EventOf<'started'>): void {
    // The name of a corpus file is its path, and folders of this machine are private.
    const corpus = { ...reported, name: path.basename(reported.name) };
    const model = modelName(config.model);
    const { runId, name } = this.#options;
    const startedAt = this.history.run?.startedAt ?? this.#options.now();
    const run: RunHeader = {
      runId,
      name: name ?? this.history.run?.name ?? `${model} on ${corpus.name}`,
      model,
      config,
      corpus: corpus.name,
      parameters,
      startedAt,
    };
    this.corpus = corpus;
    this.#round = round;
    this.history.add({ type: 'run', run });
    this.#store({ type: 'run', run });
    this.#log('note', round > 0 ? `the run continues from round ${round}` : 'the run starts');
  }

  #completed(event: EventOf<'round'>): void {
    const { round, trainLoss, gradientNorm, clipScale, learningRate, roundMs, charsPerSecond, workers, timing } = event;
    const { computeMs = 0, transferMs = 0, reduceMs = 0, waitingMs = 0 } = timing ?? {};
    const figures = { round, trainLoss, gradientNorm, clipScale, learningRate, roundMs, charsPerSecond, workers };
    const point = this.history.addRound({ ...figures, computeMs, transferMs, reduceMs, waitingMs });
    this.#round = round;
    this.etaMs = event.etaMs;
    const isDifference = this.history.run !== undefined && isLocal(this.history.run.config);
    this.#options.tensorboard?.scalars(round, {
      'loss/train': trainLoss,
      'loss/train_smoothed': point.smoothedLoss,
      [isDifference ? 'difference/norm' : 'gradient/norm']: gradientNorm,
      'gradient/clip_scale': clipScale,
      learning_rate: learningRate,
      'speed/chars_per_second': charsPerSecond,
      'speed/round_ms': roundMs,
      workers,
    });
    this.#store({ type: 'round', point });
  }

  #evaluated({ round, validationLoss, averageLoss, best }: EventOf<'evaluation'>): void {
    const evaluation = { round, validationLoss, ...(averageLoss !== undefined && { averageLoss }) };
    if (best) this.best = evaluation;
    this.history.add({ type: 'evaluation', evaluation });
    this.#options.tensorboard?.scalars(round, {
      'loss/validation': validationLoss,
      ...(averageLoss !== undefined && { 'loss/validation_average': averageLoss }),
    });
    this.#store({ type: 'evaluation', evaluation });
  }

  #sampled({ round, text, bestRound }: EventOf<'sample'>): void {
    const sample = { round, text, ...(bestRound === undefined ? {} : { bestRound }) };
    this.history.add({ type: 'sample', sample });
    this.#options.tensorboard?.text(round, 'sample', text);
    this.#store({ type: 'sample', sample });
  }

  /** The ledger has them already. */
  #credited({ round, anonymous, names }: EventOf<'credits'>): void {
    this.#store({ type: 'credits', credits: { round, anonymous, names } });
    // The checkpoint of this round is being written. It should find them on disk when it is read again.
    void this.#options.file.flush();
  }

  #logEvent(event: Exclude<RunEvent, EventOf<'started' | 'round' | 'evaluation' | 'sample' | 'checkpoint' | 'credits'>>): void {
    switch (event.event) {
      case 'worker':
        return this.#log(
          'worker',
          `${event.name} ${event.change}: ${event.reason}`,
          event.change === 'refused' ? 'warn' : 'info',
        );
      case 'decision':
        this.decisions.set(event.decision.kind, this.decisions.get(event.decision.kind)! + 1);
        if (isWarnedOf(event.decision)) return;
        return this.#logUnlessRepeated({ kind: 'decision', level: 'info', text: event.text });
      case 'control':
        return this.#log('control', event.text);
      case 'waiting':
        return this.#log('waiting', event.reason, 'warn');
      case 'note':
        return this.#logUnlessRepeated({ kind: 'note', level: event.level, text: event.text }, event.remedy);
      case 'finished':
        return this.#log('note', `${event.reason} at round ${event.round}`);
      case 'progress':
      case 'listening':
      case 'serving':
      case 'error':
        return;
      default:
        event satisfies never;
    }
  }

  #logUnlessRepeated(line: LogLine, remedy?: string): void {
    if (this.#repeats.admits(line, this.#options.now())) this.#logLine(line, remedy);
  }

  #logLine({ kind, level, text }: LogLine, remedy?: string): void {
    this.#log(kind, text, level, remedy);
  }

  #log(kind: EventKind, text: string, level: LoggedEvent['level'] = 'info', remedy?: string): void {
    const shortened = brief(text, MAX_TEXT);
    const entry = { at: this.#options.now(), round: this.#round, kind, level, text: shortened, ...(remedy ? { remedy } : {}) };
    this.#store({ type: 'event', event: this.history.addEvent(entry) });
  }

  #store(entry: HistoryEntry): void {
    this.#options.file.append(entry);
    for (const listener of this.#listeners) listener(entry);
  }
}

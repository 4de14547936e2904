/** Takes note of what a run tells: in its history, on disk, for TensorBoard. What pages show of a run is put together from here. */
import path from 'node:path';
import { modelName } from '@troupe/config';
import { brief } from '@troupe/protocol';
import {
  DECISION_KINDS,
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
import { createRepeats, type Saying } from './repeats.js';
import type { TensorBoardWriter } from './tensorboard.js';

/** Of one event: that ten thousand workers are late need not name them all. */
const MAX_TEXT = 1_000;

type Told<K extends RunEvent['event']> = Extract<RunEvent, { event: K }>;

export interface Board {
  readonly history: RunHistory;
  /** Ms until the end, as of the last round. */
  readonly etaMs: number | undefined;
  readonly best: EvaluationPoint | undefined;
  /** The newest on disk. */
  readonly checkpoint: { readonly round: number; readonly path: string } | undefined;
  readonly corpus: Told<'started'>['corpus'] | undefined;
  /** How many of each kind, those among them that the log leaves out as repeats. */
  readonly decisions: ReadonlyMap<DecisionKind, number>;
  note(event: RunEvent): void;
  noteFlow(flow: GradientFlow): void;
  /** Called after everything noted. */
  watch(listener: (entry: HistoryEntry) => void): void;
  /** Resolves when everything is on disk, as far as it can be. */
  close(): Promise<void>;
}

export interface BoardOptions {
  readonly runId: string;
  readonly name: string | undefined;
  readonly history: RunHistory;
  readonly file: HistoryFile;
  readonly tensorboard: TensorBoardWriter | undefined;
  readonly best: EvaluationPoint | undefined;
  /** Of the checkpoint gone on from. */
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
  corpus: Told<'started'>['corpus'] | undefined;
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
    for (const saying of this.#repeats.due(this.#options.now())) this.#say(saying);
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
        // Lines lost in a crash are then of rounds that the run computes again.
        void this.#options.file.flush();
        return;
      default:
        return this.#tell(event);
    }
  }

  noteFlow(flow: GradientFlow): void {
    this.history.add({ type: 'flow', flow });
    this.#keep({ type: 'flow', flow });
  }

  async close(): Promise<void> {
    for (const saying of this.#repeats.due(this.#options.now(), true)) this.#say(saying);
    await Promise.all([this.#options.file.close(), this.#options.tensorboard?.close()]);
  }

  #started({ round, config, parameters, corpus: told }: Told<'started'>): void {
    // A text of one's own is named by its path, which is nobody's business.
    const corpus = { ...told, name: path.basename(told.name) };
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
    this.#keep({ type: 'run', run });
    this.#log('note', round > 0 ? `the run goes on from round ${round}` : 'the run starts');
  }

  #completed(event: Told<'round'>): void {
    const { round, trainLoss, gradientNorm, clipScale, learningRate, roundMs, charsPerSecond, workers, timing } = event;
    const { computeMs = 0, transferMs = 0, reduceMs = 0, waitingMs = 0 } = timing ?? {};
    const figures = { round, trainLoss, gradientNorm, clipScale, learningRate, roundMs, charsPerSecond, workers };
    const point = this.history.addRound({ ...figures, computeMs, transferMs, reduceMs, waitingMs });
    this.#round = round;
    this.etaMs = event.etaMs;
    this.#options.tensorboard?.scalars(round, {
      'loss/train': trainLoss,
      'loss/train_smoothed': point.smoothedLoss,
      'gradient/norm': gradientNorm,
      'gradient/clip_scale': clipScale,
      learning_rate: learningRate,
      'speed/chars_per_second': charsPerSecond,
      'speed/round_ms': roundMs,
      workers,
    });
    this.#keep({ type: 'round', point });
  }

  #evaluated({ round, validationLoss, best }: Told<'evaluation'>): void {
    const evaluation = { round, validationLoss };
    if (best) this.best = evaluation;
    this.history.add({ type: 'evaluation', evaluation });
    this.#options.tensorboard?.scalars(round, { 'loss/validation': validationLoss });
    this.#keep({ type: 'evaluation', evaluation });
  }

  #sampled({ round, text }: Told<'sample'>): void {
    const sample = { round, text };
    this.history.add({ type: 'sample', sample });
    this.#options.tensorboard?.text(round, 'sample', text);
    this.#keep({ type: 'sample', sample });
  }

  #tell(event: Exclude<RunEvent, Told<'started' | 'round' | 'evaluation' | 'sample' | 'checkpoint'>>): void {
    switch (event.event) {
      case 'worker':
        return this.#log(
          'worker',
          `${event.name} ${event.change}: ${event.reason}`,
          event.change === 'refused' ? 'warn' : 'info',
        );
      case 'decision':
        this.decisions.set(event.decision.kind, this.decisions.get(event.decision.kind)! + 1);
        return this.#logUnlessRepeated({ kind: 'decision', level: 'info', text: event.text });
      case 'control':
        return this.#log('control', event.text);
      case 'waiting':
        return this.#log('waiting', event.reason, 'warn');
      case 'note':
        return this.#logUnlessRepeated({ kind: 'note', level: event.level, text: event.text }, event.remedy);
      case 'finished':
        return this.#log('note', `${event.reason} at round ${event.round}`);
      case 'listening':
      case 'error':
        return;
      default:
        event satisfies never;
    }
  }

  #logUnlessRepeated(saying: Saying, remedy?: string): void {
    if (this.#repeats.admits(saying, this.#options.now())) this.#say(saying, remedy);
  }

  #say({ kind, level, text }: Saying, remedy?: string): void {
    this.#log(kind, text, level, remedy);
  }

  #log(kind: EventKind, text: string, level: LoggedEvent['level'] = 'info', remedy?: string): void {
    const words = brief(text, MAX_TEXT);
    const said = { at: this.#options.now(), round: this.#round, kind, level, text: words, ...(remedy ? { remedy } : {}) };
    this.#keep({ type: 'event', event: this.history.addEvent(said) });
  }

  #keep(entry: HistoryEntry): void {
    this.#options.file.append(entry);
    for (const listener of this.#listeners) listener(entry);
  }
}

/** What people who are not looking should be told of a run: a state machine over its events. It has no clock of its own. */
import { modelName } from '@troupe/config';
import { sentence } from '@troupe/protocol';
import { findProblem, type Finding, type RunEvent, type Symptoms } from '@troupe/run';
import { withoutPrivateData } from '../web/redact.js';

export type NoticeKind = 'started' | 'finished' | 'diverged' | 'failed' | 'waiting' | 'problem';

/** The body of a notification. Programs read `event`, people `text`, which chats show as it is. */
export interface Notice {
  readonly event: NoticeKind;
  readonly text: string;
  readonly run: string;
  readonly runId: string;
  /** Rounds completed, and in all. */
  readonly round: number;
  readonly rounds: number;
  /** Ms since 1970. */
  readonly at: number;
  /** Of a `problem`: what the run doctor found. */
  readonly problem?: Finding['kind'];
}

/** A run that has waited this long is not merely between two workers. */
export const WAITING_MS = 60_000;
/** A problem that stays, or comes back, is told again after this time. */
export const AGAIN_MS = 3_600_000;

export interface NoticesOptions {
  readonly runId: string;
  /** Chosen by a person; undefined: the model and the text. */
  readonly name: string | undefined;
  /** Ms since 1970. */
  now(): number;
  send(notice: Notice): void;
}

export class Notices {
  readonly #options: NoticesOptions;
  #name: string;
  #round = 0;
  #rounds = 0;
  #waiting: { readonly sinceMs: number; readonly reason: string; told: boolean } | undefined;
  readonly #toldMs = new Map<Finding['kind'], number>();
  #isOver = false;

  constructor(options: NoticesOptions) {
    this.#options = options;
    this.#name = options.name ?? options.runId;
  }

  hear(event: RunEvent): void {
    switch (event.event) {
      case 'started':
        return this.#started(event);
      case 'round':
        this.#round = event.round;
        this.#rounds = event.rounds;
        this.#waiting = undefined;
        return;
      case 'waiting':
        this.#waiting ??= { sinceMs: this.#options.now(), reason: event.reason, told: false };
        return;
      case 'finished':
        return this.#finished(event);
      default:
        return;
    }
  }

  /** What ended the run before its last round. */
  failed(error: Error): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const { code } = error as Error & { readonly code?: string };
    this.#tell(code === 'diverged' ? 'diverged' : 'failed', sentence(withoutPrivateData(error.message)));
  }

  /** To be called every few seconds while the run lasts. */
  tick(symptoms: Symptoms): void {
    if (this.#isOver) return;
    const now = this.#options.now();
    if (this.#waiting && !this.#waiting.told && now - this.#waiting.sinceMs >= WAITING_MS) {
      this.#waiting.told = true;
      this.#tell('waiting', `The run waits: ${withoutPrivateData(this.#waiting.reason)}.`);
    }
    const finding = findProblem(symptoms);
    const text = problemText(finding);
    if (text === undefined || now - (this.#toldMs.get(finding.kind) ?? -Infinity) < AGAIN_MS) return;
    this.#toldMs.set(finding.kind, now);
    this.#tell('problem', text, finding.kind);
  }

  #started({ round, config, corpus }: Extract<RunEvent, { event: 'started' }>): void {
    const model = modelName(config.model);
    // The name of a text may be its path.
    const text = withoutPrivateData(corpus.name);
    this.#name = this.#options.name ?? `${model} on ${text}`;
    this.#round = round;
    this.#rounds = config.rounds;
    const what = round > 0 ? `The run continues from round ${round}` : 'The run starts';
    this.#tell('started', `${what}: ${model} on ${text}, ${config.rounds} rounds.`);
  }

  #finished({ round, reason, bestRound, bestValidationLoss: best }: Extract<RunEvent, { event: 'finished' }>): void {
    this.#isOver = true;
    this.#round = round;
    const what = reason === 'completed' ? 'The run is complete' : 'The run was stopped, and is saved';
    const loss = best === undefined ? '' : ` Best validation: ${best.toFixed(3)} nats/char, at round ${bestRound}.`;
    this.#tell('finished', `${what}, at round ${round} of ${this.#rounds}.${loss}`);
  }

  #tell(event: NoticeKind, text: string, problem?: Finding['kind']): void {
    const { runId, now, send } = this.#options;
    send({
      ...{ event, text: `${this.#name}: ${text}`, run: this.#name, runId, round: this.#round, rounds: this.#rounds, at: now() },
      ...(problem && { problem }),
    });
  }
}

/** Undefined: nothing is wrong, or it is told by an event of the run. */
function problemText(finding: Finding): string | undefined {
  switch (finding.kind) {
    case 'aboveChance':
      return `The loss is ${finding.loss.toFixed(3)}, above chance (${finding.chance.toFixed(3)}): halve the learning rate to ${finding.rate}.`;
    case 'overfitting':
      return (
        `Overfitting since round ${finding.round}: the validation loss rose from ${finding.best.toFixed(3)} to ${finding.now.toFixed(3)} ` +
        'while the training loss fell. The best model is saved, so the run can stop.'
      );
    case 'network':
      return `Workers wait for the network: ${Math.round(100 * finding.fraction)} % of a round is transfer.`;
    case 'none':
    case 'diverged':
    case 'noWorker':
      return undefined;
    default:
      return finding satisfies never;
  }
}

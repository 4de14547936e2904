/** What the supervisor of some workers says, as news for the table and lines for the logs. */
import type { LaunchEvent, SlotState } from './events.js';
import type { FromHost, WorkerEntry } from './wire.js';

/** In place of the remedies of a worker that a person has started: a launch has other flags. */
const LAUNCH_REMEDIES: Readonly<Record<string, string>> = {
  wrong_token: 'Start the launch again with the token that the coordinator prints, in TROUPE_TOKEN.',
};

/** What a state event tells beside the state. */
export interface Details {
  readonly text?: string | undefined;
  readonly remedy?: string | undefined;
  readonly retryInMs?: number | undefined;
}

export interface NewsPorts {
  readonly emit: (event: LaunchEvent) => void;
  /** Every line that a worker logs. */
  readonly log: (slot: string, entry: WorkerEntry) => void;
}

type SlotMessage = Extract<FromHost, { slot: string }>;

export class SlotNews {
  readonly #ports: NewsPorts;
  /** Slots that do not start again. */
  readonly #over = new Set<string>();
  readonly #running = new Set<string>();

  constructor(ports: NewsPorts) {
    this.#ports = ports;
  }

  isOver(slot: string): boolean {
    return this.#over.has(slot);
  }

  /** A slot has a new state. One that has failed or is done does not start again. */
  report(slot: string, state: SlotState, details: Details = {}): void {
    if (state === 'failed' || state === 'done') this.#over.add(slot);
    if (state === 'running') this.#running.add(slot);
    else this.#running.delete(slot);
    this.#ports.emit({ event: 'state', who: slot, slots: [slot], state, ...details });
  }

  log(slot: string, entry: WorkerEntry): void {
    this.#ports.log(slot, entry);
  }

  receive(message: SlotMessage): void {
    const { slot } = message;
    switch (message.at) {
      case 'starting':
        return this.report(slot, 'starting', { text: `${message.threads} ${message.threads === 1 ? 'thread' : 'threads'}` });
      case 'log':
        this.#ports.log(slot, message.entry);
        return this.#follow(slot, message.entry);
      case 'error':
        return this.#ports.log(slot, { kind: 'stderr', reason: message.line });
      case 'held':
        return this.report(slot, 'failed', {
          text: `another launch has this worker for the same coordinator: ${message.by}`,
          remedy: 'Stop that launch first, or leave this host out.',
        });
      case 'ended':
        return this.#end(message);
      default:
        return message satisfies never;
    }
  }

  #follow(slot: string, entry: WorkerEntry): void {
    if (entry.kind === 'ready') return this.report(slot, 'running', { text: `${entry.engine ?? ''}` });
    if (entry.kind === 'lost') return this.report(slot, 'waiting', { text: entry.reason, remedy: entry.remedy });
    if (entry.kind === 'parked') return this.report(slot, 'running', { text: `parked: ${entry.reason ?? ''}` });
    if (entry.kind !== 'computed') return;
    // Who follows from the middle has not heard that it was ready.
    if (!this.#running.has(slot)) this.report(slot, 'running');
    const { round = 0, credit = 0 } = entry;
    this.#ports.emit({ event: 'progress', slot, round, credit });
  }

  #end(message: Extract<FromHost, { at: 'ended' }>): void {
    const { slot, next, how, why, code, retryInMs } = message;
    this.#ports.log(slot, { kind: 'ended', reason: [how, why].filter(Boolean).join('\n') });
    const remedy = LAUNCH_REMEDIES[code ?? ''] ?? message.remedy;
    if (next === 'done') return this.report(slot, 'done');
    if (next === 'failed' && remedy !== undefined) return this.report(slot, 'failed', { text: why, remedy });
    const text = `it ended (${how})${why === '' ? '' : `: ${why}`}`;
    this.report(slot, next === 'failed' ? 'failed' : 'restarting', { text, ...(retryInMs > 0 ? { retryInMs } : {}) });
  }
}

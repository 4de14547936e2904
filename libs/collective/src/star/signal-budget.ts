import { LIMITS } from '@troupe/protocol';

/** How much the service passes on for a worker, so that one of them cannot keep it busy with signals. */
export class SignalBudget {
  readonly #nowMs: (() => number) | undefined;
  readonly #spent = new Map<string, { sinceMs: number; signals: number; characters: number }>();

  /** @param nowMs absent: everything is passed on */
  constructor(nowMs: (() => number) | undefined) {
    this.#nowMs = nowMs;
  }

  /** Whether this signal is passed on. What is dropped costs its sender a link, and nobody else anything. */
  allows(sender: string, signal: string): boolean {
    if (!this.#nowMs) return true;
    const nowMs = this.#nowMs();
    const before = this.#spent.get(sender);
    const isFresh = !before || nowMs - before.sinceMs >= LIMITS.signalWindowMs;
    const spent = isFresh ? { sinceMs: nowMs, signals: 0, characters: 0 } : before;
    spent.signals++;
    spent.characters += signal.length;
    this.#spent.set(sender, spent);
    return spent.signals <= LIMITS.signalsPerWorker && spent.characters <= LIMITS.signalCharacters;
  }

  forget(sender: string): void {
    this.#spent.delete(sender);
  }
}

/** Posts notices to a URL, one at a time and up to a limit per minute. Each has a deadline, and is retried with backoff. */
import { LIMITS } from '@troupe/protocol';
import { hookRequest, type HookRequest } from './hooks.js';
import type { Notice } from './notices.js';

/** Pauses between the attempts for one notice. */
const BACKOFF_MS: readonly number[] = [1_000, 4_000, 15_000, 60_000];
const MINUTE_MS = 60_000;
/** A server that says so may accept the next attempt. */
const TEMPORARY: readonly number[] = [408, 425, 429];

export interface SenderPorts {
  readonly fetch: typeof fetch;
  nowMs(): number;
  /** Rejects when aborted. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

export interface SenderOptions extends SenderPorts {
  readonly url: URL;
  /** Receives a text for the log, which never holds the URL: its path or its query is often a secret. */
  onFailed(text: string): void;
}

export interface Sender {
  /** Returns at once. A notice that comes when too many wait is dropped. */
  post(notice: Notice): void;
  /** Waits until all are sent, but not longer than this, and sends nothing afterwards. Never rejects. */
  close(graceMs: number): Promise<void>;
}

/** The answer of the other side, or that there is none. */
type Outcome = { readonly at: 'sent' } | { readonly at: 'refused' | 'failed'; readonly why: string };

export function createSender(options: SenderOptions): Sender {
  return new QueuedSender(options);
}

class QueuedSender implements Sender {
  readonly #options: SenderOptions;
  readonly #queue: Notice[] = [];
  readonly #closed = new AbortController();
  #sending: Promise<void> | undefined;
  /** When the last few attempts were made, at most one more than fit into a minute. */
  #attemptsMs: number[] = [];

  constructor(options: SenderOptions) {
    this.#options = options;
  }

  post(notice: Notice): void {
    if (this.#closed.signal.aborted) return;
    if (this.#queue.length >= LIMITS.noticesWaiting) {
      return this.#options.onFailed(`${LIMITS.noticesWaiting} notifications wait already, so one is dropped (${notice.event})`);
    }
    this.#queue.push(notice);
    this.#sending ??= this.#sendAll().finally(() => (this.#sending = undefined));
  }

  async close(graceMs: number): Promise<void> {
    const sent = new AbortController();
    const late = this.#options.sleep(graceMs, sent.signal).catch(() => undefined);
    await Promise.race([this.#sending ?? Promise.resolve(), late]);
    sent.abort(new Error('all notifications are sent'));
    this.#closed.abort(new Error('the run is over'));
    await this.#sending;
  }

  /** Never rejects. */
  async #sendAll(): Promise<void> {
    for (let next = this.#queue[0]; next !== undefined; next = this.#queue[0]) {
      const why = await this.#deliver(next).catch((error: Error) => this.#endOr(error).message);
      this.#queue.shift();
      if (why !== undefined) this.#options.onFailed(`a notification was not delivered (${next.event}): ${why}`);
    }
  }

  /** A pause that ends early is only aborted; the reason is that of the end. */
  #endOr(error: Error): Error {
    const { signal } = this.#closed;
    return signal.aborted ? (signal.reason as Error) : error;
  }

  /** @returns why it was not delivered */
  async #deliver(notice: Notice): Promise<string | undefined> {
    const { sleep } = this.#options;
    for (let attempt = 0; ; attempt++) {
      await this.#turn();
      const outcome = await this.#attempt(hookRequest(this.#options.url, notice));
      if (outcome.at === 'sent') return undefined;
      if (outcome.at === 'refused' || attempt >= BACKOFF_MS.length) return outcome.why;
      await sleep(BACKOFF_MS[attempt], this.#closed.signal);
    }
  }

  /** Waits until another attempt is allowed in this minute. */
  async #turn(): Promise<void> {
    const { nowMs, sleep } = this.#options;
    this.#closed.signal.throwIfAborted();
    const recent = this.#attemptsMs.filter((at) => at > nowMs() - MINUTE_MS);
    if (recent.length >= LIMITS.noticesPerMinute) await sleep(recent[0] + MINUTE_MS - nowMs(), this.#closed.signal);
    this.#attemptsMs = [...recent.slice(1 - LIMITS.noticesPerMinute), nowMs()];
  }

  /** Never rejects. */
  async #attempt({ url, body }: HookRequest): Promise<Outcome> {
    const { sleep } = this.#options;
    const [ends, answered] = [new AbortController(), new AbortController()];
    const stop = (): void => ends.abort(this.#closed.signal.reason);
    this.#closed.signal.addEventListener('abort', stop, { once: true });
    sleep(LIMITS.noticeMs, answered.signal).then(
      () => ends.abort(new Error(`no answer within ${LIMITS.noticeMs / 1000} s`)),
      () => undefined,
    );
    try {
      const response = await this.#options.fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'user-agent': 'troupe' },
        body,
        // Where a redirect leads, nobody has chosen to send this.
        redirect: 'manual',
        signal: ends.signal,
      });
      await response.body?.cancel();
      return outcomeOf(response.status);
    } catch (error) {
      return { at: 'failed', why: ends.signal.aborted ? (ends.signal.reason as Error).message : reasonOf(error as Error) };
    } finally {
      answered.abort(new Error('answered'));
      this.#closed.signal.removeEventListener('abort', stop);
    }
  }
}

function outcomeOf(status: number): Outcome {
  if (status >= 200 && status < 300) return { at: 'sent' };
  const isTemporary = status >= 500 || TEMPORARY.includes(status);
  return { at: isTemporary ? 'failed' : 'refused', why: `the answer was HTTP ${status}` };
}

/** Messages of fetch may hold the URL; codes do not. */
function reasonOf({ cause }: Error): string {
  const { code } = (cause ?? {}) as { readonly code?: string };
  return code === undefined ? 'the request failed' : `the request failed (${code})`;
}

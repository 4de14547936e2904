/** The links over WebRTC that workers open to a reducer. */
import { LIMITS, type MessageOf } from '@troupe/protocol';
import type { Connection } from '@troupe/transport';
import type { IceServer, RtcLinks } from '@troupe/transport/webrtc';
import { isLinkFailure } from '../errors.js';
import type { LinksOptions } from './links.js';
import { Signals, type OpenSignalling } from './signals.js';

export interface RtcAnswersOptions {
  /** Absent: no link is answered. */
  readonly rtc: RtcLinks | undefined;
  readonly log: LinksOptions['log'];
  /** Whether the service has announced a link of this worker, which has not come yet. */
  isExpected(workerId: string): boolean;
  send(signal: Omit<MessageOf<'signal'>, 'type'>): void;
  /** Serves a link to its end, or until `signal` aborts. Never rejects. */
  serve(connection: Connection, signal: AbortSignal): Promise<void>;
}

export class RtcAnswers {
  /** For the links that are answered from now on. */
  iceServers: readonly IceServer[] = [];
  readonly #options: RtcAnswersOptions;
  readonly #signals: Signals;
  readonly #over = new AbortController();
  /** Workers whose links are not open yet. */
  readonly #opening = new Map<string, AbortController>();

  constructor(options: RtcAnswersOptions) {
    this.#options = options;
    this.#signals = new Signals((signal) => options.send(signal));
  }

  /** A signal of a worker. The first one of a link begins it; those of a link that is not expected are dropped. */
  take(message: MessageOf<'signal'>): void {
    const { peer, link } = message;
    const { rtc, isExpected } = this.#options;
    if (this.#signals.take(message) || !rtc || !isExpected(peer) || this.#over.signal.aborted) return;
    this.#opening.get(peer)?.abort(new Error('the worker began another link'));
    if (this.#opening.size >= LIMITS.rtcAnswers) return;
    const signalling = this.#signals.open(peer, link);
    this.#signals.take(message);
    void this.#answer(rtc, peer, signalling);
  }

  /** Never rejects. */
  async #answer(rtc: RtcLinks, workerId: string, signalling: OpenSignalling): Promise<void> {
    const attempt = new AbortController();
    const stop = (): void => attempt.abort(this.#over.signal.reason);
    this.#over.signal.addEventListener('abort', stop);
    this.#opening.set(workerId, attempt);
    try {
      const { iceServers } = this;
      const connection = await rtc.answer({ remote: workerId, signalling, iceServers, signal: attempt.signal });
      this.#close(workerId, attempt);
      await this.#options.serve(connection, this.#over.signal);
    } catch (error) {
      const { message } = error as Error;
      const level = isLinkFailure(error) ? 'info' : 'warn';
      this.#options.log({ level, text: `worker ${workerId} could not be answered over WebRTC: ${message}` });
    } finally {
      this.#close(workerId, attempt);
      this.#over.signal.removeEventListener('abort', stop);
      signalling.end();
    }
  }

  /** It is open, or given up. */
  #close(workerId: string, attempt: AbortController): void {
    if (this.#opening.get(workerId) === attempt) this.#opening.delete(workerId);
  }

  /** Ends all links. Idempotent. */
  end(): void {
    this.#over.abort(new Error('the service no longer uses this reducer'));
    this.#signals.end();
  }
}

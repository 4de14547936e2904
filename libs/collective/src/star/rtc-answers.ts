/** The links over WebRTC that workers open to a reducer. */
import { LIMITS, type MessageOf } from '@troupe/protocol';
import { TransportError, type Connection } from '@troupe/transport';
import type { IceServer, RtcLinks } from '@troupe/transport/webrtc';
import { isLinkFailure } from '../errors.js';
import { either } from './either.js';
import type { LinksOptions } from './links.js';
import { Signals, type OpenSignalling } from './signals.js';

export interface RtcAnswersOptions {
  /** Absent: no link is answered. */
  readonly rtc: RtcLinks | undefined;
  readonly log: LinksOptions['log'];
  readonly deadline: LinksOptions['deadline'];
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
  /** Workers of which the service has announced a link that has not begun. */
  readonly #expected = new Set<string>();
  /** Workers whose links are not open yet. */
  readonly #opening = new Map<string, AbortController>();
  /** Those that wait for their turn: a crowd may come at once. */
  readonly #waiting: (() => void)[] = [];
  #answering = 0;

  constructor(options: RtcAnswersOptions) {
    this.#options = options;
    this.#signals = new Signals((signal) => options.send(signal));
  }

  /** The service has announced a link of this worker. Each announcement is good for one. */
  expect(workerId: string): void {
    this.#expected.add(workerId);
  }

  forget(workerId: string): void {
    this.#expected.delete(workerId);
    this.#opening.get(workerId)?.abort(new Error('the worker was dismissed'));
  }

  /** A signal of a worker. The first one of a link begins it; those of a link that is not expected are dropped. */
  take(message: MessageOf<'signal'>): void {
    const { peer, link } = message;
    const { rtc } = this.#options;
    if (this.#over.signal.aborted || this.#signals.take(message) || !rtc || !this.#expected.delete(peer)) return;
    this.#opening.get(peer)?.abort(new Error('the worker began another link'));
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
      const connection = await this.#open(rtc, workerId, signalling, attempt.signal);
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

  async #open(rtc: RtcLinks, remote: string, signalling: OpenSignalling, signal: AbortSignal): Promise<Connection> {
    await this.#turn(signal);
    try {
      return await rtc.answer({ remote, signalling, iceServers: this.iceServers, signal });
    } finally {
      this.#answering--;
      this.#waiting.shift()?.();
    }
  }

  /** Resolves when this link may be answered. @throws TransportError `aborted` when its worker has given up by then */
  async #turn(signal: AbortSignal): Promise<void> {
    const patience = either(signal, this.#options.deadline(LIMITS.rtcConnectMs));
    try {
      while (this.#answering >= LIMITS.rtcAnswers && !patience.signal.aborted) await this.#next(patience.signal);
      if (patience.signal.aborted) throw new TransportError('aborted', 'its turn did not come in time', 'It is tried again.');
      this.#answering++;
    } finally {
      patience.dispose();
    }
  }

  #next(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        signal.removeEventListener('abort', wake);
        const at = this.#waiting.indexOf(wake);
        if (at >= 0) this.#waiting.splice(at, 1);
        resolve();
      };
      this.#waiting.push(wake);
      signal.addEventListener('abort', wake, { once: true });
    });
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

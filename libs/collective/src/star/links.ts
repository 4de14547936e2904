/** The workers' links to one place of an all-reduce, and the orders that they wait for. */
import { aborted, LIMITS, ProtocolError, sameText, type Channel, type MessageOf } from '@troupe/protocol';
import { TransportError, type Connection } from '@troupe/transport';

/** A line for the log of the service. */
export interface ServiceNote {
  readonly level: 'info' | 'warn';
  readonly text: string;
  readonly remedy?: string;
}

export interface Link {
  readonly channel: Channel;
  readonly connection: Connection;
}

/** A link whose other side has said who it is. */
export interface NewLink extends Link {
  /** It has shown that it is expected. */
  onAdmitted(): void;
}

/** A worker that has joined. */
export interface Member extends Link {
  readonly workerId: string;
  /** Whether it receives updates. */
  wanted: boolean;
}

export interface LinksOptions {
  readonly log: (note: ServiceNote) => void;
  /** Makes a signal that aborts after `ms`, such as AbortSignal.timeout. */
  readonly deadline: (ms: number) => AbortSignal;
  /** Bytes queued for one worker before it is dropped as stuck. Default: four updates, at least LIMITS.updateBacklogBytes. */
  readonly bufferedBytes?: number;
}

/** The tickets and members of a run. */
export class Links<M extends Member = Member> {
  readonly members = new Map<string, M>();
  readonly tickets = new Map<string, string>();
  readonly #options: LinksOptions;
  readonly #once: boolean;
  /** Bytes queued for one worker before it is dropped as stuck. */
  readonly #bufferedBytes: number;
  /** Wakes those that wait for an order. */
  readonly #waiting = new Set<() => void>();
  #over = false;

  /**
   * @param updateBytes what this place sends of an update at most
   * @param tickets whether a ticket admits one link, or all of its worker
   */
  constructor(
    options: LinksOptions,
    updateBytes: number,
    { tickets }: { readonly tickets: 'once' | 'always' } = { tickets: 'always' },
  ) {
    this.#options = options;
    this.#once = tickets === 'once';
    this.#bufferedBytes = options.bufferedBytes ?? Math.max(LIMITS.updateBacklogBytes, 4 * updateBytes);
  }

  dismiss({ workerId, reason }: MessageOf<'dismiss'>): void {
    this.tickets.delete(workerId);
    this.members.get(workerId)?.channel.close(reason);
    this.members.delete(workerId);
  }

  /**
   * Resolves when the worker may join. Its ticket travels on another link and may arrive a moment later than the worker.
   * @throws ProtocolError `wrong_token`
   */
  async admitted(link: NewLink, { workerId, ticket: given }: Pick<MessageOf<'join'>, 'workerId' | 'ticket'>): Promise<void> {
    await this.until(() => this.tickets.has(workerId), LIMITS.helloMs);
    const ticket = this.tickets.get(workerId);
    const isValid = ticket !== undefined && sameText(ticket, given);
    if (isValid && this.#once) this.tickets.delete(workerId);
    if (isValid) return link.onAdmitted();
    throw new ProtocolError(
      'wrong_token',
      `the ticket of worker ${workerId} is not valid${this.#once ? ', or was used' : ''}`,
      'Join the run again through its coordinator.',
    );
  }

  /** Replaces the worker's older link. @returns ends its membership, if it still has it */
  add(member: M): () => void {
    const { workerId } = member;
    this.members.get(workerId)?.channel.close('the same worker joined again');
    this.members.set(workerId, member);
    return () => {
      if (this.members.get(workerId) === member) this.members.delete(workerId);
    };
  }

  /** Resolves when `test` holds, when the time is over, or when the run is. Without a time: another order, or the end of the run, ends it. */
  async until(test: () => boolean, ms?: number): Promise<void> {
    if (test()) return;
    const deadline = ms === undefined ? undefined : this.#options.deadline(ms);
    while (!test() && deadline?.aborted !== true && !this.#over) await this.#nextOrder(deadline);
  }

  /** Resolves after this time, or when the link is closed. */
  async pause(ms: number, { closed }: Pick<Channel, 'closed'>): Promise<void> {
    await Promise.race([closed, aborted(this.#options.deadline(ms))]);
  }

  /** An order has come. */
  wake(): void {
    for (const wake of this.#waiting) wake();
  }

  #nextOrder(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        this.#waiting.delete(wake);
        signal?.removeEventListener('abort', wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal?.addEventListener('abort', wake, { once: true });
    });
  }

  /** Closes the links of all members. Idempotent. */
  end(reason: string): void {
    this.#over = true;
    this.tickets.clear();
    for (const { channel } of this.members.values()) channel.close(reason);
    this.members.clear();
    this.wake();
  }

  /** Whether too much waits for the worker to be sent more. */
  isLagging({ connection }: M): boolean {
    return connection.bufferedBytes > this.#bufferedBytes;
  }

  /** The members that receive updates. Drops those for which too much waits. */
  receivers(): M[] {
    return [...this.members.values()].filter((member) => member.wanted && this.isUnstuck(member));
  }

  /** Whether the worker reads what it is sent. Drops it otherwise. */
  isUnstuck({ workerId, connection, channel }: M): boolean {
    const { bufferedBytes } = connection;
    if (bufferedBytes <= this.#bufferedBytes) return true;
    this.members.delete(workerId);
    this.#options.log({
      level: 'warn',
      text: `worker ${workerId} is dropped: ${bufferedBytes} bytes wait for it, over ${this.#bufferedBytes}`,
      remedy: 'Its link is too slow for this model: use a faster link, or --codec fp16.',
    });
    channel.close('too slow: updates pile up; join again over a faster link');
    return false;
  }

  /**
   * A broken or stuck link is closed here, and its own serve() ends; it must not disturb the link that sends.
   * @returns whether it was sent
   */
  deliver(channel: Channel, send: () => void): boolean {
    try {
      send();
      return true;
    } catch (error) {
      const stuck = error instanceof ProtocolError && error.code === 'limit_exceeded';
      if (!stuck && !(error instanceof TransportError)) throw error;
      this.#options.log({ level: 'info', text: `${channel.remote} is gone: ${error.message}` });
      channel.close(error.message);
      return false;
    }
  }

  /** Sends the same frames to all. @returns those that are still there */
  deliverAll(channels: readonly Channel[], frames: readonly Uint8Array[]): Channel[] {
    return channels.filter((channel) => this.deliver(channel, () => channel.sendEncoded(frames)));
  }
}

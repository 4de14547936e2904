/** Sends and receives messages with their bodies over a link of frames; see PROTOCOL.md. */
import { decodeMessage } from './codec.js';
import { ProtocolError } from './errors.js';
import { SHARED_TRANSFERS, bodyTooLarge, decodeFrame, encodeTransfer, type Body, type Frame } from './frames.js';
import { LIMITS, type Limits } from '@troupe/config/limits';
import type { Message, MessageOf, MessageType } from './messages.js';
import { malformed } from './msgpack.js';

/** The part of a transport's Connection that a channel uses. */
export interface FrameLink {
  readonly remote: string;
  readonly bufferedBytes: number;
  send(frame: Uint8Array): void;
  drained(maxBufferedBytes: number, signal?: AbortSignal): Promise<void>;
  receive(signal?: AbortSignal): Promise<Uint8Array>;
  close(reason: string): void;
  readonly closed: Promise<{ readonly kind: 'clean' | 'lost'; readonly reason: string }>;
}

export interface ChannelOptions<K extends MessageType> {
  /** The message types that the other side may send in this conversation. */
  readonly accepts: readonly K[];
  /**
   * The exact length of the body that `message` must have. It is called before any memory is
   * allocated for the body, and may throw ProtocolError to refuse the message.
   */
  bodyBytes(message: MessageOf<K>): number;
  readonly limits?: Limits;
  /**
   * Bodies of the same length share memory, so each is valid only until the next receive. For
   * readers that process megabytes every round and keep nothing.
   */
  readonly reuseBodies?: boolean;
  /**
   * Returns a signal that aborts after `ms`; AbortSignal.timeout, if the host has it. If given, the
   * channel ends when a started transfer makes no progress for `transferIdleMs` to twice that while
   * someone receives.
   */
  deadline?(ms: number): AbortSignal;
}

export interface Received<K extends MessageType = MessageType> {
  readonly message: MessageOf<K>;
  /** Starts at offset 0 of its own ArrayBuffer (see `reuseBodies`), so typed arrays can view it. */
  readonly body: Uint8Array<ArrayBuffer>;
}

export interface Channel<K extends MessageType = MessageType> {
  readonly remote: string;
  readonly bufferedBytes: number;
  /**
   * Queues a message and a copy of its body.
   * @throws ProtocolError `invalid_message`; `limit_exceeded`, also if the other side reads so
   * slowly that `bufferedBytes` exceeds its limit; the link's own error if the link is closed
   */
  send(message: Message, body?: Body): void;
  /** Queues frames from `encodeFrames`. The same frames may go to many channels. */
  sendEncoded(frames: readonly Uint8Array[]): void;
  drained(maxBufferedBytes: number, signal?: AbortSignal): Promise<void>;
  /**
   * The next complete message. A message is complete when the last byte of its body has arrived, so
   * a small message sent between the chunks of a large one comes first. `send` does not interleave:
   * what it sends arrives in order.
   * @throws ProtocolError if the other side breaks the protocol. The channel is then dead: every
   * later call throws the same error, and the holder must close it. Throws the link's error if the
   * link is closed or lost, or if `signal` aborts; after an abort, `receive` may be called again.
   */
  receive(signal?: AbortSignal): Promise<Received<K>>;
  close(reason: string): void;
  readonly closed: FrameLink['closed'];
}

export interface Wait {
  /** Aborts when the wait has taken too long. */
  readonly deadline: AbortSignal;
  /** Aborts when the message is no longer wanted. */
  readonly signal?: AbortSignal | undefined;
  /** The expected message, for the error text: "a welcome". */
  readonly what: string;
}

/**
 * The next message, if it arrives before the deadline.
 * @throws ProtocolError `limit_exceeded` if it does not; also what `receive` throws
 */
export async function receiveWithin<K extends MessageType>(
  channel: Pick<Channel<K>, 'receive' | 'remote'>,
  { deadline, signal, what }: Wait,
): Promise<Received<K>> {
  const over = new AbortController();
  const expire = (): void => over.abort(deadline.reason);
  const end = (): void => over.abort(signal?.reason);
  deadline.addEventListener('abort', expire, { once: true });
  signal?.addEventListener('abort', end, { once: true });
  if (deadline.aborted) expire();
  if (signal?.aborted) end();
  try {
    return await channel.receive(over.signal);
  } catch (error) {
    if (!deadline.aborted || signal?.aborted || error instanceof ProtocolError) throw error;
    const remedy = 'Check the network and the other side; then connect again.';
    throw new ProtocolError('limit_exceeded', `${what} did not arrive in time from ${channel.remote}`, remedy, { cause: error });
  } finally {
    deadline.removeEventListener('abort', expire);
    signal?.removeEventListener('abort', end);
  }
}

interface Transfer<K extends MessageType> extends Received<K> {
  received: number;
}

/** Assembles messages from untrusted frames. */
function createAssembler<K extends MessageType>(options: ChannelOptions<K>) {
  const limits = options.limits ?? LIMITS;
  const transfers = new Map<number, Transfer<K>>();
  /** The largest body delivered so far, for reuse. Smaller bodies do not replace it. */
  let spare: Uint8Array<ArrayBuffer> | undefined;

  function newBody(bytes: number): Uint8Array<ArrayBuffer> {
    if (spare?.byteLength !== bytes) return new Uint8Array(bytes);
    const body = spare;
    spare = undefined;
    return body;
  }

  function begin(frame: Frame): Received<K> | undefined {
    const { transfer, number: bodyBytes } = frame;
    if (transfers.has(transfer)) throw malformed(`transfer ${transfer} begins twice`);
    const message = decodeMessage(frame.payload, limits);
    if (!accepted(message, options.accepts)) {
      const expected = options.accepts.join(', ');
      throw new ProtocolError(
        'unexpected_message',
        `a message "${message.type}" where only ${expected} is accepted`,
        'Connect to the address for this kind of process.',
      );
    }
    if (bodyBytes > limits.bodyBytes) throw bodyTooLarge(message.type, bodyBytes, limits);
    const due = options.bodyBytes(message);
    if (bodyBytes !== due) {
      const what = `${message.type}: announces a body of ${bodyBytes} bytes, expected ${due}`;
      throw new ProtocolError('invalid_message', what, 'Run the same version of Troupe, and the same run, on both sides.');
    }
    if (bodyBytes > 0 && transfers.size >= limits.transfersInFlight) {
      const what = `more than ${limits.transfersInFlight} transfers at once`;
      throw new ProtocolError('limit_exceeded', what, 'Finish one transfer before the next.');
    }
    if (bodyBytes === 0) return { message, body: new Uint8Array(0) };
    transfers.set(transfer, { message, body: newBody(bodyBytes), received: 0 });
    return undefined;
  }

  function add({ transfer, number: offset, payload }: Frame): Received<K> | undefined {
    const open = transfers.get(transfer);
    if (!open) throw malformed(`a chunk of transfer ${transfer}, which is not open`);
    const { message, body, received } = open;
    if (offset !== received) throw malformed(`a chunk at ${offset} where ${received} is next`);
    if (payload.byteLength > body.byteLength - received)
      throw malformed(`a chunk beyond the end of its body of ${body.byteLength} bytes`);
    body.set(payload, received);
    open.received += payload.byteLength;
    if (open.received < body.byteLength) return undefined;
    transfers.delete(transfer);
    if (options.reuseBodies && body.byteLength >= (spare?.byteLength ?? 0)) spare = body;
    return { message, body };
  }

  return {
    get pending() {
      return transfers.size > 0;
    },
    /** @returns the message that `bytes` completed */
    add(bytes: Uint8Array): Received<K> | undefined {
      const frame = decodeFrame(bytes, limits);
      return frame.kind === 'message' ? begin(frame) : add(frame);
    },
  };
}

function accepted<K extends MessageType>(message: Message, types: readonly K[]): message is Message & MessageOf<K> {
  return (types as readonly MessageType[]).includes(message.type);
}

/**
 * Detects transfers that stall. There is one deadline at a time, restarted when it expires after
 * progress: frames arrive by the thousand, and each must not start a timer.
 */
function createWatch(deadline: () => AbortSignal, isPending: () => boolean, onStall: () => void) {
  let armed = false;
  let progressed = false;
  let receivers = 0;
  let over = false;

  function arm(): void {
    armed = true;
    progressed = false;
    deadline().addEventListener('abort', expire, { once: true });
  }
  function expire(): void {
    armed = false;
    if (over || !isPending()) return;
    if (progressed || receivers === 0) arm();
    else onStall();
  }
  return {
    async during<T>(receive: () => Promise<T>): Promise<T> {
      receivers++;
      try {
        return await receive();
      } finally {
        receivers--;
      }
    },
    progress(): void {
      progressed = true;
      if (!armed && isPending()) arm();
    },
    /** No more frames can arrive. */
    end(): void {
      over = true;
    },
  };
}

/** Sends and receives messages over `link`. The channel owns the link from then on. */
export function createChannel<K extends MessageType>(link: FrameLink, options: ChannelOptions<K>): Channel<K> {
  const limits = options.limits ?? LIMITS;
  const assembler = createAssembler(options);
  let transfers = 0;
  let failure: ProtocolError | undefined;

  const { deadline } = options;
  const watch =
    deadline &&
    createWatch(
      () => deadline(limits.transferIdleMs),
      () => assembler.pending,
      () => {
        failure = new ProtocolError('limit_exceeded', 'a transfer made no progress', 'Check the network; then reconnect.');
        link.close(failure.message);
      },
    );
  // An incomplete body must not keep timers alive, nor be kept alive by them, once the link is
  // closed.
  if (watch) void link.closed.then(() => watch.end());

  const sendEncoded = (frames: readonly Uint8Array[]) => {
    if (link.bufferedBytes > limits.bufferedBytes) {
      const message = `${link.remote} does not read: ${link.bufferedBytes} bytes are queued`;
      throw new ProtocolError('limit_exceeded', message, 'Close the connection; the other side may reconnect later.');
    }
    for (const frame of frames) link.send(frame);
  };

  return {
    remote: link.remote,
    closed: link.closed,
    get bufferedBytes() {
      return link.bufferedBytes;
    },
    send(message, body = []) {
      const frames = encodeTransfer(transfers, message, body, limits);
      transfers = (transfers + 1) % SHARED_TRANSFERS;
      sendEncoded(frames);
    },
    sendEncoded,
    drained: (maxBufferedBytes, signal) => link.drained(maxBufferedBytes, signal),
    async receive(signal) {
      if (failure) throw failure;
      try {
        for (;;) {
          const frame = await (watch ? watch.during(() => link.receive(signal)) : link.receive(signal));
          const whole = assembler.add(frame);
          watch?.progress();
          if (whole) return whole;
        }
      } catch (error) {
        if (error instanceof ProtocolError) failure = error;
        // After a stall the link reports only that it was closed; the stall is the reason.
        throw failure ?? error;
      }
    },
    close: (reason) => link.close(reason),
  };
}

/** Messages with their bodies over a link of frames; see PROTOCOL.md. */
import { decodeMessage } from './codec.js';
import { ProtocolError } from './errors.js';
import { SHARED_TRANSFERS, bodyTooLarge, decodeFrame, encodeTransfer, type Body, type Frame } from './frames.js';
import { LIMITS, type Limits } from '@troupe/config';
import type { Message, MessageOf, MessageType } from './messages.js';
import { malformed } from './msgpack.js';

/** What a channel needs of a transport's Connection. */
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
  /** The types that the other side may send in this conversation. */
  readonly accepts: readonly K[];
  /**
   * Exact length of the body that `message` must have, asked before any memory is set aside for it; may throw ProtocolError to
   * turn the message down.
   */
  bodyBytes(message: MessageOf<K>): number;
  readonly limits?: Limits;
  /**
   * Bodies of the same length lie in the same memory, each valid until the next receive: for who reads megabytes every round and is
   * done with them at once.
   */
  readonly reuseBodies?: boolean;
  /**
   * A signal that aborts after `ms`: AbortSignal.timeout, where there is one. With it, a transfer that has begun and makes no
   * progress for `transferIdleMs` to twice that, while someone receives, ends the channel.
   */
  deadline?(ms: number): AbortSignal;
}

export interface Received<K extends MessageType = MessageType> {
  readonly message: MessageOf<K>;
  /** In an ArrayBuffer of its own (see `reuseBodies`), from offset 0, so that typed arrays can be laid over it. */
  readonly body: Uint8Array<ArrayBuffer>;
}

export interface Channel<K extends MessageType = MessageType> {
  readonly remote: string;
  readonly bufferedBytes: number;
  /**
   * Queues a message and its body, which is copied.
   * @throws ProtocolError `invalid_message`, or `limit_exceeded` also when the other side reads so slowly that `bufferedBytes`
   * is over its limit; the link's own error when it is closed
   */
  send(message: Message, body?: Body): void;
  /** Queues what `encodeFrames` returned; the same frames may go to many channels. */
  sendEncoded(frames: readonly Uint8Array[]): void;
  drained(maxBufferedBytes: number, signal?: AbortSignal): Promise<void>;
  /**
   * The next whole message. A message is whole when the last byte of its body is there, so a small one sent between the chunks
   * of a large one comes first; `send` does not interleave, and what it sends arrives in order.
   * @throws ProtocolError when the other side breaks the protocol; then the channel is dead and says so again at every call,
   * and its holder closes it. The link's error when it is closed, lost or aborted; after an abort it may be called again.
   */
  receive(signal?: AbortSignal): Promise<Received<K>>;
  close(reason: string): void;
  readonly closed: FrameLink['closed'];
}

export interface Wait {
  /** Aborts when the wait has been long enough. */
  readonly deadline: AbortSignal;
  /** Aborts when nobody wants the message any more. */
  readonly signal?: AbortSignal | undefined;
  /** What is waited for, as "a welcome". */
  readonly what: string;
}

/**
 * The next message, if it comes in time.
 * @throws ProtocolError `limit_exceeded` when it does not, and what `receive` throws
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
    const remedy = 'Check the network and that the other side is well; then connect again.';
    throw new ProtocolError('limit_exceeded', `${what} did not come in time from ${channel.remote}`, remedy, { cause: error });
  } finally {
    deadline.removeEventListener('abort', expire);
    signal?.removeEventListener('abort', end);
  }
}

interface Transfer<K extends MessageType> extends Received<K> {
  received: number;
}

/** Puts messages together from frames that may be anything. */
function createAssembler<K extends MessageType>(options: ChannelOptions<K>) {
  const limits = options.limits ?? LIMITS;
  const transfers = new Map<number, Transfer<K>>();
  /** The largest body delivered, to be used again: small ones between the large must not push it out. */
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
        `a message "${message.type}" where ${expected} may come`,
        'Connect to the address that is meant for this kind of process.',
      );
    }
    if (bodyBytes > limits.bodyBytes) throw bodyTooLarge(message.type, bodyBytes, limits);
    const due = options.bodyBytes(message);
    if (bodyBytes !== due) {
      const what = `${message.type}: announces a body of ${bodyBytes} bytes, ${due} are due`;
      throw new ProtocolError('invalid_message', what, 'Run the same version of Troupe, and the same run, on both sides.');
    }
    if (bodyBytes > 0 && transfers.size >= limits.transfersInFlight) {
      const what = `more than ${limits.transfersInFlight} transfers half sent`;
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
    /** @returns the message that `bytes` made whole */
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
 * Watches for transfers that stand still. One deadline at a time, set anew when it strikes after progress: frames come by the thousand
 * and must not each start a timer.
 */
function createWatch(deadline: () => AbortSignal, isPending: () => boolean, onStandstill: () => void) {
  let armed = false;
  let progressed = false;
  let receivers = 0;
  let over = false;

  function arm(): void {
    armed = true;
    progressed = false;
    deadline().addEventListener('abort', strike, { once: true });
  }
  function strike(): void {
    armed = false;
    if (over || !isPending()) return;
    if (progressed || receivers === 0) arm();
    else onStandstill();
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
    /** Nothing can arrive any more. */
    end(): void {
      over = true;
    },
  };
}

/** Speaks messages over `link`, which it owns from here on. */
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
        failure = new ProtocolError('limit_exceeded', 'a transfer came to a standstill', 'Check the network; then reconnect.');
        link.close(failure.message);
      },
    );
  // Half a body that will never be whole must not keep timers going, and with them itself.
  if (watch) void link.closed.then(() => watch.end());

  const sendEncoded = (frames: readonly Uint8Array[]) => {
    if (link.bufferedBytes > limits.bufferedBytes) {
      const message = `${link.remote} does not read: ${link.bufferedBytes} bytes wait for it`;
      throw new ProtocolError('limit_exceeded', message, 'Close the connection; the other side may reconnect when it is well.');
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
        // A link closed for a standstill reports the close; what counts is why.
        throw failure ?? error;
      }
    },
    close: (reason) => link.close(reason),
  };
}

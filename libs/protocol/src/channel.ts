/** Messages with their bodies over a link of frames; see PROTOCOL.md. */
import { decodeMessage } from './codec.js';
import { ProtocolError } from './errors.js';
import { SHARED_TRANSFERS, bodyTooLarge, decodeFrame, encodeTransfer, type Body, type Frame } from './frames.js';
import { LIMITS, type Limits } from './limits.js';
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
   * A signal that aborts after `ms`: AbortSignal.timeout, where there is one. With it, a transfer that has begun and makes no
   * progress for `transferIdleMs` while someone receives ends the channel.
   */
  deadline?(ms: number): AbortSignal;
}

export interface Received<K extends MessageType = MessageType> {
  readonly message: MessageOf<K>;
  /** In an ArrayBuffer of its own, from offset 0, so that typed arrays can be laid over it. */
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

interface Transfer<K extends MessageType> extends Received<K> {
  received: number;
}

/** Puts messages together from frames that may be anything. */
function createAssembler<K extends MessageType>(options: ChannelOptions<K>) {
  const limits = options.limits ?? LIMITS;
  const transfers = new Map<number, Transfer<K>>();

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
    const body = new Uint8Array(bodyBytes);
    if (bodyBytes === 0) return { message, body };
    transfers.set(transfer, { message, body, received: 0 });
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

/** The next frame, or ProtocolError `limit_exceeded` when `deadline` comes first. */
async function receiveBefore(link: FrameLink, deadline: AbortSignal, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const either = new AbortController();
  const onDeadline = () => either.abort(deadline.reason);
  const onSignal = () => either.abort(signal?.reason);
  deadline.addEventListener('abort', onDeadline);
  signal?.addEventListener('abort', onSignal);
  try {
    return await link.receive(either.signal);
  } catch (error) {
    if (!deadline.aborted || signal?.aborted) throw error;
    throw new ProtocolError('limit_exceeded', 'a transfer came to a standstill', 'Check the network; then reconnect.', {
      cause: error,
    });
  } finally {
    deadline.removeEventListener('abort', onDeadline);
    signal?.removeEventListener('abort', onSignal);
  }
}

/** Speaks messages over `link`, which it owns from here on. */
export function createChannel<K extends MessageType>(link: FrameLink, options: ChannelOptions<K>): Channel<K> {
  const limits = options.limits ?? LIMITS;
  const assembler = createAssembler(options);
  let transfers = 0;
  let failure: ProtocolError | undefined;

  const nextFrame = (signal: AbortSignal | undefined) =>
    assembler.pending && options.deadline && !signal?.aborted
      ? receiveBefore(link, options.deadline(limits.transferIdleMs), signal)
      : link.receive(signal);

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
          const whole = assembler.add(await nextFrame(signal));
          if (whole) return whole;
        }
      } catch (error) {
        if (error instanceof ProtocolError) failure = error;
        throw error;
      }
    },
    close: (reason) => link.close(reason),
  };
}

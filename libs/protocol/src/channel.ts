/** Sends and receives messages with their bodies over a link of frames; see PROTOCOL.md. */
import { decodeMessage } from './codec.js';
import { ProtocolError } from './errors.js';
import { HEADER_BYTES, SHARED_TRANSFERS, bodyTooLarge, decodeFrame, encodeTransfer, type Body, type Frame } from './frames.js';
import { LIMITS, type Limits } from '@troupe/config/limits';
import { MESSAGE_SCHEMAS, type Message, type MessageOf, type MessageType } from './messages.js';
import { malformed, typeIn } from './msgpack.js';
import type { SendBudget } from './send-budget.js';

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
   * The types that the first message may have, each with the most bytes of its frame. Default: as every message. The type is looked at before
   * anything else, so that a stranger cannot make this side do more.
   */
  readonly first?: Readonly<Partial<Record<K, number>>>;
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
  /** Shared with other channels: what is queued for all of them together is bounded. */
  readonly budget?: SendBudget;
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

/** The body of a message, read while it arrives. */
export interface BodyReader {
  /** Length of the whole body, bytes. */
  readonly bytes: number;
  /**
   * The next piece, never empty and valid for as long as the caller keeps it; undefined after the
   * last. Throws what `Channel.receive` throws.
   */
  next(signal?: AbortSignal): Promise<Uint8Array | undefined>;
}

export interface Streamed<K extends MessageType = MessageType> {
  readonly message: MessageOf<K>;
  readonly body: BodyReader;
}

export interface Channel<K extends MessageType = MessageType> {
  readonly remote: string;
  readonly bufferedBytes: number;
  /**
   * Queues a message and a copy of its body. It may close links that share the budget, this one included.
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
  /**
   * The next message as soon as its first frame is here; its body is read while it arrives. The rest
   * of a body that was not read to its end is skipped. One body at a time: `limit_exceeded` if another
   * begins before its end. Throws what `receive` throws. Do not call `receive` on the same channel
   * after it.
   */
  receiveStreamed(signal?: AbortSignal): Promise<Streamed<K>>;
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

/** A transfer whose last byte has not arrived. */
interface Transfer<K extends MessageType> {
  readonly message: MessageOf<K>;
  readonly bodyBytes: number;
  received: number;
  /** Where an assembled body goes. */
  readonly body?: Uint8Array<ArrayBuffer>;
  /** Pieces of a streamed body that nobody has read yet. */
  readonly pieces?: Uint8Array[];
}

/** Follows the transfers of an untrusted peer. `store` says where the body of a new one goes. */
function createTransfers<K extends MessageType>(
  options: ChannelOptions<K>,
  limits: Limits,
  store: (bodyBytes: number) => Pick<Transfer<K>, 'body' | 'pieces'>,
) {
  const open = new Map<number, Transfer<K>>();
  const types: ReadonlySet<string> = new Set(options.accepts);
  let { first } = options;

  function begin({ transfer, number: bodyBytes, payload }: Frame): Transfer<K> {
    if (open.has(transfer)) throw malformed(`transfer ${transfer} begins twice`);
    const type = typeIn(payload);
    if (type !== undefined && isKnown(type) && !types.has(type)) throw notAccepted(type, options.accepts);
    const message = decodeMessage(payload, first ? { ...limits, messageItems: limits.firstMessageItems } : limits);
    if (!accepted(message, options.accepts)) throw notAccepted(message.type, options.accepts);
    first = undefined;
    if (bodyBytes > limits.bodyBytes) throw bodyTooLarge(message.type, bodyBytes, limits);
    const due = options.bodyBytes(message);
    if (bodyBytes !== due) {
      const what = `${message.type}: announces a body of ${bodyBytes} bytes, expected ${due}`;
      throw new ProtocolError('invalid_message', what, 'Run the same version of Troupe, and the same run, on both sides.');
    }
    if (bodyBytes > 0 && open.size >= limits.transfersInFlight) {
      const what = `more than ${limits.transfersInFlight} transfers at once`;
      throw new ProtocolError('limit_exceeded', what, 'Finish one transfer before the next.');
    }
    const begun: Transfer<K> = { message, bodyBytes, received: 0, ...store(bodyBytes) };
    if (bodyBytes > 0) open.set(transfer, begun);
    return begun;
  }

  function add({ transfer: id, number: offset, payload }: Frame): Transfer<K> {
    const transfer = open.get(id);
    if (!transfer) throw malformed(`a chunk of transfer ${id}, which is not open`);
    const { bodyBytes, received } = transfer;
    if (offset !== received) throw malformed(`a chunk at ${offset} where ${received} is next`);
    if (payload.byteLength > bodyBytes - received) throw malformed(`a chunk beyond the end of its body of ${bodyBytes} bytes`);
    transfer.body?.set(payload, received);
    transfer.pieces?.push(payload);
    transfer.received += payload.byteLength;
    if (transfer.received === bodyBytes) open.delete(id);
    return transfer;
  }

  return {
    get pending() {
      return open.size > 0;
    },
    /** The transfer that `bytes` began or continued. */
    add(bytes: Uint8Array): { readonly transfer: Transfer<K>; readonly begins: boolean } {
      if (first) requireFirst(bytes, first, limits);
      const frame = decodeFrame(bytes, limits);
      return frame.kind === 'message' ? { transfer: begin(frame), begins: true } : { transfer: add(frame), begins: false };
    },
  };
}

/** @throws ProtocolError if the first frame of a link is longer than that of its type may be, or of a type that may not come first */
function requireFirst(frame: Uint8Array, first: Readonly<Partial<Record<string, number>>>, limits: Limits): void {
  const type = typeIn(frame.subarray(HEADER_BYTES));
  const known = type !== undefined && isKnown(type);
  if (known && !Object.hasOwn(first, type)) {
    const what = `a ${type} came before the ${Object.keys(first)[0]}`;
    throw new ProtocolError('unexpected_message', what, `Begin with ${Object.keys(first).join(', ')}.`);
  }
  const most = (known ? first[type] : undefined) ?? limits.firstFrameBytes;
  if (frame.byteLength <= most) return;
  const what = `a first frame of ${frame.byteLength} bytes is over the limit of ${most}`;
  throw new ProtocolError('limit_exceeded', what, 'Run the same version of Troupe on both sides.');
}

function isKnown(type: string): boolean {
  return Object.hasOwn(MESSAGE_SCHEMAS, type);
}

function notAccepted(type: string, accepts: readonly string[]): ProtocolError {
  const what = `a message "${type}" where only ${accepts.join(', ')} is accepted`;
  return new ProtocolError('unexpected_message', what, 'Connect to the address for this kind of process.');
}

/** Memory for assembled bodies. */
function createBodies(reuse: boolean) {
  /** The largest body delivered so far, for reuse. Smaller bodies do not replace it. */
  let spare: Uint8Array<ArrayBuffer> | undefined;
  return {
    take(bytes: number): Uint8Array<ArrayBuffer> {
      if (spare?.byteLength !== bytes) return new Uint8Array(bytes);
      const body = spare;
      spare = undefined;
      return body;
    },
    delivered(body: Uint8Array<ArrayBuffer>): void {
      if (reuse && body.byteLength >= (spare?.byteLength ?? 0)) spare = body;
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
  const account = options.budget?.open(link);
  let transfers = 0;
  const sendFrames = (frames: readonly Uint8Array[]) => {
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
      account?.own(bytesOf(frames));
      sendFrames(frames);
    },
    sendEncoded(frames) {
      account?.shared(bytesOf(frames));
      sendFrames(frames);
    },
    drained: (maxBufferedBytes, signal) => link.drained(maxBufferedBytes, signal),
    ...createReceiver(link, options, limits),
    close: (reason) => link.close(reason),
  };
}

function createReceiver<K extends MessageType>(
  link: FrameLink,
  options: ChannelOptions<K>,
  limits: Limits,
): Pick<Channel<K>, 'receive' | 'receiveStreamed'> {
  const bodies = createBodies(options.reuseBodies ?? false);
  let streams = false;
  const transfers = createTransfers(options, limits, (bytes) => (streams ? { pieces: [] } : { body: bodies.take(bytes) }));
  let failure: ProtocolError | undefined;
  /** Streamed messages that began while the body of another was read. */
  const begun: Transfer<K>[] = [];
  let current: BodyReader | undefined;

  const { deadline } = options;
  const watch =
    deadline &&
    createWatch(
      () => deadline(limits.transferIdleMs),
      () => transfers.pending,
      () => {
        failure = new ProtocolError('limit_exceeded', 'a transfer made no progress', 'Check the network; then reconnect.');
        link.close(failure.message);
      },
    );
  // An incomplete body must not keep timers alive, nor be kept alive by them, once the link is
  // closed.
  if (watch) void link.closed.then(() => watch.end());

  /** Takes one frame. */
  async function pull(signal: AbortSignal | undefined): Promise<ReturnType<typeof transfers.add>> {
    if (failure) throw failure;
    try {
      const frame = await (watch ? watch.during(() => link.receive(signal)) : link.receive(signal));
      const added = transfers.add(frame);
      watch?.progress();
      return added;
    } catch (error) {
      if (error instanceof ProtocolError) failure = error;
      // After a stall the link reports only that it was closed; the stall is the reason.
      throw failure ?? error;
    }
  }

  async function pullWhileReading(signal: AbortSignal | undefined): Promise<void> {
    const { transfer, begins } = await pull(signal);
    if (!begins) return;
    if (transfer.bodyBytes > 0) {
      const what = 'a second body begins before the first has ended';
      throw (failure = new ProtocolError('limit_exceeded', what, 'Finish one transfer before the next.'));
    }
    if (begun.length >= limits.messagesAhead) {
      const what = `more than ${limits.messagesAhead} messages between the chunks of another`;
      throw (failure = new ProtocolError('limit_exceeded', what, 'Finish one transfer before the next.'));
    }
    begun.push(transfer);
  }

  function readerOf(transfer: Transfer<K>): BodyReader {
    const { bodyBytes } = transfer;
    const pieces = transfer.pieces!;
    let read = 0;
    return {
      bytes: bodyBytes,
      async next(signal) {
        if (read === bodyBytes) return undefined;
        while (pieces.length === 0) await pullWhileReading(signal);
        const piece = pieces.shift()!;
        read += piece.byteLength;
        return piece;
      },
    };
  }

  return {
    async receive(signal) {
      for (;;) {
        const { transfer } = await pull(signal);
        const { message, body, bodyBytes, received } = transfer;
        if (received < bodyBytes) continue;
        if (bodyBytes > 0) bodies.delivered(body!);
        return { message, body: body! };
      }
    },
    async receiveStreamed(signal) {
      streams = true;
      while (await current?.next(signal));
      let transfer = begun.shift();
      while (!transfer) {
        const added = await pull(signal);
        if (added.begins) transfer = added.transfer;
      }
      current = readerOf(transfer);
      return { message: transfer.message, body: current };
    },
  };
}

function bytesOf(frames: readonly Uint8Array[]): number {
  return frames.reduce((sum, { byteLength }) => sum + byteLength, 0);
}

/** What all transports share: queues of frames, waiting readers and the end of a link. */
import { LIMITS } from '@troupe/config/limits';
import { TransportError, type CloseInfo } from './connection.js';

export interface Queue<T> {
  readonly length: number;
  /** Hands `item` to the waiting `take`, or queues it. Ignored after `end`. */
  push(item: T): void;
  /** The next item; after `end` and the last item it rejects with the error of `end`. */
  take(signal?: AbortSignal): Promise<T>;
  end(error: TransportError): void;
}

export function aborted(signal: AbortSignal): TransportError {
  return new TransportError('aborted', 'the wait was aborted', 'Call again if it is still needed.', { cause: signal.reason });
}

/** How a waiting promise ends, unless it is aborted. */
interface Waiter<T> {
  resolve(value: T): void;
  reject(error: TransportError): void;
}

/** A promise that the registered waiter settles; an abort unregisters the waiter and rejects it. */
function wait<T>(
  signal: AbortSignal | undefined,
  register: (waiter: Waiter<T>) => void,
  unregister: (waiter: Waiter<T>) => void,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const onAbort = () => {
      unregister(waiter);
      reject(aborted(signal!));
    };
    const settled = () => signal?.removeEventListener('abort', onAbort);
    const waiter: Waiter<T> = {
      resolve: (value) => {
        settled();
        resolve(value);
      },
      reject: (error) => {
        settled();
        reject(error);
      },
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    register(waiter);
  });
}

/** First in, first out, for one reader. */
export function createQueue<T>(): Queue<T> {
  // A list with a moving head, because shift() on a long array moves every item.
  let items: T[] = [];
  let head = 0;
  let waiter: Waiter<T> | undefined;
  let ended: TransportError | undefined;
  const next = (): T => {
    const item = items[head++];
    if (head === items.length || head >= 1024) {
      items = items.slice(head);
      head = 0;
    }
    return item;
  };
  return {
    get length() {
      return items.length - head;
    },
    push(item) {
      if (ended) return;
      if (!waiter) {
        items.push(item);
        return;
      }
      const { resolve } = waiter;
      waiter = undefined;
      resolve(item);
    },
    async take(signal) {
      if (waiter) throw new TransportError('busy', 'another call is already waiting', 'Await the first call before the next.');
      if (signal?.aborted) throw aborted(signal);
      if (head < items.length) return next();
      if (ended) throw ended;
      return wait<T>(
        signal,
        (mine) => (waiter = mine),
        () => (waiter = undefined),
      );
    },
    end(error) {
      ended ??= error;
      waiter?.reject(ended);
      waiter = undefined;
    },
  };
}

/** The part of a Connection that is the same for every transport. */
export interface LinkState {
  /** Set by `shut`. */
  readonly end: CloseInfo | undefined;
  readonly closed: Promise<CloseInfo>;
  /** Bytes received that no `receive` has taken, with what each frame takes besides: many small ones take more than their bytes. */
  readonly unreadBytes: number;
  /** @throws TransportError `closed`, `lost` or `frame_too_large` */
  checkSend(frame: Uint8Array): void;
  deliver(frame: Uint8Array): void;
  receive(signal?: AbortSignal): Promise<Uint8Array>;
  drained(maxBufferedBytes: number, signal?: AbortSignal): Promise<void>;
  /** Call it when `bufferedBytes` has decreased. */
  progress(): void;
  /** Ends sending and delivery; frames that wait can still be received. Only the first call counts. */
  shut(info: CloseInfo): void;
  /** Shuts the link if it is open, and resolves `closed`. */
  settle(info: CloseInfo): void;
}

function endError(info: CloseInfo): TransportError {
  return info.kind === 'clean'
    ? new TransportError('closed', `the connection is closed: ${info.reason}`, 'Open a new connection.')
    : new TransportError(
        'lost',
        `the connection was lost: ${info.reason}`,
        'Check the network and the other machine, then connect again.',
      );
}

/** @param bufferedBytes as in Connection. @param taken called when the reader has taken a frame */
export function createLinkState(frameBytes: number, bufferedBytes: () => number, taken: () => void = () => {}): LinkState {
  const frames = createQueue<Uint8Array>();
  const drains = new Map<Waiter<void>, number>();
  let unreadBytes = 0;
  let end: CloseInfo | undefined;
  let resolveClosed: (info: CloseInfo) => void;
  const closed = new Promise<CloseInfo>((resolve) => (resolveClosed = resolve));
  const state: LinkState = {
    closed,
    get end() {
      return end;
    },
    get unreadBytes() {
      return unreadBytes;
    },
    checkSend(frame) {
      if (end) throw endError(end);
      if (frame.byteLength <= frameBytes) return;
      const message = `a frame of ${frame.byteLength} bytes exceeds this link's limit of ${frameBytes}`;
      throw new TransportError('frame_too_large', message, 'Send smaller frames.');
    },
    deliver(frame) {
      if (end) return;
      unreadBytes += frame.byteLength + LIMITS.frameOverheadBytes;
      frames.push(frame);
    },
    async receive(signal) {
      const frame = await frames.take(signal);
      unreadBytes -= frame.byteLength + LIMITS.frameOverheadBytes;
      taken();
      return frame;
    },
    async drained(maxBufferedBytes, signal) {
      if (end) throw endError(end);
      if (signal?.aborted) throw aborted(signal);
      if (bufferedBytes() <= maxBufferedBytes) return;
      await wait<void>(
        signal,
        (waiter) => drains.set(waiter, maxBufferedBytes),
        (waiter) => drains.delete(waiter),
      );
    },
    progress() {
      const bytes = bufferedBytes();
      for (const [waiter, most] of drains) {
        if (bytes > most) continue;
        drains.delete(waiter);
        waiter.resolve();
      }
    },
    shut(info) {
      if (end) return;
      end = info;
      frames.end(endError(info));
      for (const waiter of drains.keys()) waiter.reject(endError(info));
      drains.clear();
    },
    settle(info) {
      state.shut(info);
      resolveClosed(end!);
    },
  };
  return state;
}

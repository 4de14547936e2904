/** What every transport does the same way: frames that wait for their reader, readers that wait, and the end of a link. */
import { TransportError, type CloseInfo } from './connection.js';

export interface Queue<T> {
  readonly length: number;
  /** Hands `item` to the waiting `take`, or keeps it. Dropped after `end`. */
  push(item: T): void;
  /** Items pushed before `end` are still handed out; then it rejects with the error given to `end`. */
  take(signal?: AbortSignal): Promise<T>;
  end(error: TransportError): void;
}

export function aborted(signal: AbortSignal): TransportError {
  return new TransportError('aborted', 'the wait was called off', 'Call again if it is still needed.', { cause: signal.reason });
}

/** The two ends that a waiting promise can have, besides an abort. */
interface Waiter<T> {
  resolve(value: T): void;
  reject(error: TransportError): void;
}

/** A promise that `register`'s waiter settles, and that an abort rejects after `unregister`. */
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
  // A list with a moving head: shift() on a long array costs its whole length.
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
      if (waiter) throw new TransportError('busy', 'someone is waiting here already', 'Await the first call before the next.');
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

/** The half of a Connection that does not depend on what carries the bytes. */
export interface LinkState {
  /** Set by `shut`. */
  readonly end: CloseInfo | undefined;
  readonly closed: Promise<CloseInfo>;
  /** Bytes that came in and were not taken yet. */
  readonly keptBytes: number;
  /** @throws TransportError `closed`, `lost` or `frame_too_large` */
  checkSend(frame: Uint8Array): void;
  deliver(frame: Uint8Array): void;
  receive(signal?: AbortSignal): Promise<Uint8Array>;
  drained(maxBufferedBytes: number, signal?: AbortSignal): Promise<void>;
  /** To be called when `bufferedBytes` has gone down. */
  progress(): void;
  /** Nothing is sent or delivered from here on; what was kept can still be received. The first call counts. */
  shut(info: CloseInfo): void;
  /** Shuts if need be and resolves `closed`. */
  settle(info: CloseInfo): void;
}

function endError(info: CloseInfo): TransportError {
  return info.kind === 'clean'
    ? new TransportError('closed', `the connection is closed: ${info.reason}`, 'Open a new connection.')
    : new TransportError(
        'lost',
        `the connection was lost: ${info.reason}`,
        'Check the network and the other side; then reconnect.',
      );
}

/** `bufferedBytes` as in Connection; `taken` is told when the reader took a frame. */
export function createLinkState(frameBytes: number, bufferedBytes: () => number, taken: () => void = () => {}): LinkState {
  const frames = createQueue<Uint8Array>();
  const drains = new Map<Waiter<void>, number>();
  let keptBytes = 0;
  let end: CloseInfo | undefined;
  let resolveClosed: (info: CloseInfo) => void;
  const closed = new Promise<CloseInfo>((resolve) => (resolveClosed = resolve));
  const state: LinkState = {
    closed,
    get end() {
      return end;
    },
    get keptBytes() {
      return keptBytes;
    },
    checkSend(frame) {
      if (end) throw endError(end);
      if (frame.byteLength <= frameBytes) return;
      const message = `a frame of ${frame.byteLength} bytes is over this link's ${frameBytes}`;
      throw new TransportError('frame_too_large', message, 'Cut it into smaller frames.');
    },
    deliver(frame) {
      if (end) return;
      keptBytes += frame.byteLength;
      frames.push(frame);
    },
    async receive(signal) {
      const frame = await frames.take(signal);
      keptBytes -= frame.byteLength;
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

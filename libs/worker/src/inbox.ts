/**
 * Several sources, one reader: a worker hears from the coordinator and from the all-reduce at the same time and must act on one message
 * at a time. Nothing is lost between two reads, and a failed source fails the reader.
 */
export interface Inbox<T> {
  /** Resolves when the reader is done with `item`, that is when it asks for the next one or closes the inbox. */
  put(item: T): Promise<void>;
  /** Delivers what was put before; then `next` rejects with `error`. */
  fail(error: Error): void;
  next(): Promise<T>;
  /** Resolves every `put`. */
  close(): void;
}

interface Entry<T> {
  readonly item: T;
  readonly done: () => void;
}

export function createInbox<T>(): Inbox<T> {
  const entries: Entry<T>[] = [];
  let failure: { error: Error } | undefined;
  let closed = false;
  let waiting: { resolve: (entry: Entry<T>) => void; reject: (error: Error) => void } | undefined;
  /** The entry that the reader is working on. */
  let current: Entry<T> | undefined;

  const take = (): Promise<Entry<T>> => {
    if (entries.length > 0) return Promise.resolve(entries.shift()!);
    if (failure) return Promise.reject(failure.error);
    return new Promise((resolve, reject) => {
      waiting = { resolve, reject };
    });
  };
  return {
    put: (item) =>
      new Promise((done) => {
        const entry = { item, done };
        if (closed) done();
        else if (waiting) {
          waiting.resolve(entry);
          waiting = undefined;
        } else entries.push(entry);
      }),
    fail(error) {
      failure ??= { error };
      waiting?.reject(error);
      waiting = undefined;
    },
    async next() {
      current?.done();
      current = undefined;
      current = await take();
      return current.item;
    },
    close() {
      closed = true;
      for (const entry of [...entries, ...(current ? [current] : [])]) entry.done();
    },
  };
}

/** Waits that an abort or `wake` ends early. */
export interface Sleeper {
  /** Resolves after `ms` or when woken; rejects with the signal's reason when aborted. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
  wake(): void;
}

export function createSleeper(): Sleeper {
  const sleeping = new Set<() => void>();
  return {
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        signal.throwIfAborted();
        const end = (settle: () => void): void => {
          clearTimeout(timer);
          sleeping.delete(wake);
          signal.removeEventListener('abort', abort);
          settle();
        };
        const wake = (): void => end(resolve);
        const abort = (): void => end(() => reject(signal.reason as Error));
        const timer = setTimeout(wake, ms);
        sleeping.add(wake);
        signal.addEventListener('abort', abort, { once: true });
      }),
    wake() {
      for (const wake of [...sleeping]) wake();
    },
  };
}

/** Two signals as one. */
export interface Either {
  /** Aborts when one of them does. */
  readonly signal: AbortSignal;
  /** Resolves when it has aborted. */
  readonly ended: Promise<void>;
  /** Leaves no listener at the two, which may live longer. It happens by itself when one aborts. */
  dispose(): void;
}

/** Not AbortSignal.any: Node 20 may collect its result, and the timeout in it, while somebody waits for it. */
export function either(one: AbortSignal, other: AbortSignal): Either {
  const both = new AbortController();
  const signals = [one, other];
  let settle = (): void => undefined;
  const ended = new Promise<void>((resolve) => (settle = resolve));
  const listeners = signals.map((signal) => () => {
    dispose();
    both.abort(signal.reason);
    settle();
  });
  const dispose = (): void => signals.forEach((signal, i) => signal.removeEventListener('abort', listeners[i]));
  signals.forEach((signal, i) => {
    if (signal.aborted && !both.signal.aborted) listeners[i]();
    else if (!both.signal.aborted) signal.addEventListener('abort', listeners[i], { once: true });
  });
  return { signal: both.signal, ended, dispose };
}

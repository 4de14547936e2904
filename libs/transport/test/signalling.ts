/** Signalling within one process, which tests can read, change and cut. */
import { TransportError } from '../src/index.js';
import { createQueue } from '../src/link.js';
import type { Signal, Signalling } from '../src/webrtc/index.js';

export interface SignallingEnd extends Signalling {
  receive: Signalling['receive'];
  /** Puts a value before the other side as if this side had sent it. */
  inject(value: unknown): void;
  /** All that this side has sent. */
  readonly sent: readonly Signal[];
  /** From here on `send` throws and `receive` rejects. */
  cut(): void;
}

/** @param pass what becomes of each signal; undefined: it is lost */
export function createSignallingPair(
  pass: (signal: Signal, from: 'near' | 'far') => unknown = (signal) => signal,
): [near: SignallingEnd, far: SignallingEnd] {
  const [toNear, toFar] = [createQueue<unknown>(), createQueue<unknown>()];
  const gone = (): TransportError => new TransportError('lost', 'the coordinator is gone', 'Start it again.');
  const end = (from: 'near' | 'far', incoming: typeof toNear, outgoing: typeof toNear): SignallingEnd => {
    const sent: Signal[] = [];
    let cut = false;
    return {
      sent,
      send(signal) {
        if (cut) throw gone();
        sent.push(signal);
        const passed = pass(signal, from);
        if (passed !== undefined) outgoing.push(passed);
      },
      receive: (abort) => incoming.take(abort),
      inject: (value) => outgoing.push(value),
      cut() {
        cut = true;
        incoming.end(gone());
      },
    };
  };
  return [end('near', toNear, toFar), end('far', toFar, toNear)];
}

/** Both ends of a link in one process, for tests, simulations and embedded services. */
import { DEFAULT_FRAME_BYTES, TransportError, type CloseInfo, type Connection, type Listener } from './connection.js';
import { createLinkState, createQueue, type LinkState } from './link.js';

export interface MemoryConnection extends Connection {
  /** Breaks the link like a pulled cable: both ends are `lost`, and frames in flight are gone. */
  breakLink(reason: string): void;
}

export interface MemoryListener extends Listener {
  /** The far end of a new link, whose near end `accept` returns. Rejects with `unreachable` after `close`. */
  connect(name?: string): Promise<MemoryConnection>;
}

interface End {
  readonly state: LinkState;
  /** Bytes sent from this end and not yet delivered. */
  bufferedBytes: number;
}

function createEnd(frameBytes: number): End {
  const end: End = { bufferedBytes: 0, state: createLinkState(frameBytes, () => end.bufferedBytes) };
  return end;
}

/** Delivery takes a microtask, so neither side runs inside a call of the other. */
function later(task: () => void): void {
  void Promise.resolve().then(task);
}

function connectEnds(near: End, far: End, remote: string): MemoryConnection {
  return {
    remote,
    closed: near.state.closed,
    get bufferedBytes() {
      return near.bufferedBytes;
    },
    send(frame) {
      near.state.checkSend(frame);
      near.bufferedBytes += frame.byteLength;
      later(() => {
        near.bufferedBytes -= frame.byteLength;
        far.state.deliver(frame);
        near.state.progress();
      });
    },
    drained: (maxBufferedBytes, signal) => near.state.drained(maxBufferedBytes, signal),
    receive: (signal) => near.state.receive(signal),
    close(reason) {
      const info: CloseInfo = { kind: 'clean', reason };
      near.state.shut(info);
      later(() => {
        far.state.settle(info);
        near.state.settle(info);
      });
    },
    breakLink(reason) {
      for (const end of [near, far]) end.state.settle({ kind: 'lost', reason });
    },
  };
}

/**
 * Two ends of one link. Frames are not copied: the receiver sees the same bytes that were sent.
 * @param names of both ends, as the other one sees them: `pair[0].remote` is `names[1]`
 */
export function createMemoryPair(
  names: readonly [string, string] = ['memory:a', 'memory:b'],
  frameBytes: number = DEFAULT_FRAME_BYTES,
): [MemoryConnection, MemoryConnection] {
  const [a, b] = [createEnd(frameBytes), createEnd(frameBytes)];
  return [connectEnds(a, b, names[1]), connectEnds(b, a, names[0])];
}

/** @param name makes the address "memory:name" */
export function createMemoryListener(name = 'listener', frameBytes: number = DEFAULT_FRAME_BYTES): MemoryListener {
  const address = `memory:${name}`;
  const incoming = createQueue<Connection>();
  const open = new Set<Connection>();
  let listening = true;
  return {
    address,
    accept: (signal) => incoming.take(signal),
    async connect(from = 'connector') {
      if (!listening)
        throw new TransportError('unreachable', `nothing listens at ${address}`, 'Connect before the listener closes.');
      const [near, far] = createMemoryPair([address, `memory:${from}`], frameBytes);
      open.add(near);
      void near.closed.then(() => open.delete(near));
      incoming.push(near);
      return far;
    },
    async close(reason) {
      listening = false;
      incoming.end(new TransportError('closed', `${address} no longer listens: ${reason}`, 'Create a new listener.'));
      const ends = [...open].map((connection) => {
        connection.close(reason);
        return connection.closed;
      });
      await Promise.all(ends);
    },
  };
}

/** The page's side of the bridge: it holds the links that its worker uses. */
import { TransportError, type Connection } from '../../connection.js';
import { createQueue } from '../../link.js';
import type { RtcLinks, Signal, Signalling } from '../../webrtc/index.js';
import { CREDIT_BYTES, isolate, type BridgePort, type Message, type PlainError, type ToPage, type ToWorker } from './messages.js';

export interface RtcBridge {
  /** Closes all links, also when the worker no longer answers. Idempotent. */
  end(reason: string): void;
}

type Post = (message: ToWorker, transfer?: ArrayBuffer[]) => void;

/** Opens links over WebRTC for the worker that calls `bridgeRtcLinks` with the other port. Call `end` when that worker ends. */
export function serveRtcBridge(port: BridgePort, links: RtcLinks): RtcBridge {
  const served = new Map<number, ServedLink>();
  const post: Post = (message, transfer = []) => port.postMessage(message, transfer);
  let ended = false;
  const take = (message: ToPage): void => {
    if (message.kind !== 'open') return served.get(message.link)?.take(message);
    if (ended) return;
    const link = serveLink(message, links, post);
    served.set(message.link, link);
    void link.over.then(() => served.delete(message.link));
  };
  port.addEventListener('message', ({ data }) => take(data as ToPage));
  port.start();
  return {
    end(reason) {
      ended = true;
      post({ kind: 'ended', reason });
      port.close();
      for (const link of served.values()) link.end(reason);
    },
  };
}

interface ServedLink {
  take(message: ToPage): void;
  end(reason: string): void;
  /** Never rejects. */
  readonly over: Promise<void>;
}

function serveLink(open: Message<ToPage, 'open'>, links: RtcLinks, post: Post): ServedLink {
  const opening = new AbortController();
  const signals = createSignals(open.link, post);
  let carrier: Carrier | undefined;
  const end = (reason: string): void => {
    opening.abort(new Error(reason));
    carrier?.close(reason);
  };
  const serve = async (): Promise<void> => {
    carrier = await openCarrier(open, links, signals, opening.signal, post);
    // The end may have come between the opening of the link and this turn.
    if (opening.signal.aborted) carrier?.close(NOT_WANTED);
    await carrier?.run();
  };
  return {
    end,
    over: serve(),
    take(message) {
      if (message.kind === 'abort') end(NOT_WANTED);
      else if (message.kind === 'signal') signals.push(message.signal);
      else if (message.kind === 'signallingLost') signals.lose(message.reason);
      else carrier?.take(message);
    },
  };
}

const NOT_WANTED = 'the link is no longer wanted';

/** @returns undefined: it failed, and the worker knows why */
async function openCarrier(
  { link, role, remote, iceServers }: Message<ToPage, 'open'>,
  links: RtcLinks,
  signalling: Signalling,
  signal: AbortSignal,
  post: Post,
): Promise<Carrier | undefined> {
  try {
    return createCarrier(link, await links[role]({ remote, iceServers, signalling, signal }), post);
  } catch (error) {
    post({ link, kind: 'failed', error: plain(error) });
    return undefined;
  }
}

function plain(error: unknown): PlainError {
  if (error instanceof TransportError) return { code: error.code, message: error.message, remedy: error.remedy };
  const message = `WebRTC does not work here: ${(error as Error).message}`;
  return { code: 'refused', message, remedy: 'Turn direct links off, or use another browser.' };
}

interface Signals extends Signalling {
  push(signal: unknown): void;
  lose(reason: string): void;
}

/** The signalling of a link, which the worker has. Signals come one by one, so they queue where they are limited. */
function createSignals(link: number, post: Post): Signals {
  const incoming = createQueue<unknown>();
  let lost: TransportError | undefined;
  return {
    push: (signal) => incoming.push(signal),
    lose(reason) {
      lost = new TransportError('lost', reason, 'Check the connection to the coordinator, then connect again.');
      incoming.end(lost);
    },
    send(signal: Signal) {
      if (lost) throw lost;
      post({ link, kind: 'signal', signal });
    },
    receive(abort) {
      post({ link, kind: 'nextSignal' });
      return incoming.take(abort);
    },
  };
}

interface Carrier {
  /** Passes on what comes until the link has ended. */
  run(): Promise<void>;
  take(message: ToPage): void;
  close(reason: string): void;
}

/** Carries the frames of an open link. */
function createCarrier(link: number, connection: Connection, post: Post): Carrier {
  const credit = createCredit();
  const outgoing = createOutgoing(connection, (bytes) => post({ link, kind: 'left', bytes }));
  return {
    async run() {
      post({ link, kind: 'opened', remote: connection.remote });
      // What has come before the end is in memory already.
      void connection.closed.then(credit.lift);
      await forward(connection, credit, (frame) => post({ link, kind: 'frame', frame }, [frame.buffer]));
      post({ link, kind: 'closed', info: await connection.closed });
    },
    take(message) {
      if (message.kind === 'frame') outgoing.send(message.frame);
      else if (message.kind === 'taken') credit.give(message.bytes);
      else if (message.kind === 'close') connection.close(message.reason);
    },
    close: (reason) => connection.close(reason),
  };
}

/** Returns when the link has ended and everything that came before is passed on. */
async function forward(connection: Connection, credit: Credit, pass: (frame: Uint8Array<ArrayBuffer>) => void): Promise<void> {
  try {
    for (;;) {
      await credit.available();
      const frame = isolate(await connection.receive());
      credit.use(frame.byteLength);
      pass(frame);
    }
  } catch (error) {
    closeAfter(error, connection);
  }
}

/** Most errors say that the link has ended, which changes nothing then. Any other one ends it, and both sides learn of it. */
function closeAfter(error: unknown, connection: Connection): void {
  connection.close((error as Error).message);
}

interface Credit {
  /** Resolves when the worker may be sent another frame. */
  available(): Promise<void>;
  use(bytes: number): void;
  give(bytes: number): void;
  /** Nothing is held back from here on. */
  lift(): void;
}

function createCredit(): Credit {
  let left = CREDIT_BYTES;
  let wake = (): void => {};
  const give = (bytes: number): void => {
    left += bytes;
    if (left > 0) wake();
  };
  return {
    give,
    lift: () => give(Infinity),
    use(bytes) {
      left -= bytes;
    },
    async available() {
      if (left <= 0) await new Promise<void>((resolve) => (wake = resolve));
    },
  };
}

interface Outgoing {
  send(frame: Uint8Array): void;
}

/** Progress is reported in steps of this size. */
const STEP_BYTES = 64 * 1024;

/** @param onLeft called with the number of bytes that have left since the last call */
function createOutgoing(connection: Connection, onLeft: (bytes: number) => void): Outgoing {
  let waiting = 0;
  let watching = false;
  const report = (): void => {
    // The link also counts messages of its own.
    const left = waiting - Math.min(waiting, connection.bufferedBytes);
    waiting -= left;
    if (left > 0) onLeft(left);
  };
  const watch = async (): Promise<void> => {
    for (report(); waiting > 0; report()) await connection.drained(Math.max(0, connection.bufferedBytes - STEP_BYTES));
  };
  const watchToEnd = async (): Promise<void> => {
    watching = true;
    try {
      await watch();
    } catch (error) {
      closeAfter(error, connection);
    }
    watching = false;
  };
  return {
    send(frame) {
      try {
        connection.send(frame);
      } catch (error) {
        return closeAfter(error, connection);
      }
      waiting += frame.byteLength;
      if (!watching) void watchToEnd();
    },
  };
}

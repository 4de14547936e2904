/** The live link: kept open, and opened again when it breaks. */
import type { LiveMessage } from '@troupe/run';
import { backoffMs } from '@troupe/transport';
import { RECONNECT } from './backoff.js';

export interface Socket {
  send(text: string): void;
  close(): void;
}

export interface SocketEvents {
  onOpen(): void;
  onText(text: string): void;
  onClose(): void;
}

export interface LivePorts {
  openSocket(events: SocketEvents): Socket;
  /** Asks the coordinator over HTTP whether it is there. Rejects when it does not answer soon. */
  probe(): Promise<void>;
  /** Runs `action` after `ms`, unless the returned function is called before. */
  after(ms: number, action: () => void): () => void;
  /** Moment in ms since 1970. */
  now(): number;
  /** In [0, 1). */
  random(): number;
}

export interface LiveOptions {
  readonly ports: LivePorts;
  token(): string | undefined;
  onConnecting(): void;
  onMessage(message: LiveMessage): void;
  /** `retryAt`: a moment in ms since 1970. */
  onLost(retryAt: number): void;
}

export interface Live {
  /** Connects now, with the current token, whatever the link was doing. */
  reconnect(): void;
  /** The person looks at the page again: a lost link is not waited for. */
  onSeen(): void;
}

/** A link that takes longer to open is given up. */
const OPEN_MS = 10_000;
/** After a silence this long the page asks whether the coordinator is still there. */
const SILENCE_MS = 15_000;

export function openLive({ ports, token, onConnecting, onMessage, onLost }: LiveOptions): Live {
  let socket: Socket | undefined;
  let failures = 0;
  /** The coordinator refused the token: another attempt with the same one would fail too. */
  let refused = false;
  let cancelRetry = (): void => {};
  let cancelWatch = (): void => {};
  connect();
  return {
    reconnect,
    onSeen() {
      if (socket === undefined && !refused) reconnect();
    },
  };

  function reconnect(): void {
    drop();
    refused = false;
    connect();
  }

  function drop(): void {
    cancelRetry();
    cancelWatch();
    const old = socket;
    socket = undefined;
    old?.close();
  }

  function connect(): void {
    onConnecting();
    const opened: Socket = ports.openSocket({
      onOpen() {
        const shown = token();
        opened.send(JSON.stringify(shown === undefined ? {} : { token: shown }));
        if (socket === opened) listen();
      },
      onText(text) {
        if (socket !== opened) return;
        listen();
        take(JSON.parse(text) as LiveMessage);
      },
      onClose() {
        if (socket === opened) lose();
      },
    });
    socket = opened;
    cancelWatch = ports.after(OPEN_MS, lose);
  }

  function take(message: LiveMessage): void {
    if (message.type === 'hello') failures = 0;
    if (message.type === 'refused') {
      refused = true;
      drop();
    }
    onMessage(message);
  }

  function lose(): void {
    drop();
    failures++;
    const waitMs = backoffMs(failures, ports.random(), RECONNECT);
    cancelRetry = ports.after(waitMs, connect);
    onLost(ports.now() + waitMs);
  }

  function listen(): void {
    cancelWatch();
    cancelWatch = ports.after(SILENCE_MS, () => void check());
  }

  /** A link may be dead without a close event. */
  async function check(): Promise<void> {
    const checked = socket;
    try {
      await ports.probe();
      if (socket === checked) listen();
    } catch {
      // Any failure means the same.
      if (socket === checked) lose();
    }
  }
}

/** The live link: kept open, opened again when it breaks. */
import type { LiveMessage } from '@troupe/run';
import { backoffMs } from '@troupe/transport';
import { RECONNECT } from './backoff.js';

export interface LiveOptions {
  readonly base: URL;
  token(): string | undefined;
  onConnecting(): void;
  onMessage(message: LiveMessage): void;
  /** `retryAt`: a moment in ms since 1970. */
  onLost(retryAt: number): void;
}

export interface Live {
  /** Does not wait any longer; with another token, say. */
  reconnect(): void;
}

/** A link that opens this slowly is given up. */
const OPEN_MS = 10_000;
/** After so long without a message the coordinator is asked whether it is still there. */
const SILENCE_MS = 15_000;
const PROBE_MS = 5_000;

export function openLive(options: LiveOptions): Live {
  let socket: WebSocket | undefined;
  let [misses, timer, watch] = [0, 0, 0];
  /** Refused: trying again with the same token is of no use. */
  let refused = false;
  const address = new URL('live', options.base);
  address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:';
  connect();
  window.addEventListener('online', reconnect);
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden && socket === undefined && !refused) reconnect();
  });
  return { reconnect };

  function reconnect(): void {
    drop();
    refused = false;
    connect();
  }

  function drop(): void {
    clearTimeout(timer);
    clearTimeout(watch);
    const old = socket;
    socket = undefined;
    old?.close();
  }

  function connect(): void {
    options.onConnecting();
    const opened = new WebSocket(address);
    socket = opened;
    const current = (): boolean => socket === opened;
    watch = setTimeout(() => lost(), OPEN_MS);
    opened.addEventListener('open', () => {
      const token = options.token();
      opened.send(JSON.stringify(token === undefined ? {} : { token }));
      if (current()) listen();
    });
    opened.addEventListener('message', ({ data }) => {
      if (!current()) return;
      listen();
      receive(JSON.parse(data as string) as LiveMessage);
    });
    opened.addEventListener('close', () => current() && lost());
  }

  function receive(message: LiveMessage): void {
    if (message.type === 'hello') misses = 0;
    if (message.type === 'refused') {
      refused = true;
      drop();
    }
    options.onMessage(message);
  }

  function lost(): void {
    drop();
    misses++;
    const wait = backoffMs(misses, Math.random(), RECONNECT);
    timer = setTimeout(connect, wait);
    options.onLost(Date.now() + wait);
  }

  function listen(): void {
    clearTimeout(watch);
    watch = setTimeout(() => void probe(), SILENCE_MS);
  }

  /** A link may be dead without anyone having said so. */
  async function probe(): Promise<void> {
    const asked = socket;
    try {
      const answer = await fetch(new URL('healthz', options.base), { signal: AbortSignal.timeout(PROBE_MS), cache: 'no-store' });
      if (!answer.ok) throw new Error(answer.statusText);
      if (socket === asked) listen();
    } catch {
      // The answer to any failure is the same.
      if (socket === asked) lost();
    }
  }
}

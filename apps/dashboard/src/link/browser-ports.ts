/** What the live link needs of a browser. */
import type { Live, LivePorts } from './live.js';

/** The coordinator must answer a probe within this time. */
const PROBE_MS = 5_000;

/** @param base where the page came from */
export function browserPorts(base: URL): LivePorts {
  const address = new URL('live', base);
  address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:';
  return {
    openSocket({ onOpen, onText, onClose }) {
      const socket = new WebSocket(address);
      socket.addEventListener('open', onOpen);
      socket.addEventListener('message', ({ data }) => onText(data as string));
      socket.addEventListener('close', onClose);
      return socket;
    },
    async probe() {
      const answer = await fetch(new URL('healthz', base), { signal: AbortSignal.timeout(PROBE_MS), cache: 'no-store' });
      if (!answer.ok) throw new Error(answer.statusText);
    },
    after(ms, action) {
      const timer = setTimeout(action, ms);
      return () => clearTimeout(timer);
    },
    now: Date.now,
    random: Math.random,
  };
}

/** Reconnects when the network is back or the page is seen again. */
export function watchBrowser(live: Live): void {
  window.addEventListener('online', live.reconnect);
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) live.onSeen();
  });
}

/**
 * The live link of dashboards. A viewer is a place in the run's history: what it has not been sent yet is looked up there when its turn
 * comes. So a slow viewer costs no memory, and skips what it is too late for.
 */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Access, ApiError, LiveMessage, RunHistory, RunView } from '@troupe/run';
import { closeReason } from '@troupe/transport';
import { WebSocketServer, type WebSocket } from 'ws';
import type { Forwarded } from '../server/forwarded.js';
import { ApiFailure, refuseUpgrade } from '../server/http.js';
import { newestPlace, newsSince, type News, type Place } from './news.js';

/** At most four messages a second. */
const TURN_MS = 250;
/** The view has a row for each worker, so it is sent less often. */
const VIEW_MS = 1_000;
const HELLO_MS = 1_000;
/** A viewer that was refused, or told of the end, and does not close its side is cut off after this time. */
const REFUSED_MS = 1_000;
const CLOSING_MS = 2_000;
const PING_MS = 15_000;
const MAX_VIEWERS = 500;
/** Viewers of one address that are not admitted yet, or were refused. */
const MAX_UNAUTHENTICATED = 20;
const MAX_HELLO_BYTES = 4 * 1024;
/** A viewer with more bytes on their way gets nothing new. */
const MAX_BUFFERED_BYTES = 512 * 1024;
/** Views stored for a moment, by who may see what under which host name. */
const MAX_VIEWS = 16;
/** A closing code of our own, 4000 and above: RFC 6455, 7.4.2. */
const REFUSED = 4401;

export interface LiveOptions {
  readonly history: RunHistory;
  /** @throws ApiFailure when the token does not let its holder read */
  admit(token: string | undefined): readonly Access[];
  view(access: readonly Access[], request: IncomingMessage): RunView;
  nowMs(): number;
  readonly forwarded: Forwarded;
  /** Something that was not foreseen; the viewer is disconnected. */
  onFailed(error: Error): void;
}

export interface LiveLink {
  readonly viewers: number;
  /** Takes over a request to upgrade, which must come from a page of ours. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  close(reason: string): void;
}

interface Viewer {
  readonly socket: WebSocket;
  readonly request: IncomingMessage;
  readonly access: readonly Access[];
  place: Place;
  viewAtMs: number;
  alive: boolean;
}

export function createLiveLink(options: LiveOptions): LiveLink {
  return new Live(options);
}

class Live implements LiveLink {
  readonly #options: LiveOptions;
  readonly #upgrader = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: MAX_HELLO_BYTES });
  readonly #viewers = new Set<Viewer>();
  readonly #sockets = new Set<WebSocket>();
  /** Addresses of those that are not admitted. */
  readonly #unauthenticated = new Map<WebSocket, string>();
  readonly #views = new Map<string, { readonly atMs: number; readonly json: string }>();
  readonly #timers = [setInterval(() => this.#takeTurns(), TURN_MS), setInterval(() => this.#pingAll(), PING_MS)];

  constructor(options: LiveOptions) {
    this.#options = options;
    for (const timer of this.#timers) timer.unref();
  }

  get viewers(): number {
    return this.#viewers.size;
  }

  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const from = this.#options.forwarded.address(request);
    const alike = [...this.#unauthenticated.values()].filter((address) => address === from);
    if (this.#sockets.size >= MAX_VIEWERS || alike.length >= MAX_UNAUTHENTICATED) {
      return refuseUpgrade(socket, '503 Service Unavailable');
    }
    this.#upgrader.handleUpgrade(request, socket, head, (open) => this.#greet(open, request));
  }

  close(reason: string): void {
    this.#timers.forEach(clearInterval);
    // The last news is still sent: above all, the end of the run.
    for (const viewer of this.#viewers) viewer.viewAtMs = -Infinity;
    this.#takeTurns();
    for (const socket of this.#sockets) socket.close(1001, closeReason(reason));
    setTimeout(() => this.#sockets.forEach((socket) => socket.terminate()), CLOSING_MS).unref();
  }

  #greet(socket: WebSocket, request: IncomingMessage): void {
    this.#sockets.add(socket);
    this.#unauthenticated.set(socket, this.#options.forwarded.address(request));
    // An error ends its link, and `close` follows.
    socket.on('error', () => socket.terminate());
    const start = (text?: string): void => {
      clearTimeout(timer);
      socket.off('message', onHello);
      this.#guarded(socket, () => this.#admit(socket, request, text));
    };
    const onHello = (data: Buffer): void => start(data.toString('utf8'));
    const timer = setTimeout(start, HELLO_MS);
    socket.once('message', onHello);
    socket.on('close', () => {
      clearTimeout(timer);
      this.#sockets.delete(socket);
      this.#unauthenticated.delete(socket);
    });
  }

  #admit(socket: WebSocket, request: IncomingMessage, text: string | undefined): void {
    const { history, nowMs, view } = this.#options;
    const access = this.#accessOf(socket, text);
    if (!access) return;
    const viewer: Viewer = { socket, request, access, place: newestPlace(history), viewAtMs: nowMs(), alive: true };
    const { lastRound, lastEvent } = history;
    send(socket, { type: 'hello', view: view(access, request), lastRound, lastEvent });
    this.#viewers.add(viewer);
    this.#unauthenticated.delete(socket);
    socket.on('pong', () => (viewer.alive = true));
    socket.on('close', () => this.#viewers.delete(viewer));
  }

  /** @returns undefined for a viewer that may not read, which is told so and closed */
  #accessOf(socket: WebSocket, text: string | undefined): readonly Access[] | undefined {
    try {
      return this.#options.admit(tokenOf(text));
    } catch (error) {
      if (!(error instanceof ApiFailure)) throw error;
      const { code, message, remedy } = error;
      send(socket, { type: 'refused', code, message, remedy } satisfies { type: 'refused' } & ApiError);
      socket.close(REFUSED, code);
      setTimeout(() => socket.terminate(), REFUSED_MS).unref();
      return undefined;
    }
  }

  #pingAll(): void {
    for (const viewer of this.#viewers) {
      if (viewer.alive) viewer.socket.ping();
      else viewer.socket.terminate();
      viewer.alive = false;
    }
  }

  #takeTurns(): void {
    /** Of this moment, by place. */
    const newsFrom = new Map<string, News>();
    for (const viewer of this.#viewers) this.#guarded(viewer.socket, () => this.#sendNews(viewer, newsFrom));
  }

  /** A failure costs a viewer its link, and does not touch the run. */
  #guarded(socket: WebSocket, act: () => void): void {
    try {
      act();
    } catch (error) {
      socket.terminate();
      this.#options.onFailed(error as Error);
    }
  }

  #sendNews(viewer: Viewer, newsFrom: Map<string, News>): void {
    if (viewer.socket.readyState !== viewer.socket.OPEN || viewer.socket.bufferedAmount > MAX_BUFFERED_BYTES) return;
    const { text, urgent } = this.#newsFor(viewer, newsFrom);
    if (urgent) viewer.viewAtMs = -Infinity;
    const view = this.#viewFor(viewer);
    if (text === undefined && view === undefined) return;
    const update = text ?? JSON.stringify({ type: 'update' } satisfies LiveMessage);
    sendText(viewer.socket, view === undefined ? update : `${update.slice(0, -1)},"view":${view}}`);
  }

  /** Put together once for all viewers at the same place, who move on to the newest. */
  #newsFor(viewer: Viewer, newsFrom: Map<string, News>): News {
    const { history } = this.#options;
    const key = Object.values(viewer.place).join();
    let news = newsFrom.get(key);
    if (!news) newsFrom.set(key, (news = newsSince(history, viewer.place)));
    viewer.place = newestPlace(history);
    return news;
  }

  /** As JSON, when one is due; put together once for all viewers who see the same. */
  #viewFor(viewer: Viewer): string | undefined {
    const { forwarded, nowMs, view } = this.#options;
    const now = nowMs();
    if (now - viewer.viewAtMs < VIEW_MS) return undefined;
    viewer.viewAtMs = now;
    const { access, request } = viewer;
    // Admins see a link, which names the host by which they reached us.
    const host = access.includes('admin') ? ` ${forwarded.scheme(request)} ${forwarded.host(request)}` : '';
    const key = access.join() + host;
    const stored = this.#views.get(key);
    if (stored && now - stored.atMs < TURN_MS / 2) return stored.json;
    const json = JSON.stringify(view(access, request));
    if (this.#views.size > MAX_VIEWS) this.#views.clear();
    this.#views.set(key, { atMs: now, json });
    return json;
  }
}

function send(socket: WebSocket, message: LiveMessage): void {
  sendText(socket, JSON.stringify(message));
}

function sendText(socket: WebSocket, text: string): void {
  // A failed write also ends in the socket's `error` or `close`, which is where it is dealt with.
  socket.send(text, () => undefined);
}

/** @returns undefined when none is given; an empty one, which opens nothing, when the text is no hello */
function tokenOf(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== 'object' || value === null) return '';
    const { token } = value as { token?: unknown };
    return token === undefined || typeof token === 'string' ? token : '';
  } catch {
    return '';
  }
}

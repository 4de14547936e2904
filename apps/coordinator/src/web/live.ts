/**
 * The live link of dashboards. A viewer is a place in the run's history: what it has not been sent yet is looked up there at its
 * next turn. A slow viewer therefore costs no memory, and misses what came in between.
 */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { addressKey, LIMITS } from '@troupe/protocol';
import type { ApiError, LiveMessage, RunHistory, RunView } from '@troupe/run';
import { closeReason } from '@troupe/transport';
import { WebSocketServer, type WebSocket } from 'ws';
import type { WrongTokens } from '../access/wrong-tokens.js';
import type { Account } from '../server/caps.js';
import type { Forwarded } from '../server/forwarded.js';
import { ApiFailure, refuseUpgrade } from '../server/http.js';
import { excessError, type Traffic } from '../server/traffic.js';
import type { Admission, Reader } from './auth.js';
import { newestPlace, newsSince, type News, type Place } from './news.js';

/** At most four messages a second. */
const TURN_MS = 250;
/** The view has a row for each worker, so it is sent less often. */
const VIEW_MS = 1_000;
const PING_MS = 15_000;
/** Views that are stored for a moment, by access and host name. */
const STORED_VIEWS = 16;
/** A closing code of our own, 4000 and above: RFC 6455, 7.4.2. */
const REFUSED = 4401;

export interface LiveOptions {
  readonly history: RunHistory;
  /** @throws ApiFailure when the token does not let its holder read */
  admit(token: string | undefined): Admission;
  /** Absent: there are no tokens. */
  readonly wrongTokens?: WrongTokens;
  /** Counts what an address has open and sends. */
  readonly traffic: Pick<Traffic, 'caps' | 'nowMs'>;
  view(reader: Reader, request: IncomingMessage): RunView;
  /** The viewer at the other end of this socket has shown a token. */
  onAdmitted?(socket: Socket): void;
  nowMs(): number;
  readonly forwarded: Forwarded;
  /** An unexpected error. The viewer is disconnected. */
  onFailed(error: Error): void;
}

export interface LiveLink {
  readonly viewers: number;
  /** Takes over an upgrade request. The caller has checked that it comes from a page of this server. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  close(reason: string): void;
}

interface Viewer extends Reader {
  readonly socket: WebSocket;
  readonly request: IncomingMessage;
  /** The account of its address; see `addressKey`. */
  readonly from: string | undefined;
  place: Place;
  viewAtMs: number;
  alive: boolean;
}

export function createLiveLink(options: LiveOptions): LiveLink {
  return new Live(options);
}

class Live implements LiveLink {
  readonly #options: LiveOptions;
  readonly #upgrader = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: LIMITS.viewerHelloBytes });
  readonly #viewers = new Set<Viewer>();
  readonly #sockets = new Set<WebSocket>();
  /** Addresses of viewers that are not admitted. */
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
    if (this.#sockets.size >= LIMITS.viewers || alike.length >= LIMITS.unauthenticatedViewers) {
      return refuseUpgrade(socket, '503 Service Unavailable');
    }
    const { caps, nowMs } = this.#options.traffic;
    const key = this.#keyOf(request);
    const account = key === undefined ? undefined : caps.account(key);
    if (account?.open(nowMs())) return refuseUpgrade(socket, '429 Too Many Requests');
    socket.once('close', () => account?.close());
    this.#upgrader.handleUpgrade(request, socket, head, (open) => {
      this.#greet(open, request);
      if (account) this.#count(open, account);
    });
  }

  close(reason: string): void {
    this.#timers.forEach(clearInterval);
    // The last news is still sent: above all, the end of the run.
    for (const viewer of this.#viewers) viewer.viewAtMs = -Infinity;
    this.#takeTurns();
    for (const socket of this.#sockets) socket.close(1001, closeReason(reason));
    setTimeout(() => this.#sockets.forEach((socket) => socket.terminate()), LIMITS.viewerCloseMs).unref();
  }

  #keyOf(request: IncomingMessage): string | undefined {
    const { forwarded } = this.#options;
    return addressKey(forwarded.address(request), forwarded.forwardedFor(request) !== undefined);
  }

  /** A viewer sends one message. One that sends on is stopped by the caps of its address. */
  #count(socket: WebSocket, account: Account): void {
    socket.on('message', (data: Buffer) => {
      const excess = account.frame(data.byteLength, this.#options.traffic.nowMs());
      if (!excess) return;
      const { code, message, remedy } = excessError(excess, 'this address');
      this.#refuse(socket, new ApiFailure(429, code, message, remedy));
    });
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
    const timer = setTimeout(start, LIMITS.viewerHelloMs);
    socket.once('message', onHello);
    socket.on('close', () => {
      clearTimeout(timer);
      this.#sockets.delete(socket);
      this.#unauthenticated.delete(socket);
    });
  }

  #admit(socket: WebSocket, request: IncomingMessage, text: string | undefined): void {
    const { history, nowMs, view } = this.#options;
    const from = this.#keyOf(request);
    const admission = this.#admissionOf(socket, text, from);
    if (!admission) return;
    // Without a token it is a stranger still, and makes room for others.
    if (tokenOf(text)) this.#options.onAdmitted?.(request.socket);
    const { access, isSigned, ended, release } = admission;
    const viewer: Viewer = {
      socket,
      request,
      access,
      isSigned,
      from,
      place: newestPlace(history),
      viewAtMs: nowMs(),
      alive: true,
    };
    ended?.addEventListener('abort', () => this.#expel(viewer, ended.reason as ApiFailure), { once: true });
    socket.on('close', () => {
      this.#viewers.delete(viewer);
      release();
    });
    const { lastRound, lastEvent } = history;
    send(socket, { type: 'hello', view: view(viewer, request), lastRound, lastEvent });
    this.#viewers.add(viewer);
    this.#unauthenticated.delete(socket);
    socket.on('pong', () => (viewer.alive = true));
  }

  /** @returns undefined if the viewer may not read. It is sent the reason, and closed */
  #admissionOf(socket: WebSocket, text: string | undefined, from: string | undefined): Admission | undefined {
    try {
      const admission = this.#options.admit(tokenOf(text));
      const crowd = admission.access.includes('admin') ? undefined : crowdAt(this.#viewers, from);
      if (!crowd) return admission;
      admission.release();
      throw crowd;
    } catch (error) {
      if (!(error instanceof ApiFailure)) throw error;
      const { wrongTokens } = this.#options;
      if (error.code !== 'wrong_token' || !wrongTokens) this.#refuse(socket, error);
      else void wrongTokens.counted(from).then(() => this.#refuse(socket, error));
      return undefined;
    }
  }

  /** Its token is no longer valid. It is sent nothing more but the reason. */
  #expel(viewer: Viewer, failure: ApiFailure): void {
    this.#viewers.delete(viewer);
    this.#refuse(viewer.socket, failure);
  }

  #refuse(socket: WebSocket, { code, message, remedy }: ApiFailure): void {
    send(socket, { type: 'refused', code, message, remedy } satisfies { type: 'refused' } & ApiError);
    socket.close(REFUSED, code);
    setTimeout(() => socket.terminate(), LIMITS.viewerCloseMs).unref();
  }

  #pingAll(): void {
    for (const viewer of this.#viewers) {
      if (viewer.alive) viewer.socket.ping();
      else viewer.socket.terminate();
      viewer.alive = false;
    }
  }

  #takeTurns(): void {
    /** Shared by all viewers at the same place with the same access. */
    const newsFrom = new Map<string, News>();
    for (const viewer of this.#viewers) this.#guarded(viewer.socket, () => this.#sendNews(viewer, newsFrom));
  }

  /** An error closes the link of one viewer and does not affect the run. */
  #guarded(socket: WebSocket, act: () => void): void {
    try {
      act();
    } catch (error) {
      socket.terminate();
      this.#options.onFailed(error as Error);
    }
  }

  #sendNews(viewer: Viewer, newsFrom: Map<string, News>): void {
    if (viewer.socket.readyState !== viewer.socket.OPEN || viewer.socket.bufferedAmount > LIMITS.viewerBufferedBytes) return;
    const { text, urgent } = this.#newsFor(viewer, newsFrom);
    if (urgent) viewer.viewAtMs = -Infinity;
    const view = this.#viewFor(viewer);
    if (text === undefined && view === undefined) return;
    const update = text ?? JSON.stringify({ type: 'update' } satisfies LiveMessage);
    sendText(viewer.socket, view === undefined ? update : `${update.slice(0, -1)},"view":${view}}`);
  }

  /** The viewer's place moves to the newest. The news is created once for all viewers at the same place with the same access. */
  #newsFor(viewer: Viewer, newsFrom: Map<string, News>): News {
    const { history } = this.#options;
    const key = [...viewer.access, JSON.stringify(viewer.place)].join();
    let news = newsFrom.get(key);
    if (!news) newsFrom.set(key, (news = newsSince(history, viewer.place, viewer.access)));
    viewer.place = newestPlace(history);
    return news;
  }

  /** The view as JSON, if one is due. It is created once for all viewers that see the same. */
  #viewFor(viewer: Viewer): string | undefined {
    const { forwarded, nowMs, view } = this.#options;
    const now = nowMs();
    if (now - viewer.viewAtMs < VIEW_MS) return undefined;
    viewer.viewAtMs = now;
    const { access, isSigned, request } = viewer;
    // Admins see a join link, which contains the host name of their request.
    const host = access.includes('admin') ? ` ${forwarded.scheme(request)} ${forwarded.host(request)}` : '';
    const key = `${access.join()} ${isSigned}${host}`;
    const stored = this.#views.get(key);
    if (stored && now - stored.atMs < TURN_MS / 2) return stored.json;
    const json = JSON.stringify(view(viewer, request));
    if (this.#views.size > STORED_VIEWS) this.#views.clear();
    this.#views.set(key, { atMs: now, json });
    return json;
  }
}

/** Why there is no place for one more who is no admin. @param from undefined: an address of this machine, which may have all places */
function crowdAt(viewers: Iterable<Pick<Viewer, 'access' | 'from'>>, from: string | undefined): ApiFailure | undefined {
  const others = [...viewers].filter(({ access }) => !access.includes('admin'));
  const alike = from === undefined ? 0 : others.filter((other) => other.from === from).length;
  const full = (whose: string, cap: number): ApiFailure =>
    new ApiFailure(
      429,
      'too_many_links',
      `${whose} already has ${cap} dashboards, which is as many as it may have`,
      'Try again when another has closed. Admins can connect even now.',
    );
  if (alike >= LIMITS.viewersOfAddress) return full('this address', LIMITS.viewersOfAddress);
  const most = LIMITS.viewers - LIMITS.viewersKeptForAdmins;
  return others.length >= most ? full('this run', most) : undefined;
}

function send(socket: WebSocket, message: LiveMessage): void {
  sendText(socket, JSON.stringify(message));
}

function sendText(socket: WebSocket, text: string): void {
  // The socket's `error` and `close` handlers deal with a failed write.
  socket.send(text, () => undefined);
}

/** @returns undefined without a token; an empty one, which is always wrong, if the text is not a hello */
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

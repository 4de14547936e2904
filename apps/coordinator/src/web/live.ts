/**
 * The live link of the dashboard. A viewer is a place in the run's history: what it has not been sent yet is looked up there when its turn
 * comes, so that a slow one costs no memory, and skips what it is too late for.
 */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Access, ApiError, LiveMessage, RunHistory, RunView } from '@troupe/run';
import { closeReason } from '@troupe/transport';
import { WebSocketServer, type WebSocket } from 'ws';
import { ApiFailure, refuseUpgrade } from '../server/http.js';
import type { Forwarded } from '../server/forwarded.js';

/** Four messages a second at most. */
const TURN_MS = 250;
/** The view holds a row for every worker. */
const VIEW_MS = 1_000;
const HELLO_MS = 1_000;
/** Whoever is turned away, or told of the end, and does not close its side is cut off. */
const REFUSED_MS = 1_000;
const CLOSING_MS = 2_000;
const PING_MS = 15_000;
const MAX_VIEWERS = 500;
/** Of one address, not admitted yet or turned away. */
const MAX_STRANGERS = 20;
const MAX_HELLO_BYTES = 4 * 1024;
/** A viewer with more on its way gets nothing new. */
const MAX_BUFFERED_BYTES = 512 * 1024;
/** In one message, of each kind. */
const MAX_POINTS = 500;
const MAX_EVENTS = 200;
const MAX_SAMPLES = 8;
/** Kept for a moment, by who sees them under what name. */
const MAX_VIEWS = 16;
/** Closing codes of our own, 4000 and above: RFC 6455, 7.4.2. */
const REFUSED = 4401;

export interface LiveOptions {
  readonly history: RunHistory;
  /** @throws ApiFailure when the token does not let its holder read */
  admit(token: string | undefined): readonly Access[];
  view(access: readonly Access[], request: IncomingMessage): RunView;
  nowMs(): number;
  readonly forwarded: Forwarded;
  /** Something that was not foreseen; the viewer is let go. */
  onFailed(error: Error): void;
}

export interface LiveLink {
  readonly viewers: number;
  /** Takes over a request to upgrade, which comes from a page of ours. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  close(reason: string): void;
}

interface Viewer {
  readonly socket: WebSocket;
  readonly request: IncomingMessage;
  readonly access: readonly Access[];
  /** What was sent last. */
  round: number;
  event: number;
  evaluation: number;
  sample: number;
  flow: number;
  viewAtMs: number;
  alive: boolean;
}

interface News {
  /** An update; undefined = nothing new. */
  readonly text: string | undefined;
  /** Who has pressed a button wants to see that it did something. */
  readonly urgent: boolean;
}

export function createLiveLink(options: LiveOptions): LiveLink {
  const { history, forwarded } = options;
  const upgrader = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: MAX_HELLO_BYTES });
  const viewers = new Set<Viewer>();
  const sockets = new Set<WebSocket>();
  const views = new Map<string, { readonly atMs: number; readonly json: string }>();
  /** Who is not admitted, with its address. */
  const strangers = new Map<WebSocket, string>();
  /** Of this moment, by what a viewer was sent last. */
  const newsFrom = new Map<string, News>();
  const turns = setInterval(takeTurns, TURN_MS);
  const pings = setInterval(() => viewers.forEach(ping), PING_MS);
  turns.unref();
  pings.unref();

  return {
    get viewers() {
      return viewers.size;
    },
    upgrade(request, socket, head) {
      const from = forwarded.address(request);
      const alike = [...strangers.values()].filter((address) => address === from);
      if (sockets.size >= MAX_VIEWERS || alike.length >= MAX_STRANGERS) {
        refuseUpgrade(socket, '503 Service Unavailable');
        return;
      }
      upgrader.handleUpgrade(request, socket, head, (open) => greet(open, request));
    },
    close(reason) {
      clearInterval(turns);
      clearInterval(pings);
      // What came last is still told: the end of the run, above all.
      for (const viewer of viewers) viewer.viewAtMs = -Infinity;
      takeTurns();
      for (const socket of sockets) socket.close(1001, closeReason(reason));
      setTimeout(() => sockets.forEach((socket) => socket.terminate()), CLOSING_MS).unref();
    },
  };

  function greet(socket: WebSocket, request: IncomingMessage): void {
    sockets.add(socket);
    strangers.set(socket, forwarded.address(request));
    // What is wrong with a link ends that link, and `close` follows.
    socket.on('error', () => socket.terminate());
    socket.on('close', () => {
      clearTimeout(timer);
      sockets.delete(socket);
      strangers.delete(socket);
    });
    const start = (text?: string): void => {
      clearTimeout(timer);
      socket.off('message', onHello);
      try {
        admit(socket, request, text);
      } catch (error) {
        socket.terminate();
        options.onFailed(error as Error);
      }
    };
    const onHello = (data: Buffer): void => start(data.toString('utf8'));
    const timer = setTimeout(start, HELLO_MS);
    socket.once('message', onHello);
  }

  function admit(socket: WebSocket, request: IncomingMessage, text: string | undefined): void {
    let access: readonly Access[];
    try {
      access = options.admit(tokenOf(text));
    } catch (error) {
      if (!(error instanceof ApiFailure)) throw error;
      const { code, message, remedy } = error;
      send(socket, { type: 'refused', code, message, remedy } satisfies { type: 'refused' } & ApiError);
      socket.close(REFUSED, code);
      setTimeout(() => socket.terminate(), REFUSED_MS).unref();
      return;
    }
    const { evaluations, samples, flows, lastRound, lastEvent } = history;
    const viewer: Viewer = {
      socket,
      request,
      access,
      round: lastRound,
      event: lastEvent,
      evaluation: evaluations.at(-1)?.round ?? -1,
      sample: samples.at(-1)?.round ?? -1,
      flow: flows.at(-1)?.round ?? -1,
      viewAtMs: options.nowMs(),
      alive: true,
    };
    send(socket, { type: 'hello', view: options.view(access, request), lastRound, lastEvent });
    viewers.add(viewer);
    strangers.delete(socket);
    socket.on('pong', () => (viewer.alive = true));
    socket.on('close', () => viewers.delete(viewer));
  }

  function ping(viewer: Viewer): void {
    if (!viewer.alive) return viewer.socket.terminate();
    viewer.alive = false;
    viewer.socket.ping();
  }

  function takeTurns(): void {
    newsFrom.clear();
    viewers.forEach(takeTurn);
  }

  /** Whatever is wrong with a view, the run goes on. */
  function takeTurn(viewer: Viewer): void {
    try {
      sendNews(viewer);
    } catch (error) {
      viewer.socket.terminate();
      options.onFailed(error as Error);
    }
  }

  function sendNews(viewer: Viewer): void {
    if (viewer.socket.readyState !== viewer.socket.OPEN || viewer.socket.bufferedAmount > MAX_BUFFERED_BYTES) return;
    const { text, urgent } = newsFor(viewer);
    if (urgent) viewer.viewAtMs = -Infinity;
    const view = viewFor(viewer);
    if (text === undefined && view === undefined) return;
    const update = text ?? JSON.stringify({ type: 'update' } satisfies LiveMessage);
    sendText(viewer.socket, view === undefined ? update : `${update.slice(0, -1)},"view":${view}}`);
  }

  /** Put together once for all who stand at the same place, which moves on to the newest. */
  function newsFor(viewer: Viewer): News {
    const place = [viewer.round, viewer.event, viewer.evaluation, viewer.sample, viewer.flow].join();
    let news = newsFrom.get(place);
    if (!news) newsFrom.set(place, (news = newsSince(viewer)));
    const { evaluations, samples, flows, lastRound, lastEvent } = history;
    viewer.round = lastRound;
    viewer.event = lastEvent;
    viewer.evaluation = evaluations.at(-1)?.round ?? -1;
    viewer.sample = samples.at(-1)?.round ?? -1;
    viewer.flow = flows.at(-1)?.round ?? -1;
    return news;
  }

  function newsSince(viewer: Viewer): News {
    const { lastRound } = history;
    const points = lastRound > viewer.round ? history.points(viewer.round + 1, lastRound, MAX_POINTS).points : undefined;
    const evaluations = newest(history.evaluations, ({ round }) => round > viewer.evaluation);
    const flow = history.flows.at(-1);
    const events = newest(history.events, ({ id }) => id > viewer.event).slice(-MAX_EVENTS);
    const samples = newest(history.samples, ({ round }) => round > viewer.sample).slice(-MAX_SAMPLES);
    const news = {
      ...(points ? { points } : {}),
      ...(evaluations.length > 0 ? { evaluations } : {}),
      ...(flow && flow.round > viewer.flow ? { flow } : {}),
      ...(events.length > 0 ? { events } : {}),
      ...(samples.length > 0 ? { samples } : {}),
    };
    const isNew = Object.keys(news).length > 0;
    return {
      text: isNew ? JSON.stringify({ type: 'update', ...news } satisfies LiveMessage) : undefined,
      urgent: events.some(({ kind }) => kind === 'control'),
    };
  }

  /** JSON; put together once for all who see the same. */
  function viewFor(viewer: Viewer): string | undefined {
    const now = options.nowMs();
    if (now - viewer.viewAtMs < VIEW_MS) return undefined;
    viewer.viewAtMs = now;
    const { access, request } = viewer;
    const key = access.includes('admin')
      ? `${access.join()} ${forwarded.scheme(request)} ${forwarded.host(request)}`
      : access.join();
    const known = views.get(key);
    if (known && now - known.atMs < TURN_MS / 2) return known.json;
    const json = JSON.stringify(options.view(viewer.access, viewer.request));
    if (views.size > MAX_VIEWS) views.clear();
    views.set(key, { atMs: now, json });
    return json;
  }
}

function newest<T>(list: readonly T[], isNew: (item: T) => boolean): readonly T[] {
  let first = list.length;
  while (first > 0 && isNew(list[first - 1])) first--;
  return list.slice(first);
}

function send(socket: WebSocket, message: LiveMessage): void {
  sendText(socket, JSON.stringify(message));
}

function sendText(socket: WebSocket, text: string): void {
  // A failed write also ends in the socket's `error` or `close`, which is where it is dealt with.
  socket.send(text, () => undefined);
}

/** @returns undefined when none is given; one that fits nothing when what came is no hello */
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

/** One HTTP server for everything: pages, API, and the WebSockets of workers and viewers. */
import { createServer, Server, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { LIMITS } from '@troupe/protocol';
import type { Certificate } from './certificate.js';
import type { Report } from '../reporter.js';
import { fail, type Api } from '../web/api.js';
import type { Auth } from '../web/auth.js';
import { ApiFailure, sendText } from './http.js';
import type { LiveLink } from '../web/live.js';
import { loadSite, type StaticSite } from './static-site.js';

export interface WebServer {
  /** To be listened with; speaks https where there is a certificate. */
  readonly server: Server;
  /** The same in plain, for workers that this machine alone can start: to be listened with on the loopback, or not at all. */
  readonly local: Server;
  /** For WebSockets of workers to be attached to: what comes in at `server` and is no viewer's arrives here. It never listens. */
  readonly links: Server;
  /** As shown now. */
  readonly certificate: Certificate | undefined;
  /** Shown from now on; links that are open go on with the one before. */
  renew(certificate: Certificate): void;
  /** From now on pages and API answer; until then whoever comes is asked to come again. */
  open(routes: Routes): void;
  close(): void;
}

export interface Routes {
  readonly auth: Auth;
  readonly api: Api;
  readonly live: LiveLink;
  readonly dashboard: StaticSite | undefined;
  readonly volunteer: StaticSite | undefined;
}

/** Where the builds of the two pages are, seen from dist/web and src/web alike. */
const built = (folder: string): string => fileURLToPath(new URL(`../../../${folder}`, import.meta.url));

export async function loadPages(): Promise<Pick<Routes, 'dashboard' | 'volunteer'>> {
  const [dashboard, volunteer] = await Promise.all([loadSite(built('dashboard/dist')), loadSite(built('volunteer/dist'))]);
  return { dashboard, volunteer };
}

/** Whoever does not shake hands by then is let go. */
const HANDSHAKE_MS = 10_000;

export function createWebServer(report: Report, first?: Certificate): WebServer {
  let routes: Routes | undefined;
  let certificate = first;
  const links = new Server();
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const answering = routes ? answer(routes, request, response) : notYet(request, response);
    answering.catch((error: unknown) => fail(error, request, response, report)).catch(() => response.destroy());
  };
  const onUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    if (pathOf(request) === '/live' && routes) upgrade(routes, request, socket, head);
    else links.emit('upgrade', request, socket, head);
  };
  const secure = first && createSecureServer({ cert: first.cert, key: first.key, handshakeTimeout: HANDSHAKE_MS }, onRequest);
  const local = createServer(onRequest);
  const server = secure ?? createServer(onRequest);
  const dropHandshakes = secure ? watchHandshakes(secure) : () => undefined;
  for (const one of [server, local]) {
    // Of every worker two, and viewers and those who look in.
    one.maxConnections = 2 * LIMITS.workers + 2_000;
    one.on('upgrade', onUpgrade);
  }
  return {
    server,
    local,
    links,
    get certificate() {
      return certificate;
    },
    renew(renewed) {
      certificate = renewed;
      secure?.setSecureContext({ cert: renewed.cert, key: renewed.key });
    },
    open(opened) {
      routes = opened;
    },
    close() {
      routes?.live.close('the run is over');
      for (const one of [server, local]) {
        one.close();
        one.closeAllConnections();
      }
      dropHandshakes();
    },
  };
}

/** A server knows no connections that have not shaken hands yet, and would be kept from its end by them. @returns what lets them go */
function watchHandshakes(server: Server): () => void {
  const shaking = new Map<string, Socket>();
  const keyOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`;
  server.on('connection', (socket: Socket) => {
    const key = keyOf(socket);
    shaking.set(key, socket);
    socket.once('close', () => shaking.delete(key));
  });
  server.on('secureConnection', (socket: Socket) => shaking.delete(keyOf(socket)));
  return () => shaking.forEach((socket) => socket.destroy());
}

function pathOf({ url = '/' }: IncomingMessage): string {
  return url.split('?', 1)[0];
}

function notYet(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const headers = { 'retry-after': '1' };
  return sendText(request, response, 'The run is about to start.\n', { status: 503, headers });
}

async function answer(
  { auth, api, dashboard, volunteer }: Routes,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const pathname = pathOf(request);
  const query = new URLSearchParams(request.url?.slice(pathname.length) ?? '');
  if (await api.answer(pathname, query, request, response)) return;
  auth.checkSite(request);
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('allow', 'GET, HEAD');
    return sendText(request, response, 'Only GET is for this path.\n', { status: 405 });
  }
  if (pathname === '/join') {
    response.writeHead(308, { location: '/join/' }).end();
    return;
  }
  const ofVolunteer = pathname.startsWith('/join/');
  const site = ofVolunteer ? volunteer : dashboard;
  const within = ofVolunteer ? pathname.slice('/join'.length) : pathname;
  if (site?.answer(within, request, response)) return;
  if (site === undefined && within === '/') return sendText(request, response, NOT_BUILT);
  return sendText(request, response, 'There is nothing here. The dashboard is at /, the page for volunteers at /join/.\n', {
    status: 404,
  });
}

const NOT_BUILT = [
  'This is a Troupe coordinator, and it is at work. Its pages were not built.',
  '',
  'Run "npm run build" in the folder of the project, and start the coordinator anew.',
  'Until then /api/run says how the run stands.',
  '',
].join('\n');

function upgrade({ auth, live }: Routes, request: IncomingMessage, socket: Duplex, head: Buffer): void {
  try {
    auth.checkSite(request);
  } catch (error) {
    if (!(error instanceof ApiFailure)) throw error;
    socket.on('error', () => socket.destroy());
    socket.end('HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
    return;
  }
  live.upgrade(request, socket, head);
}

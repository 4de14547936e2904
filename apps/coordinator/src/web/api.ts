/** The routes of the HTTP API. openapi.ts describes them for its users. */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { MODEL_FORMS, type ModelForm } from '@troupe/export';
import { LIMITS } from '@troupe/protocol';
import type {
  Access,
  BansView,
  CreditsView,
  EventsView,
  FlowView,
  HistoryView,
  NetworkView,
  PlayMessage,
  RunsView,
  SamplesView,
} from '@troupe/run';
import type { ModelDownloads } from '../models/model-downloads.js';
import type { Control } from './control.js';
import { bearer, holdsSigned, type Auth, type Need, type Reader } from './auth.js';
import { API_HEADERS, ApiFailure, readJson, sendJson, sendText } from '../server/http.js';
import type { Exchange } from '../server/mounts.js';
import { cutOffWhenStalled, pieces, sendPaced } from '../server/pace.js';
import type { MountPoint } from '../server/server.js';
import type { Metrics } from './metrics.js';
import { openapiAt } from './openapi.js';
import type { Playground } from './playground.js';
import { eventsFor } from './redact.js';
import { runFacts, type ViewSource } from './views.js';

export interface ApiParts extends ViewSource {
  readonly control: Control;
  readonly auth: Auth;
  readonly mount: MountPoint;
  readonly metrics: Metrics;
  readonly playground: Playground;
  readonly models: ModelDownloads;
  /** The runs to compare with that the client may see, this one included. */
  runs(access: readonly Access[]): Promise<RunsView['runs']>;
  bans(): BansView;
  /** Who computed what. */
  credits(): CreditsView;
  /** For a machine that looks whether it could join. */
  network(): NetworkView;
  /** Aborts when the run is over. */
  readonly over: AbortSignal;
}

interface Call extends Exchange, Reader {}

interface Route {
  readonly need: Need | 'none';
  readonly method: 'GET' | 'POST';
  answer(call: Call): Promise<void>;
}

export interface Api {
  readonly paths: readonly string[];
  /** @returns false when the path does not belong to the API. @throws ApiFailure */
  answer(exchange: Exchange): Promise<boolean>;
}

export function createApi(parts: ApiParts): Api {
  const routes = new Map(Object.entries(routesOf(parts)));
  return {
    paths: [...routes.keys()],
    async answer(exchange) {
      const { path } = exchange;
      const route = routes.get(path);
      if (route) await follow(route, parts, exchange);
      else if (path === '/api' || path.startsWith('/api/')) {
        throw new ApiFailure(
          404,
          'no_such_path',
          `there is nothing at ${parts.mount.prefix}${path}`,
          'See the API description, /api/openapi.json.',
        );
      }
      return route !== undefined;
    },
  };
}

async function follow(route: Route, { auth, mount }: ApiParts, call: Exchange): Promise<void> {
  const { method = 'GET' } = call.request;
  const allowed = route.method === 'GET' ? ['GET', 'HEAD'] : ['POST'];
  // A supervisor asks for /healthz, and may do so under any host name. Workers join under any name too, and always with a token.
  if (route.need !== 'none' && route.need !== 'join') mount.checkSite(call.request);
  if (!allowed.includes(method)) {
    call.response.setHeader('allow', allowed.join(', '));
    throw new ApiFailure(405, 'wrong_method', `${mount.prefix}${call.path} does not support ${method}`, `Use ${allowed[0]}.`);
  }
  const token = bearer(call.request);
  const access = route.need === 'none' ? [] : auth.admit(token, route.need);
  await route.answer({ ...call, access, isSigned: holdsSigned(token) });
}

function routesOf(parts: ApiParts): Record<string, Route> {
  const { board, conductor, control, metrics } = parts;
  const { history } = board;
  const get = (need: Route['need'], answer: Route['answer']): Route => ({ need, method: 'GET', answer });
  const json = (need: Route['need'], value: (call: Call) => unknown): Route =>
    get(need, async (call) => sendJson(call.request, call.response, await value(call)));
  return {
    '/healthz': json('none', () => {
      const { phase, round } = conductor.status();
      return { status: 'ok', phase, round };
    }),
    '/metrics': get('metrics', async ({ request, response }) => {
      const { text, type } = await metrics.read();
      await sendText(request, response, text, { type });
    }),
    '/api/openapi.json': json('none', () => openapiAt(parts.mount.prefix)),
    '/api/run': json('worker', (call) => runFacts(parts, call, call.request)),
    '/api/credits': json('worker', () => parts.credits()),
    '/api/network': json('join', () => parts.network()),
    '/api/history': json('read', (call) => historyView(parts, call)),
    '/api/samples': json('read', (): SamplesView => ({ samples: history.samples })),
    '/api/events': json('read', ({ query, access }): EventsView => {
      const after = numberIn(query, 'after', 0, 0, Number.MAX_SAFE_INTEGER);
      return {
        events: eventsFor(
          access,
          history.events.filter(({ id }) => id > after),
        ),
        last: history.lastEvent,
      };
    }),
    '/api/flow': json('read', (): FlowView => ({ flows: history.flows })),
    '/api/runs': json('read', async ({ access }): Promise<RunsView> => ({ runs: await parts.runs(access) })),
    ...modelRoutes(parts),
    '/api/bans': json('admin', () => parts.bans()),
    '/api/checkpoint': get('admin', (call) => sendCheckpoint(parts, call)),
    '/api/control': {
      need: 'admin',
      method: 'POST',
      answer: async ({ request, response }) => sendJson(request, response, await control(await readJson(request))),
    },
    '/api/sample': { need: 'read', method: 'POST', answer: (call) => streamSample(parts, call) },
  };
}

/** The page is for volunteers too, who offer it to others. */
function modelRoutes(parts: ApiParts): Record<string, Route> {
  const routeOf = (form: ModelForm): Route => ({
    need: form === 'web' ? 'worker' : 'read',
    method: 'GET',
    answer: (call) => sendModel(parts, form, call),
  });
  return Object.fromEntries(MODEL_FORMS.map((form) => [`/api/model/${form}`, routeOf(form)]));
}

function historyView({ board: { history } }: ApiParts, { query, access }: Call): HistoryView {
  const { firstRound, lastRound } = history;
  const from = numberIn(query, 'from', 0, 0, Number.MAX_SAFE_INTEGER);
  const to = numberIn(query, 'to', lastRound, 0, Number.MAX_SAFE_INTEGER);
  // Large responses are expensive, so only admins may request them.
  const allowed = access.includes('admin') ? LIMITS.historyPoints : LIMITS.viewerHistoryPoints;
  const most = Math.min(numberIn(query, 'points', LIMITS.viewerHistoryPoints, 8, LIMITS.historyPoints), allowed);
  const evaluations = history.evaluations.filter(({ round }) => round >= from && round <= to);
  return { ...history.points(from, to, most), evaluations, firstRound, lastRound };
}

function numberIn(query: URLSearchParams, name: string, fallback: number, least: number, most: number): number {
  const text = query.get(name);
  if (text === null) return fallback;
  const value = /^\d{1,16}$/.test(text) ? Number(text) : NaN;
  if (value >= least && value <= most) return value;
  throw new ApiFailure(
    400,
    'bad_request',
    `${name} is not a whole number from ${least} to ${most}`,
    'See the API description, /api/openapi.json.',
  );
}

async function sendCheckpoint({ board }: ApiParts, { request, response }: Call): Promise<void> {
  const { checkpoint } = board;
  const file = checkpoint && (await stat(checkpoint.path).catch(() => undefined));
  if (!checkpoint || !file) {
    throw new ApiFailure(
      404,
      'no_checkpoint',
      'the run has no checkpoint yet',
      'Request one with POST /api/control {"action":"checkpoint"}.',
    );
  }
  response.writeHead(200, {
    ...API_HEADERS,
    ...fileHeaders(path.basename(checkpoint.path), file.size),
    'content-type': 'application/octet-stream',
  });
  if (request.method === 'HEAD') response.end();
  else await sendPaced(createReadStream(checkpoint.path) as AsyncIterable<Buffer>, response);
}

function sendModel({ models, mount }: ApiParts, form: ModelForm, { request, response }: Call): Promise<void> {
  return models.serve(form, mount.addressOf(request), async ({ name, type, bytes }) => {
    if (response.destroyed) return;
    response.writeHead(200, { ...API_HEADERS, ...fileHeaders(name, bytes.length), 'content-type': type });
    if (request.method === 'HEAD') response.end();
    else await sendPaced(pieces(bytes), response);
  });
}

function fileHeaders(name: string, size: number): Record<string, string | number> {
  return { 'content-length': size, 'content-disposition': `attachment; filename="${name}"` };
}

async function streamSample({ playground, over, mount }: ApiParts, { request, response }: Call): Promise<void> {
  const body = await readJson(request);
  const caller = `${bearer(request) ?? ''} ${mount.forwarded.address(request)}`;
  const write = playground.prepare(body, caller);
  const gone = new AbortController();
  const leave = (): void => gone.abort(new Error('the client has disconnected'));
  response.once('close', leave);
  over.addEventListener('abort', leave, { once: true });
  try {
    response.writeHead(200, { ...API_HEADERS, 'content-type': 'text/event-stream; charset=utf-8', 'x-accel-buffering': 'no' });
    response.flushHeaders();
    await write((message: PlayMessage) => void response.write(`data: ${JSON.stringify(message)}\n\n`), gone.signal);
    cutOffWhenStalled(response);
    response.end();
  } finally {
    response.off('close', leave);
    over.removeEventListener('abort', leave);
  }
}

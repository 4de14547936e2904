/** The HTTP side of a run: its API, its pages, and the live link of dashboards. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { installationAt } from '@troupe/config/installation';
import { brief, printable } from '@troupe/protocol';
import type { WrongTokens } from '../access/wrong-tokens.js';
import type { Report } from '../reporter.js';
import { ApiFailure, refuseUpgrade, sendFailure, sendText } from '../server/http.js';
import type { Exchange, Mounted, Upgrade } from '../server/mounts.js';
import type { Pages } from '../server/pages.js';
import type { MountPoint } from '../server/server.js';
import type { Api } from './api.js';
import type { LiveLink } from './live.js';
import { PATHS } from './path-names.js';

export type Routes = Pick<Mounted, 'answer' | 'upgrades'>;

export interface RouteParts {
  readonly mount: Pick<MountPoint, 'prefix' | 'checkSite' | 'addressFor' | 'addressOf'>;
  readonly api: Api;
  readonly live: Pick<LiveLink, 'upgrade'>;
  readonly pages: Pages;
  /** Servers besides this one that workers in pages connect to: "ws://10.0.0.2:7071". */
  readonly reduceServers: readonly string[];
  /** Absent: the site asks for no tokens. */
  readonly wrongTokens?: WrongTokens;
  /** Receives unexpected errors of requests. */
  readonly report: Report;
}

export function createRoutes(parts: RouteParts): Routes {
  const { mount, api, live, wrongTokens, report } = parts;
  const upgradeLive: Upgrade = (request, socket, head) => {
    try {
      mount.checkSite(request);
    } catch (error) {
      if (!(error instanceof ApiFailure)) throw error;
      return refuseUpgrade(socket, '403 Forbidden');
    }
    live.upgrade(request, socket, head);
  };
  return {
    async answer(exchange) {
      const { request, response } = exchange;
      try {
        if (WEB_SOCKETS.includes(exchange.path)) throw notUpgraded(request, report);
        if (await api.answer(exchange)) return;
        await answerPage(exchange, parts);
      } catch (error) {
        if (error instanceof ApiFailure && error.code === 'wrong_token') await wrongTokens?.counted(mount.addressOf(request));
        await fail(error, request, response, parts).catch(() => response.destroy());
      }
    },
    upgrades: { [PATHS.live]: upgradeLive },
  };
}

async function answerPage({ path, request, response }: Exchange, { mount, pages, reduceServers }: RouteParts): Promise<void> {
  mount.checkSite(request);
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('allow', 'GET, HEAD');
    return sendText(request, response, 'This path supports only GET.\n', { status: 405 });
  }
  if (`${path}/` === PATHS.join) {
    response.writeHead(308, { location: mount.prefix + PATHS.join }).end();
    return;
  }
  const isVolunteer = path.startsWith(PATHS.join);
  const site = isVolunteer ? pages.volunteer : pages.dashboard;
  const within = isVolunteer ? path.slice(PATHS.join.length - 1) : path;
  const address = { base: mount.addressFor(request), connects: isVolunteer ? reduceServers : [] };
  if (site?.answer(within, request, response, address)) return;
  if (site === undefined && within === '/') return sendText(request, response, notBuilt(mount.prefix));
  return sendText(request, response, notFound(mount.prefix), { status: 404 });
}

function notFound(prefix: string): string {
  return `There is nothing here. The dashboard is at ${prefix}/, the page for volunteers at ${prefix}${PATHS.join}.\n`;
}

function notBuilt(prefix: string): string {
  return [
    'This is a running Troupe coordinator. Its pages are not built.',
    '',
    `${installationAt(import.meta.url).restore} Then restart the coordinator.`,
    `Until then, ${prefix}/api/run shows the state of the run.`,
    '',
  ].join('\n');
}

/** Details of an unexpected error go to the log and not to the client. */
async function fail(
  error: unknown,
  request: IncomingMessage,
  response: ServerResponse,
  { report, mount }: RouteParts,
): Promise<void> {
  // A client may disconnect during its request; that is not an error.
  const expected = error instanceof ApiFailure || request.destroyed || response.destroyed;
  if (!expected) report({ event: 'note', level: 'warn', text: `a request failed: ${(error as Error).message}` });
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  const unexpected = new ApiFailure(
    500,
    'internal',
    'the coordinator failed to answer',
    'This is a bug in Troupe: please report it.',
  );
  await sendFailure(request, response, belowMount(error instanceof ApiFailure ? error : unexpected, mount.prefix));
}

/** Remedies name paths relative to the mount; clients need them with its prefix. */
function belowMount({ status, code, message, remedy }: ApiFailure, prefix: string): ApiFailure {
  return new ApiFailure(status, code, message, remedy.replaceAll(/(?<![\w/])(?=\/api\/)/g, prefix));
}

const WEB_SOCKETS: readonly string[] = [PATHS.control, PATHS.reduce, PATHS.live];

/** A request for a WebSocket that arrived as a plain one. Browsers and workers send the key; only a proxy can remove `upgrade`. */
function notUpgraded({ headers }: IncomingMessage, report: Report): ApiFailure {
  if (headers['sec-websocket-key'] === undefined) {
    return new ApiFailure(426, 'upgrade_required', 'this path accepts only WebSockets', 'Connect with a WebSocket client.');
  }
  const via = headers.via === undefined ? '' : ` (Via: ${brief(printable(headers.via), 100)})`;
  const text = `a proxy${via} has removed the header Upgrade of a WebSocket request`;
  report({ event: 'note', level: 'warn', text, remedy: FORWARD_UPGRADES });
  return new ApiFailure(426, 'upgrade_required', text, FORWARD_UPGRADES);
}

const FORWARD_UPGRADES =
  'Make the proxy forward WebSockets. nginx needs: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; ' +
  'proxy_set_header Connection "upgrade"; Apache needs: ProxyPass ... upgrade=websocket. See also deploy/README.md.';

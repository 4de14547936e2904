/** The HTTP side of a run: its API, its pages, and the live link of dashboards. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Report } from '../reporter.js';
import { ApiFailure, refuseUpgrade, sendFailure, sendText } from '../server/http.js';
import type { Exchange, Mounted, Upgrade } from '../server/mounts.js';
import type { Pages } from '../server/pages.js';
import type { MountPoint } from '../server/server.js';
import type { Api } from './api.js';
import type { LiveLink } from './live.js';
import { PATHS } from './paths.js';

export type Routes = Pick<Mounted, 'answer' | 'upgrades'>;

export interface RouteParts {
  readonly mount: Pick<MountPoint, 'prefix' | 'checkSite'>;
  readonly api: Api;
  readonly live: Pick<LiveLink, 'upgrade'>;
  readonly pages: Pages;
  /** Receives unexpected errors of requests. */
  readonly report: Report;
}

export function createRoutes(parts: RouteParts): Routes {
  const { mount, api, live, report } = parts;
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
        if (await api.answer(exchange)) return;
        await answerPage(exchange, parts);
      } catch (error) {
        await fail(error, request, response, report).catch(() => response.destroy());
      }
    },
    upgrades: { [PATHS.live]: upgradeLive },
  };
}

async function answerPage({ path, request, response }: Exchange, { mount, pages }: RouteParts): Promise<void> {
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
  if (site?.answer(within, request, response)) return;
  if (site === undefined && within === '/') return sendText(request, response, NOT_BUILT);
  return sendText(request, response, notFound(mount.prefix), { status: 404 });
}

function notFound(prefix: string): string {
  return `There is nothing here. The dashboard is at ${prefix}/, the page for volunteers at ${prefix}${PATHS.join}.\n`;
}

const NOT_BUILT = [
  'This is a running Troupe coordinator. Its pages are not built.',
  '',
  'Run "npm run build" in the project folder and restart the coordinator.',
  'Until then, /api/run shows the state of the run.',
  '',
].join('\n');

/** Details of an unexpected error go to the log and not to the client. */
async function fail(error: unknown, request: IncomingMessage, response: ServerResponse, report: Report): Promise<void> {
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
  await sendFailure(request, response, error instanceof ApiFailure ? error : unexpected);
}

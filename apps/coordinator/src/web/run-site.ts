/** What browsers and programs see of one run: API, pages, live link, metrics, playground. */
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { isReproducible, type Conductor } from '@troupe/conductor';
import { shellQuote } from '@troupe/config';
import { installationAt } from '@troupe/config/installation';
import type { Preparation } from '../preparation.js';
import { createPastRuns } from '../record/past-runs.js';
import type { RunRecord } from '../record/run-record.js';
import type { ReduceService } from '../reduce-service.js';
import type { Pages } from '../server/pages.js';
import type { MountPoint } from '../server/server.js';
import type { Settings } from '../settings.js';
import type { SideThread } from '../side-jobs.js';
import { createApi } from './api.js';
import type { SignedTokens } from '../access/signed-tokens.js';
import { createAuth, type Tokens } from './auth.js';
import { createLiveLink } from './live.js';
import { createMetrics } from './metrics.js';
import { createNetworkView } from './network.js';
import type { RunLinks } from './paths.js';
import { createPlayground, type Playground } from './playground.js';
import { createRoutes, type Routes } from './routes.js';
import { runView, type ViewSource } from './views.js';

export interface RunSiteOptions {
  readonly settings: Pick<Settings, 'public' | 'organizer' | 'topology' | 'ice' | 'accessFile'>;
  readonly prepared: Pick<Preparation, 'training' | 'folder'>;
  readonly record: RunRecord;
  readonly conductor: Conductor;
  readonly side: SideThread;
  readonly tokens: Tokens;
  readonly signed: SignedTokens;
  readonly reduce: Pick<ReduceService, 'address' | 'serve'>;
  readonly links: RunLinks;
  readonly mount: MountPoint;
  readonly pages: Pages;
  /** Aborts when the run is over. */
  readonly over: AbortSignal;
}

export function createRunSite(options: RunSiteOptions): Routes {
  const { settings, prepared, record, conductor, tokens, signed, links, mount, pages, over } = options;
  const { runId, layout, config } = prepared.training;
  const { board, troubles } = record;
  const auth = createAuth({ ...tokens, signed, public: settings.public });
  const source: ViewSource = {
    ...{ conductor, board, runId, parameters: layout.size, organizer: settings.organizer, links },
    inviteCommand: inviteCommand(settings.accessFile),
  };
  const live = createLiveLink({
    history: board.history,
    admit: (token) => auth.hold(token, 'read'),
    traffic: mount.traffic,
    view: (reader, request) => runView(source, reader, request),
    nowMs: () => performance.now(),
    forwarded: mount.forwarded,
    onFailed: ({ message }) => troubles({ event: 'note', level: 'warn', text: `a dashboard was disconnected: ${message}` }),
  });
  over.addEventListener('abort', () => live.close('the run is over'), { once: true });
  const roundCharacters = config.streams * config.window;
  const api = createApi({
    ...source,
    auth,
    mount,
    over,
    conductor,
    report: record.report,
    reproducible: isReproducible(config),
    metrics: createMetrics({ conductor, board, roundCharacters, runId, viewers: () => live.viewers }),
    playground: playgroundOf(options),
    network: createNetworkView(settings, options.reduce, () => Date.now()),
    pastRuns: createPastRuns(prepared.folder.path, () => performance.now()),
  });
  return createRoutes({ mount, api, live, pages, report: troubles });
}

function inviteCommand(accessFile: string): string {
  const { program } = installationAt(import.meta.url);
  return `${program} token create --scope volunteer --access-file ${shellQuote(path.resolve(accessFile))}`;
}

function playgroundOf({ prepared: { training }, side, conductor }: RunSiteOptions): Playground {
  return createPlayground({
    vocabulary: training.vocabulary,
    side,
    parameters: () => training.replica.parameters,
    round: () => conductor.shell.round,
    newSeed: () => randomBytes(4).readUInt32LE(),
  });
}

/** What browsers and programs see of one run: API, pages, live link, metrics, playground. */
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { currentModel, isReproducible, type BanList, type Conductor } from '@troupe/conductor';
import { roundCharacters, shellQuote } from '@troupe/config';
import { installationAt } from '@troupe/config/installation';
import { createModelDownloads } from '../models/model-downloads.js';
import type { GoingBack } from '../going-back.js';
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
import type { WrongTokens } from '../access/wrong-tokens.js';
import { createControl } from './control.js';
import { createCredits } from './credits.js';
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
  readonly bans: BanList;
  readonly back: GoingBack;
  readonly side: SideThread;
  readonly tokens: Tokens;
  readonly signed: SignedTokens;
  readonly wrongTokens: WrongTokens;
  readonly reduce: Pick<ReduceService, 'address' | 'reducers' | 'serve'>;
  readonly links: RunLinks;
  readonly mount: MountPoint;
  readonly pages: Pages;
  /** Aborts when the run is over. */
  readonly over: AbortSignal;
}

export interface RunSite {
  readonly routes: Routes;
  /** When somebody last looked at a page, by performance.now(); -Infinity: never. */
  lastLookMs(): number;
  /** The playground writes with this model from now on. */
  play(model: PlayModel): void;
}

export interface PlayModel {
  /** Rounds completed. */
  readonly round: number;
  /** [P]. */
  readonly parameters: Float32Array;
}

/** Requests of programs that watch the coordinator, not of people. */
const SUPERVISION: readonly string[] = ['/healthz', '/metrics'];

export function createRunSite(options: RunSiteOptions): RunSite {
  const { settings, prepared, record, conductor, bans, back, tokens, signed, wrongTokens, links, mount, pages, over } = options;
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
    wrongTokens,
    traffic: mount.traffic,
    onAdmitted: (socket) => mount.admit(socket),
    view: (reader, request) => runView(source, reader, request),
    nowMs: () => performance.now(),
    forwarded: mount.forwarded,
    onFailed: ({ message }) => troubles({ event: 'note', level: 'warn', text: `a dashboard was disconnected: ${message}` }),
  });
  over.addEventListener('abort', () => live.close('the run is over'), { once: true });
  let fixed: PlayModel | undefined;
  const current = (): PlayModel => fixed ?? { round: conductor.shell.round, parameters: currentModel(prepared.training) };
  const pastRuns = createPastRuns(prepared.folder.path, () => performance.now());
  const characters = roundCharacters(config);
  const api = createApi({
    ...source,
    auth,
    mount,
    over,
    bans: () => ({ bans: bans.list() }),
    control: createControl({ conductor, bans, back, report: record.report, reproducible: isReproducible(config) }),
    metrics: createMetrics({ conductor, board, roundCharacters: characters, runId, viewers: () => live.viewers }),
    playground: playgroundOf(options, current),
    models: createModelDownloads({
      ...{ folder: prepared.folder.path, parameters: layout.size, over },
      withoutModel: 'Wait for its first checkpoint. An admin can save one: POST /api/control {"action":"checkpoint"}.',
    }),
    credits: createCredits(board.history.credits, () => performance.now()),
    network: createNetworkView(settings, options.reduce, () => Date.now()),
    // --public opens this run to everyone, and not the others in its folder.
    runs: async (access) => (access.includes('admin') ? pastRuns.list(board.history) : pastRuns.own(board.history)),
  });
  const routes = createRoutes({
    mount,
    api,
    live,
    pages,
    reduceServers: reduceServersOf(options.reduce),
    wrongTokens,
    report: troubles,
  });
  let lookedMs = -Infinity;
  return {
    routes: {
      ...routes,
      answer(exchange) {
        if (!SUPERVISION.includes(exchange.path)) lookedMs = performance.now();
        return routes.answer(exchange);
      },
    },
    play: (model) => void (fixed = model),
    lastLookMs: () => (live.viewers > 0 ? performance.now() : lookedMs),
  };
}

/** As sources of a content security policy. A path is one of this server. */
function reduceServersOf({ address, reducers }: Pick<ReduceService, 'address' | 'reducers'>): readonly string[] {
  return [address, ...reducers].filter((one) => !one.startsWith('/')).map((one) => new URL(one).origin);
}

function inviteCommand(accessFile: string): string {
  const { program } = installationAt(import.meta.url);
  return `${program} token create --scope volunteer --access-file ${shellQuote(path.resolve(accessFile))}`;
}

function playgroundOf({ prepared: { training }, side }: RunSiteOptions, model: () => PlayModel): Playground {
  return createPlayground({
    vocabulary: training.vocabulary,
    side,
    model,
    newSeed: () => randomBytes(4).readUInt32LE(),
  });
}

/** The pages and the API of a run in a folder. They only read. */
import { randomBytes } from 'node:crypto';
import type { Checkpoint } from '@troupe/checkpoint';
import { createVocabulary } from '@troupe/corpus';
import type { CorpusView } from '@troupe/run';
import { createModelDownloads } from '../models/model-downloads.js';
import type { Report } from '../reporter.js';
import { createPastRuns } from '../record/past-runs.js';
import { ApiFailure } from '../server/http.js';
import type { Pages } from '../server/pages.js';
import type { MountPoint } from '../server/server.js';
import { createSideThread, type SideThread } from '../side-jobs.js';
import { createApi } from '../web/api.js';
import type { Auth, Need } from '../web/auth.js';
import { createCredits } from '../web/credits.js';
import { createLiveLink } from '../web/live.js';
import { createPlayground, type Playground } from '../web/playground.js';
import { createRoutes, type Routes } from '../web/routes.js';
import { runView, type ViewSource } from '../web/views.js';
import type { StoredRun } from './stored-run.js';

export interface StoredSite {
  readonly routes: Routes;
  readonly run: StoredRun;
  close(): Promise<void>;
}

export interface StoredSiteOptions {
  readonly run: StoredRun;
  readonly mount: MountPoint;
  readonly pages: Pages;
  readonly report: Report;
}

export function createStoredSite({ run, mount, pages, report }: StoredSiteOptions): StoredSite {
  const over = new AbortController();
  const { history } = run;
  const source = sourceOf(run);
  const live = createLiveLink({
    history,
    admit: () => ({ access: ['read'], isSigned: false, release: () => undefined }),
    traffic: mount.traffic,
    view: (reader, request) => runView(source, reader, request),
    nowMs: () => performance.now(),
    forwarded: mount.forwarded,
    onFailed: ({ message }) => report({ event: 'note', level: 'warn', text: `a dashboard was disconnected: ${message}` }),
  });
  const { playground, close } = playgroundOf(run);
  const refuse = (): never => {
    throw notHere();
  };
  const pastRuns = createPastRuns(run.folder, () => performance.now());
  const api = createApi({
    ...source,
    auth: READERS,
    mount,
    over: over.signal,
    control: () => Promise.reject(readOnly()),
    metrics: { read: () => Promise.reject(notHere()) },
    playground,
    models: createModelDownloads({
      ...{ folder: run.folder, parameters: source.parameters, over: over.signal },
      withoutModel: 'Continue it with --resume.',
    }),
    runs: () => pastRuns.list(history),
    credits: createCredits(history.credits, () => performance.now()),
    bans: refuse,
    network: refuse,
  });
  return {
    run,
    routes: createRoutes({ mount, api, live, pages, reduceServers: [], report }),
    async close() {
      over.abort(new Error('the viewer ends'));
      live.close('the viewer ends');
      await close();
    },
  };
}

/** Who reaches the viewer may read, and nobody may control a run by it. */
const READERS: Auth = {
  admit(_token, need) {
    if (!READABLE.includes(need)) throw readOnly();
    return ['read'];
  },
  hold: (token, need) => ({ access: READERS.admit(token, need), isSigned: false, release: () => undefined }),
};
const READABLE: readonly Need[] = ['read', 'worker', 'join', 'metrics'];

function readOnly(): ApiFailure {
  return new ApiFailure(
    403,
    'read_only',
    'troupe view only shows runs',
    'Open the dashboard of the coordinator, with the link that it prints.',
  );
}

function notHere(): ApiFailure {
  return new ApiFailure(404, 'no_such_path', 'a run in a folder has none of this', 'Ask the coordinator of a run that computes.');
}

function sourceOf(run: StoredRun): ViewSource {
  const { history } = run;
  const { runId, parameters, config } = history.run!;
  return {
    // Nobody is invited to a run that is only looked at.
    inviteCommand: '',
    conductor: {
      status() {
        const [phase, phaseReason] = run.phase();
        return {
          phase,
          phaseReason,
          pausedBy: [],
          round: history.lastRound,
          config: history.run?.config ?? config,
          workerCount: 0,
        };
      },
      workers: () => [],
    },
    board: {
      history,
      etaMs: undefined,
      checkpoint: undefined,
      get best() {
        return run.best;
      },
      get corpus() {
        return corpusOf(run.model, history.run!.corpus);
      },
    },
    runId,
    parameters,
    organizer: undefined,
    links: { joinLink: () => '' },
  };
}

/** Only a checkpoint knows how long the text is. */
function corpusOf(model: Checkpoint | undefined, name: string): CorpusView {
  const { characters = 0, trainFraction = 0 } = model?.corpus ?? {};
  const train = Math.floor(characters * trainFraction);
  return { name, characters, train, validation: characters - train };
}

/** Its thread starts with the first request. */
function playgroundOf(run: StoredRun): { readonly playground: Playground; close(): Promise<void> } {
  let thread: SideThread | undefined;
  let made: { readonly model: Checkpoint; readonly playground: Playground } | undefined;
  const create = (model: Checkpoint): Playground =>
    createPlayground({
      vocabulary: createVocabulary(model.vocabulary),
      side: {
        play(...request) {
          thread ??= createSideThread({ model: model.model, validation: new Uint16Array(), window: 1, reproducible: false });
          return thread.play(...request);
        },
      },
      model: () => run.model ?? model,
      newSeed: () => randomBytes(4).readUInt32LE(),
    });
  return {
    playground: {
      prepare(request, caller) {
        const { model } = run;
        if (!model) throw new ApiFailure(404, 'no_checkpoint', 'this run has saved no model', 'Continue it with --resume.');
        made ??= { model, playground: create(model) };
        return made.playground.prepare(request, caller);
      },
    },
    close: async () => thread?.close(),
  };
}

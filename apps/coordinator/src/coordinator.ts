/**
 * `troupe coordinator`: a server with one run at its root. Server and run host do not depend on that: several runs can be mounted
 * under prefixes of one server, each with its own tokens (test/two-runs.test.ts). There is no flag for several runs.
 */
import { CheckpointError } from '@troupe/checkpoint';
import { setAsideAfter } from '@troupe/checkpoint/node';
import { RunReturns, RunRewound, type StandingOrders } from '@troupe/conductor';
import { TransportError } from '@troupe/transport';
import type { MachineMemory } from '@troupe/process';
import type { Ban } from '@troupe/run';
import { createSendBudget, type SendBudget } from '@troupe/protocol';
import { whenDoneOf } from './afterwards.js';
import { checkDiscoverable, makeDiscoverable } from './discoverable.js';
import { leaveBehind } from './going-back.js';
import { createRunHost, mountRun, type RunHost, type RunHostOptions } from './run-host.js';
import type { Report } from './reporter.js';
import { readCertificate } from './server/certificate.js';
import { careForCertificate } from './server/certificate-watch.js';
import { securityNotes, type Note } from './server/notes.js';
import { loadPages } from './server/pages.js';
import { dividePlaces } from './server/places.js';
import { createWebServer, type Mount, type WebServer } from './server/server.js';
import { describeRecalled, readRunFlags, withStored } from './run-flags.js';
import { folderToResume } from './run-folder.js';
import { settingsOf, type Settings } from './settings.js';

export interface CoordinatorOptions {
  readonly settings: Settings;
  readonly env: NodeJS.ProcessEnv;
  readonly report: Report;
  /** Aborted: save and stop. */
  readonly signal: AbortSignal;
  /** A person reads what this process prints: when the run is finished, its pages stay open. Default: false. */
  readonly isTerminal?: boolean;
  /** The memory for this process. Absent: that of the machine. */
  readonly memory?: (() => MachineMemory) | undefined;
}

/** Runs one training run to its end. @throws SettingsError, CorpusError, TransportError, RunDiverged ... */
export async function runCoordinator(options: CoordinatorOptions): Promise<void> {
  const { settings, notes } = await recall(options);
  checkDiscoverable(settings);
  const certificate = settings.tls && (await readCertificate(settings.tls));
  const places = dividePlaces(settings.reducers);
  const server = createWebServer({ ...settings, certificate, places: places.server });
  try {
    const whenDone = whenDoneOf(options.settings.given, options.isTerminal ?? false);
    const jumps = new Set<number>();
    const shared = {
      ...options,
      jumps,
      whenDone,
      budget: budgetOf(options),
      pages: await loadPages(),
      reducerPlaces: places.reducer,
    };
    let life: Life | undefined = { settings, notes, isFirst: true };
    while (life) life = await live(server, shared, life);
  } finally {
    server.close();
  }
}

/** A run from its start, or from the checkpoint to which it goes back, to its end. The server and its links stay. */
interface Life {
  readonly settings: Settings;
  readonly notes: readonly string[];
  readonly isFirst: boolean;
  readonly orders?: StandingOrders;
  readonly bans?: readonly Ban[];
}

/** @returns the next life of a run that must go back */
async function live(
  server: WebServer,
  shared: Omit<RunHostOptions, 'mount'>,
  { settings, notes, isFirst, orders, bans }: Life,
): Promise<Life | undefined> {
  const mount = server.mount('');
  const host = await createRunHost({ ...shared, settings, mount, orders, bans });
  try {
    mountRun(mount, host);
    for (const text of notes) host.report({ event: 'note', level: 'info', text });
    if (isFirst) await open(server, host, settings);
    await serve(server, mount, host, settings);
    return undefined;
  } catch (error) {
    if (!(error instanceof RunReturns)) throw error;
    await host.close();
    return { ...(await goBack(error, host.folder, { ...shared, settings })), bans: host.bans() };
  } finally {
    await host.close();
  }
}

/** The run continues as with --resume, from the newest checkpoint that is early enough. @throws RunReturns if there is none */
async function goBack(
  returns: RunReturns,
  out: string,
  { settings, env }: Pick<CoordinatorOptions, 'settings' | 'env'>,
): Promise<Life> {
  const text = await makeWay(out, returns);
  const flags = [...settings.given].filter(([flag]) => flag !== '--init' && flag !== '--reproducible');
  const given = new Map([...flags, ['--resume', '']]);
  const again = await recall({ settings: { ...settings, given, out, resume: true }, env });
  return { settings: again.settings, notes: [text], isFirst: false, orders: returns };
}

/** @returns what happened to later checkpoints, for the log. @throws RunReturns if no checkpoint is early enough */
async function makeWay(out: string, returns: RunReturns): Promise<string> {
  try {
    if (returns instanceof RunRewound) return `${returns.message}; what came after is in ${await leaveBehind(out, returns)}`;
    await setAsideAfter(out, returns.since);
    return `${returns.message}: the run goes back to the last checkpoint before, and sets later ones aside as NAME.tainted`;
  } catch (cause) {
    if (!(cause instanceof CheckpointError) || cause.code !== 'not_found') throw cause;
    throw returns;
  }
}

function budgetOf({ report }: CoordinatorOptions): SendBudget {
  return createSendBudget({ onEvicted: ({ text, remedy }) => report({ event: 'note', level: 'warn', text, remedy }) });
}

/** A resumed run has its flags again, those of the server as well. @throws SettingsError, CheckpointError */
async function recall({
  settings,
  env,
}: Pick<CoordinatorOptions, 'settings' | 'env'>): Promise<{ settings: Settings; notes: readonly string[] }> {
  if (!settings.resume) return { settings, notes: [] };
  const out = await folderToResume(settings.out);
  const stored = await readRunFlags(out);
  const given = new Map([...withStored(stored, settings.given), ['--out', out]]);
  const { token, volunteerToken, adminToken, metricsToken, allreduceToken, notify } = settings;
  return {
    settings: { ...settingsOf(given, env), token, volunteerToken, adminToken, metricsToken, allreduceToken, notify },
    notes: describeRecalled(stored, settings.given),
  };
}

/** Opens the ports and prints the links. Notes of the server go to the record of the run. */
async function open(server: WebServer, host: RunHost, settings: Settings): Promise<void> {
  const onNote = noteTo(host);
  const { localWorkers: local } = settings;
  const onFailed = ({ message }: Error): void => onNote({ level: 'warn', text: `the server failed: ${message}` });
  /** @param wanted where the run listened before, so that open pages find it again */
  const listen = async (wanted: number | undefined): Promise<void> => {
    try {
      await server.listen({ host: settings.host, port: wanted ?? settings.port, local, onFailed });
    } catch (error) {
      if (wanted === undefined || !(error instanceof TransportError)) throw error;
      onNote({ level: 'warn', text: `open pages of this run will not find it again: ${error.message}` });
      await listen(undefined);
    }
  };
  await listen(settings.port === 0 ? host.lastPort : undefined);
  host.announce();
  securityNotes({ ...settings, certificate: server.certificate }, Date.now()).forEach(onNote);
}

/** Waits for the end of the run, and meanwhile cares for the certificate and makes the run known. */
async function serve(server: WebServer, mount: Mount, host: RunHost, settings: Settings): Promise<void> {
  const over = new AbortController();
  const onNote = noteTo(host);
  const { tls: files } = settings;
  let told: Promise<void> | undefined;
  try {
    if (files) void careForCertificate({ files, holder: server, signal: over.signal, onNote });
    if (settings.discoverable) told = makeDiscoverable({ runId: host.id, mount, settings, signal: over.signal, onNote });
    host.start();
    await host.done;
  } finally {
    over.abort(new Error('the run is over'));
    await told;
  }
}

function noteTo(host: RunHost): (note: Note) => void {
  return (note) => host.report({ event: 'note', ...note });
}

/**
 * `troupe coordinator`: a server with one run at its root. Server and run host do not depend on that: several runs can be mounted
 * under prefixes of one server, each with its own tokens (test/two-runs.test.ts). There is no flag for several runs.
 */
import { TransportError } from '@troupe/transport';
import type { MachineMemory } from '@troupe/process';
import { createSendBudget, type SendBudget } from '@troupe/protocol';
import { whenDoneOf } from './afterwards.js';
import { checkDiscoverable, makeDiscoverable } from './discoverable.js';
import { createRunHost, mountRun, type RunHost } from './run-host.js';
import type { Report } from './reporter.js';
import { readCertificate } from './server/certificate.js';
import { careForCertificate } from './server/certificate-watch.js';
import { securityNotes, type Note } from './server/notes.js';
import { loadPages } from './server/pages.js';
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
  const server = createWebServer({ ...settings, certificate });
  try {
    const mount = server.mount('');
    const whenDone = whenDoneOf(options.settings.given, options.isTerminal ?? false);
    const host = await createRunHost({
      ...options,
      settings,
      whenDone,
      mount,
      budget: budgetOf(options),
      pages: await loadPages(),
    });
    try {
      mountRun(mount, host);
      for (const text of notes) host.report({ event: 'note', level: 'info', text });
      await serve(server, mount, host, settings);
    } finally {
      await host.close();
    }
  } finally {
    server.close();
  }
}

function budgetOf({ report }: CoordinatorOptions): SendBudget {
  return createSendBudget({ onEvicted: ({ text, remedy }) => report({ event: 'note', level: 'warn', text, remedy }) });
}

/** A resumed run has its flags again, those of the server as well. @throws SettingsError, CheckpointError */
async function recall({ settings, env }: CoordinatorOptions): Promise<{ settings: Settings; notes: readonly string[] }> {
  if (!settings.resume) return { settings, notes: [] };
  const out = await folderToResume(settings.out);
  const stored = await readRunFlags(out);
  const given = new Map([...withStored(stored, settings.given), ['--out', out]]);
  const { token, volunteerToken, adminToken, metricsToken, allreduceToken } = settings;
  return {
    settings: { ...settingsOf(given, env), token, volunteerToken, adminToken, metricsToken, allreduceToken },
    notes: describeRecalled(stored, settings.given),
  };
}

/** Opens the ports, prints the links, and waits for the end of the run. Notes of the server go to the record of the run. */
async function serve(server: WebServer, mount: Mount, host: RunHost, settings: Settings): Promise<void> {
  const over = new AbortController();
  const onNote = (note: Note): void => host.report({ event: 'note', ...note });
  const { tls: files, localWorkers: local } = settings;
  let told: Promise<void> | undefined;
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
  try {
    await listen(settings.port === 0 ? host.lastPort : undefined);
    host.announce();
    securityNotes({ ...settings, certificate: server.certificate }, Date.now()).forEach(onNote);
    if (files) void careForCertificate({ files, holder: server, signal: over.signal, onNote });
    if (settings.discoverable) told = makeDiscoverable({ runId: host.id, mount, settings, signal: over.signal, onNote });
    host.start();
    await host.done;
  } finally {
    over.abort(new Error('the run is over'));
    await told;
  }
}

/** One run and everything that belongs to it. A server mounts it under a path, perhaps beside other runs. */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  checkpointFacts,
  readRunSecrets,
  sha256,
  writeRunFile,
  writeRunSecrets,
  writeWhole,
  type RunSecrets,
} from '@troupe/checkpoint/node';
import {
  createConductor,
  isReproducible,
  type Conductor,
  RunDiverged,
  type StandingOrders,
  type CheckpointWriter,
  type ConductorOptions,
} from '@troupe/conductor';
import { installationAt } from '@troupe/config/installation';
import { memoryForThisProcess, type MachineMemory } from '@troupe/process';
import { LIMITS, unitStreams, type SendBudget } from '@troupe/protocol';
import { REPORT_FILE, reportPage, type Ban } from '@troupe/run';
import type { Connection } from '@troupe/transport';
import { openAccessFile } from './access/access-watch.js';
import { createGate, slowToRefuse } from './access/gate.js';
import { createSignedTokens, type SignedTokens } from './access/signed-tokens.js';
import { keepOpen, type WhenDone } from './afterwards.js';
import { openBanBook, readBans, type BanBook } from './bans.js';
import { createWrongTokens, type WrongTokens } from './access/wrong-tokens.js';
import { createAuditor, type AuditThread } from './auditor.js';
import { bestCheckpoint, createCheckpointWriter, type CheckpointReport } from './checkpoints.js';
import { createGoingBack, type GoingBack } from './going-back.js';
import { watchGradientFlow } from './gradient-flows.js';
import { memoryNotes } from './memory.js';
import { prepare, type Preparation } from './preparation.js';
import type { Flags } from './run-flags.js';
import { createNotifier, type Notifier } from './notify/notifier.js';
import { symptomsOf } from './notify/symptoms.js';
import { openRecord, type RunRecord } from './record/run-record.js';
import { embedReduceService, remoteReduceService, type ReduceService } from './reduce-service.js';
import type { Report } from './reporter.js';
import type { MountSlot } from './server/mounts.js';
import type { Pages } from './server/pages.js';
import type { MountPoint } from './server/server.js';
import { requireServiceSecret, type Settings } from './settings.js';
import { createSideThread, type SideThread } from './side-jobs.js';
import { PATHS } from './web/path-names.js';
import { createRunLinks, type RunLinks } from './web/paths.js';
import type { Routes } from './web/routes.js';
import { createRunSite, type RunSite } from './web/run-site.js';

/** The most streams that an audit computes at once, so that its memory does not grow with the batch. */
const AUDIT_STREAMS = 32;

export interface RunHostOptions {
  /** The settings of the run. Those of the server (host, port, TLS) are ignored, but reducers listen beside its port. */
  readonly settings: Settings;
  readonly env: NodeJS.ProcessEnv;
  /** What happens when the run is finished. Default: it is closed. */
  readonly whenDone?: WhenDone;
  /** The run's address, from which its links and paths follow. */
  readonly mount: MountPoint;
  readonly pages: Pages;
  /** See ConductorOptions. */
  readonly jumps?: Set<number>;
  /** Of the run before it had to go back. Absent: what its folder says. */
  readonly bans?: readonly Ban[] | undefined;
  /** What was ordered before the run had to go back. */
  readonly orders?: StandingOrders | undefined;
  /** Of the process: bounds what is queued for all links together. */
  readonly budget: SendBudget;
  /** How many sockets each reducer in this process may have open. */
  readonly reducerPlaces: number;
  /** Receives the events of the run. */
  readonly report: Report;
  /** Aborted: save and stop. */
  readonly signal: AbortSignal;
  /** The memory for this process. Absent: that of the machine. */
  readonly memory?: (() => MachineMemory) | undefined;
}

export interface RunHost {
  readonly id: string;
  /** Of its checkpoints. */
  readonly folder: string;
  bans(): readonly Ban[];
  /** Where the run listened before it was resumed. */
  readonly lastPort: number | undefined;
  readonly routes: Routes;
  /** Serves a worker's control link until it ends. Never rejects. */
  serveControl(link: Connection): Promise<void>;
  /** Serves a worker's link to the run's own all-reduce until it ends. Never rejects. Undefined if the all-reduce is elsewhere. */
  readonly serveReduce: ((link: Connection) => Promise<void>) | undefined;
  /** Adds something to the run's record. */
  readonly report: Report;
  /** Receives failures of others' links and requests, which are rate-limited. */
  readonly troubles: Report;
  /** Reports the links for people and workers. Call it once the server listens. */
  announce(): void;
  /** Computes rounds until the last one, or until the signal aborts. Then the pages stay open, if they are to. */
  start(): void;
  /**
   * Settles when the run has ended and everything of it is closed. Rejects with what ended it: RunDiverged, NotSaved, TransportError ...
   */
  readonly done: Promise<void>;
  /** Closes a run that will not start; one that has started ends by itself. Resolves when it is done. */
  close(): Promise<void>;
}

/** @throws what makes the run impossible: SettingsError, CorpusError, CheckpointError, TransportError, CollectiveError */
export async function createRunHost(options: RunHostOptions): Promise<RunHost> {
  const { settings, env } = options;
  const lost = new AbortController();
  const signal = AbortSignal.any([options.signal, lost.signal]);
  const prepared = await prepare(settings, env, signal, (error) => {
    options.report({ event: 'note', level: 'warn', text: `the run stops: ${error.message}`, remedy: error.remedy });
    lost.abort(error);
  });
  try {
    // `troupe train` has predicted the memory of its workers as well.
    const notes = settings.localWorkers ? [] : memoryNotesOf(prepared, options);
    return await openRun({ ...options, signal }, { ...prepared, notes: [...prepared.notes, ...notes] });
  } catch (error) {
    await prepared.folder.release();
    throw error;
  }
}

function memoryNotesOf({ training }: Preparation, { settings, memory = memoryForThisProcess }: RunHostOptions) {
  return memoryNotes(training.config, settings.reducers, memory());
}

async function openRun(options: RunHostOptions, prepared: Preparation): Promise<RunHost> {
  const opened = await openRecord(options.settings, prepared, options.report);
  const notifier = notifierOf(options, prepared, opened);
  const record = notifier === undefined ? opened : { ...opened, report: alsoTo(notifier, opened.report) };
  for (const note of prepared.notes) record.report({ event: 'note', ...note });
  const side = openSide(prepared);
  const auditor = openAuditor(prepared);
  const over = new AbortController();
  let reduce: ReduceService | undefined;
  const closeParts = async (): Promise<void> => {
    over.abort(new Error('the run is over'));
    await Promise.all([side.close(), auditor.close(), reduce?.close()]);
    await record.board.close();
  };
  let freed: Promise<void> | undefined;
  /** From then on the folder is another coordinator's to resume, and nothing is written to it. */
  const free = (): Promise<void> => (freed ??= record.board.close().then(() => prepared.folder.release()));
  const close = async (): Promise<void> => {
    await closeParts();
    await free();
  };
  try {
    const last = options.settings.resume ? await readRunSecrets(prepared.folder.path) : {};
    const bans = await openBans(options, prepared, record);
    const tokens = tokensOf(options.settings, last);
    const wrongTokens = wrongTokensOf(options, record);
    const signed = await openSignedTokens(options, record, over.signal);
    reduce = await reduceServiceOf(options, tokens, record, over.signal);
    return await assemble({
      ...options,
      ...{
        prepared,
        record,
        notifier,
        side,
        auditor,
        tokens,
        last,
        bans,
        signed,
        wrongTokens,
        reduce,
        over: over.signal,
        free,
        close,
      },
    });
  } catch (error) {
    // The caller frees the folder.
    await closeParts();
    throw error;
  }
}

/** @throws CheckpointError */
async function openBans({ bans, settings }: RunHostOptions, { folder }: Preparation, { report }: RunRecord): Promise<BanBook> {
  return openBanBook({ folder, report, bans: bans ?? (settings.resume ? await readBans(folder.path) : []) });
}

function notifierOf(
  { settings: { notify: url, name }, signal }: RunHostOptions,
  { training: { runId } }: Preparation,
  { report }: RunRecord,
): Notifier | undefined {
  return url && createNotifier({ url, runId, name, report, signal });
}

function alsoTo({ hear }: Notifier, report: Report): Report {
  return (event) => {
    report(event);
    hear(event);
  };
}

/** Makes a server serve a run at `mount` until the run is done. Other mounts do not change. */
export function mountRun(mount: MountSlot, { routes, serveControl, serveReduce, troubles, done }: RunHost): void {
  mount.open({
    ...routes,
    links: { [PATHS.control]: serveControl, ...(serveReduce ? { [PATHS.reduce]: serveReduce } : {}) },
    unreadBytes: { [PATHS.control]: LIMITS.unreadControlBytes },
    onLinkFailed: ({ message }) => troubles({ event: 'note', level: 'warn', text: `a link failed: ${message}` }),
  });
  const close = (): void => mount.close('the run is over');
  done.then(close, close);
}

interface Parts extends Omit<RunHostOptions, 'bans'> {
  readonly prepared: Preparation;
  readonly record: RunRecord;
  readonly notifier: Notifier | undefined;
  readonly side: SideThread;
  readonly auditor: AuditThread;
  readonly tokens: RunTokens;
  readonly signed: SignedTokens;
  readonly wrongTokens: WrongTokens;
  readonly reduce: ReduceService;
  /** What a resumed run had. */
  readonly last: RunSecrets;
  readonly bans: BanBook;
  readonly over: AbortSignal;
  free(): Promise<void>;
  close(): Promise<void>;
}

async function assemble(parts: Parts): Promise<RunHost> {
  const { prepared, record, notifier, mount, side, bans, tokens, reduce, over, signal } = parts;
  const { report, troubles } = record;
  // The writer asks it, and it asks the writer.
  const alive: { conductor?: Conductor; back?: GoingBack } = {};
  const needed = (): number | undefined => earliest(alive.conductor?.mayGoBackTo(), alive.back?.target);
  const conductor = (alive.conductor = await createConductor(conductorOptions(parts, needed), signal));
  continueAs(conductor, parts);
  const serves = parts.whenDone !== undefined && parts.whenDone !== 'exit';
  const back = (alive.back = createGoingBack({ conductor, folder: prepared.folder.path, serves }));
  over.addEventListener('abort', () => conductor.close(), { once: true });
  const links = createRunLinks(mount, tokens);
  const site = createRunSite({ ...parts, bans: bans.list, conductor, back, tokens, links });
  const flows = watchGradientFlow(prepared.training, { side, board: record.board, report, over });
  const { runId: id } = prepared.training;
  const attended = (run: () => Promise<void>) => (): Promise<void> =>
    notifier ? notifier.attend(run, () => symptomsOf(conductor, record.board)) : run();
  return {
    id,
    folder: prepared.folder.path,
    bans: () => bans.list.list(),
    lastPort: parts.last.port,
    routes: site.routes,
    serveControl: (link) => conductor.serve(link),
    serveReduce: reduce.serve,
    report,
    troubles,
    announce: () => report({ event: 'listening', runId: id, out: prepared.folder.path, ...links.printed() }),
    ...lifeOf(
      attended(async () => {
        // Nothing of an earlier run in the folder changes before this one is sure to start.
        prepared.folder.whenHeld(() => record.begin());
        reportStart(prepared, report);
        const stored = storeFlags(prepared, prepared.flags.untilSaved, report)
          .then(() => storeSecrets(parts))
          .then(() => bans.begin());
        // Whatever ends the run, nothing is written to its folder afterwards. Storing never rejects.
        const diverged = await conductor
          .conduct(signal)
          .catch((error: unknown) => divergedOf(error, serves && !signal.aborted))
          .finally(async () => {
            await stored;
            await bans.close();
            await storeReport(prepared, record);
          });
        // That of the last round. A person who stops the run does not wait for it.
        if (!signal.aborted && !diverged) await flows.settled();
        if (diverged) tellDiverged(diverged, parts);
        await stayOpen(parts, links, site, back.ordered);
        if (diverged) throw diverged;
      }),
      parts.close,
    ),
  };
}

function earliest(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? (a ?? b) : Math.min(a, b);
}

/** A run that has diverged can be taken back while its pages are open. @throws every other error */
function divergedOf(error: unknown, serves: boolean): RunDiverged {
  if (serves && error instanceof RunDiverged) return error;
  throw error;
}

/** It is told again when the pages close. */
function tellDiverged(diverged: RunDiverged, { record, notifier }: Parts): void {
  const remedy = 'An admin can take it back to a checkpoint, at a lower learning rate, on the dashboard.';
  record.report({ event: 'note', level: 'warn', text: diverged.message, remedy });
  notifier?.failed(diverged);
}

/**
 * The pages of a finished run stay open, if they are to. Nobody who asks the run to stop waits for that.
 * @throws the reason of `back` when it aborts
 */
async function stayOpen(
  { prepared, whenDone = 'exit', free, report, signal }: Parts,
  links: RunLinks,
  site: RunSite,
  back: AbortSignal,
): Promise<void> {
  if (whenDone === 'exit' || signal.aborted) return;
  await free();
  const best = await readBest(prepared);
  if (best) site.play(best);
  const { dashboard, volunteer } = links.printed();
  report({ event: 'serving', dashboard, volunteer });
  await keepOpen(whenDone, { lastLookMs: site.lastLookMs, nowMs: () => performance.now() }, AbortSignal.any([signal, back]));
  if (!signal.aborted) back.throwIfAborted();
}

/** A run is closed when it is done, even if it failed or was never started. */
function lifeOf(run: () => Promise<void>, close: () => Promise<void>): Pick<RunHost, 'start' | 'done' | 'close'> {
  let settle: ((ending: Promise<void>) => void) | undefined;
  const done = new Promise<void>((resolve) => (settle = resolve));
  // Callers that await it see a failure. If none does, it must not count as an unhandled rejection.
  done.catch(() => undefined);
  const end = (ending: () => Promise<void>): void => {
    settle?.(ending());
    settle = undefined;
  };
  return {
    start: () => end(() => run().finally(close)),
    done,
    close() {
      end(close);
      return done.catch(() => undefined);
    },
  };
}

type RunTokens = ReturnType<typeof tokensOf>;

/** @param last those of a resumed run, so that links that people have go on working */
function tokensOf({ token, volunteerToken, adminToken, metricsToken }: Settings, last: RunSecrets) {
  // An empty one would admit everybody.
  return {
    token: token || last.token || secret(12),
    volunteerToken: volunteerToken || last.volunteerToken || secret(12),
    adminToken: adminToken || last.adminToken || secret(18),
    metricsToken: metricsToken || undefined,
  };
}

/** @throws SettingsError if there is an access file and it cannot be used */
async function openSignedTokens(
  { settings, mount: { traffic } }: RunHostOptions,
  { report }: RunRecord,
  over: AbortSignal,
): Promise<SignedTokens> {
  const { program } = installationAt(import.meta.url);
  const signed = createSignedTokens({ caps: traffic.caps, now: Date.now, nowMs: () => traffic.nowMs(), program });
  await openAccessFile({
    file: settings.accessFile,
    isNamed: settings.given.has('--access-file'),
    program,
    tokens: signed,
    signal: over,
    onNote: (note) => report({ event: 'note', ...note }),
  });
  return signed;
}

function wrongTokensOf({ mount: { traffic } }: RunHostOptions, { report }: RunRecord): WrongTokens {
  return createWrongTokens({
    nowMs: () => traffic.nowMs(),
    sleep: (ms) => sleep(ms, undefined, { ref: false }),
    report,
  });
}

async function reduceServiceOf(
  options: RunHostOptions,
  tokens: RunTokens,
  { report, troubles }: RunRecord,
  over: AbortSignal,
): Promise<ReduceService> {
  const { allreduce, allreduceToken } = options.settings;
  if (allreduce !== undefined) {
    // Also none of those that a resumed run remembers.
    requireServiceSecret({ ...tokens, allreduceToken });
    return remoteReduceService(allreduce, allreduceToken!);
  }
  return embedReduceService({ ...options, path: options.mount.prefix + PATHS.reduce, report, troubles, over });
}

/** A run that goes back keeps what admins have ordered meanwhile. */
function continueAs(conductor: Conductor, { orders }: Parts): void {
  if (!orders) return;
  conductor.tune(orders.knobs);
  for (const by of orders.pausedBy) conductor.feed({ type: 'pause', by });
}

function conductorOptions(parts: Parts, needed: () => number | undefined): ConductorOptions {
  const { settings, prepared, record, side, tokens, signed, reduce, budget, mount } = parts;
  return {
    budget,
    training: prepared.training,
    stopRules: { maxLoss: settings.maxLoss, patience: settings.patience },
    cadences: prepared.cadences,
    gate: slowToRefuse(createGate({ ...tokens, signed, traffic: mount.traffic }), parts.wrongTokens, mount.traffic),
    bans: parts.bans.list,
    jumps: parts.jumps,
    reduceToken: reduce.token,
    reduceAddress: reduce.address,
    reducers: reduce.reducers,
    topology: settings.topology,
    best: prepared.best,
    credits: record.board.history.credits,
    readBest: () => readBest(prepared),
    side,
    auditor: parts.auditor,
    writer: writerOf(prepared, settings.keep, record.report, needed),
    ports: {
      nowMs: () => performance.now(),
      sleep: (ms, until) => sleep(ms, undefined, { signal: until }),
      deadline: (ms) => AbortSignal.timeout(ms),
      timestamp: () => new Date().toISOString(),
      secret,
      sha256: (parts) => Buffer.from(sha256(parts), 'hex'),
      collective: reduce.collective,
      report: record.report,
    },
  };
}

/** The best model on disk, which may be that of an earlier round. */
async function readBest({ folder }: Preparation): Promise<{ round: number; parameters: Float32Array } | undefined> {
  return (await bestCheckpoint(folder.path))?.checkpoint;
}

function writerOf(prepared: Preparation, keep: number, report: Report, needed: () => number | undefined): CheckpointWriter {
  const { folder, resumedFrom, flags } = prepared;
  let saved = false;
  const reports: CheckpointReport = {
    onSaved(round, path, best) {
      report({ event: 'checkpoint', round, path, best });
      if (!saved) void storeFlags(prepared, flags.afterwards, report);
      saved = true;
    },
    onFailed: ({ message, remedy }) => report({ event: 'note', level: 'warn', text: message, ...(remedy ? { remedy } : {}) }),
  };
  return createCheckpointWriter(folder, keep, resumedFrom, reports, needed);
}

async function storeFlags({ folder }: Preparation, flags: Flags, report: Report): Promise<void> {
  try {
    await folder.check();
    await writeRunFile(folder.path, flags);
  } catch (error) {
    const { message } = error as Error;
    const remedy = 'Give them again with --resume.';
    report({ event: 'note', level: 'warn', text: `the flags of the run are not stored: ${message}`, remedy });
  }
}

/** Of a run that has computed something. */
async function storeReport({ folder }: Preparation, { board: { history }, report }: RunRecord): Promise<void> {
  if (history.run === undefined || history.lastRound === 0) return;
  try {
    await folder.check();
    const files = await checkpointFacts(folder.path);
    const page = reportPage([{ folder: folder.path, history, files, program: installationAt(import.meta.url).program }]);
    await writeWhole(folder.path, REPORT_FILE, new TextEncoder().encode(page));
  } catch (error) {
    report({ event: 'note', level: 'warn', text: `the report of the run is not written: ${(error as Error).message}` });
  }
}

/** Tokens that a person chose are not stored: the person gives them again. */
async function storeSecrets({ prepared: { folder }, settings, tokens, mount, record }: Parts): Promise<void> {
  const { address } = mount.addresses();
  try {
    await folder.check();
    await writeRunSecrets(folder.path, {
      port: Number(new URL(address).port) || undefined,
      token: settings.token ? undefined : tokens.token,
      volunteerToken: settings.volunteerToken ? undefined : tokens.volunteerToken,
      adminToken: settings.adminToken ? undefined : tokens.adminToken,
    });
  } catch (error) {
    const { message } = error as Error;
    const text = `the links of the run will be other ones after a resume: ${message}`;
    record.report({ event: 'note', level: 'warn', text });
  }
}

function openSide({ training: { config, split } }: Preparation): SideThread {
  return createSideThread({
    model: config.model,
    validation: split.validation,
    window: config.window,
    reproducible: isReproducible(config),
  });
}

function openAuditor({ training: { config, layout, stateFloats } }: Preparation): AuditThread {
  const { model, window, optimizer, streams, codec, seed } = config;
  return createAuditor({
    model,
    shape: { codec, seed, tensorSizes: layout.tensors.map(({ size }) => size), stateFloats },
    window,
    optimizer,
    // The result of a track, and the bits of a reproducible lease, depend on what is computed at once.
    maxStreams: unitStreams(config) || Math.min(streams, AUDIT_STREAMS),
    reproducible: isReproducible(config),
  });
}

function reportStart({ training }: Preparation, report: Report): void {
  const { round, config, layout, corpus, split } = training;
  report({
    event: 'started',
    round,
    config,
    parameters: layout.size,
    corpus: { name: corpus.name, characters: corpus.characters, train: split.train.length, validation: split.validation.length },
  });
}

/** A text that nobody can guess, from `bytes` random bytes. */
function secret(bytes: number): string {
  return randomBytes(bytes).toString('base64url');
}

/** The trainer: a Web Worker that computes this volunteer's part of the run. */
import { createStarCollective, type ServiceNote } from '@troupe/collective/star';
import { createThrottledEngine, planEffort, type Effort, type Work } from '@troupe/engines';
import { EngineError, type Engine } from '@troupe/model';
import { bridgeRtcLinks } from '@troupe/transport/browser';
import { createDeadlines, createRateLimit, runWorker, WorkerRefused, type WorkerLog, type WorkerPorts } from '@troupe/worker';
import { COOL, observeWork } from '../decisions/heat.js';
import { knownSpeed, reusable } from '../decisions/known-engine.js';
import type { DirectLinks, EngineKind, Failure, Order, Report } from '../messages.js';
import { chooseEngine, choiceOf, type Choice } from './engines.js';
import { directOptions, watchLinks } from './direct.js';
import { createLinks } from './links.js';
import { createSleeper } from './sleeper.js';
import { createTally } from './tally.js';
import { workerScope } from './scope.js';

/** How often the trainer reports progress to the page. */
const REPORT_MS = 250;

type StartOrder = Order & { readonly kind: 'start' };

const scope = workerScope<Order, Report>();
const report = (message: Report): void => scope.postMessage(message);
const nowMs = (): number => performance.now();
const leaving = new AbortController();
const waits = createSleeper();
/** Rests between gradients; a link to the coordinator that ends ends them too, so that the worker hears of it at once. */
const rests = createSleeper();
const rate = createRateLimit({ nowMs, sleep: waits.sleep });
const links = createLinks(() => rests.wake(), rate.limit);
const tally = createTally(nowMs);
/** Aborts when the volunteer wants to stop once what is being computed counts. */
const finishing = new AbortController();
let heat = COOL;
let share = 1;

function reportProgress(): void {
  const news = tally.take(links.sentBytes, links.receivedBytes, heat.factor);
  if (news) report(news);
}

function onWork(work: Work): void {
  heat = observeWork(heat, { ...work, nowMs: nowMs() });
  tally.worked(work);
}

function onLog(entry: WorkerLog): void {
  if (entry.kind === 'computed') {
    tally.computed(entry.round, entry.credit);
    return;
  }
  // Progress comes before the entry, in the order in which it happened.
  reportProgress();
  report({ kind: 'log', entry });
}

/** Cores of this machine, as far as the browser reports them. */
const cores = (): number => navigator.hardwareConcurrency || 1;
const effort = (threaded: boolean, kind: EngineKind): Effort =>
  planEffort(share * heat.factor, kind === 'webgpu' ? 1 : cores(), threaded);

function openDirect({ port, sums }: DirectLinks): ReturnType<typeof directOptions> {
  const rtc = watchLinks(links.adopt(bridgeRtcLinks(port)), (state) => report({ kind: 'direct', state }));
  const { signal } = leaving;
  const deadline = createDeadlines({ nowMs, sleep: waits.sleep }, signal);
  // For those who look into the browser's console: to a volunteer, the links of others mean nothing.
  const warn = ({ text, remedy = '' }: ServiceNote): void => console.warn(text, remedy);
  return directOptions(rtc, sums, { deadline, nowMs, warn, signal });
}

/** Browsers have it on secure pages only. */
const { subtle } = crypto as { readonly subtle?: SubtleCrypto };
const sha256 =
  subtle &&
  (async (bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> => new Uint8Array(await subtle.digest('SHA-256', bytes)));

/** Of the engine that is open, where an earlier trainer has measured it. */
let speed: number | undefined;

/** The fastest engine; the one that an earlier trainer of this tab has chosen, if it can be opened again. */
async function openEngine(order: StartOrder, ...[config, limits, constraints]: Parameters<WorkerPorts['createEngine']>) {
  const { only, known } = order;
  // At least two, to know whether threads pay off when the volunteer raises the share.
  const threads = Math.min(cores(), Math.max(2, planEffort(share, cores(), true).threads));
  const options = { ...constraints, threads, only, nowMs };
  const key = JSON.stringify([config, limits, only, constraints.reproducible]);
  const before = reusable(known, key, constraints.not);
  if (before) {
    try {
      const engine = await openThrottled(choiceOf(config, limits, before, options), key);
      speed = knownSpeed(before, share);
      return engine;
    } catch (error) {
      // The device is gone, for example. Others are measured.
      if (!(error instanceof EngineError)) throw error;
    }
  }
  speed = undefined;
  return openThrottled(await chooseEngine(config, limits, options), key);
}

async function openThrottled(choice: Choice, key: string): Promise<Engine> {
  const { kind, trials } = choice;
  const { signal } = leaving;
  const plan = (): Effort => effort(choice.threaded, kind);
  const engine = await createThrottledEngine({ open: choice.open, effort: plan, onWork, nowMs, sleep: rests.sleep, signal });
  const { name, variant } = engine.info;
  const known = { key, kind, variant: choice.variant, trials, share, charsPerSecond: undefined };
  report({ kind: 'engine', engine: kind, variant: `${name} ${variant}`, trials, known });
  return engine;
}

function createPorts(order: StartOrder): WorkerPorts {
  const { direct } = order;
  return {
    connect: links.connect,
    // A page opens WebSockets to its own origin only.
    collective: createStarCollective({ connect: links.connect, direct: false, ...(direct && openDirect(direct)) }),
    createEngine: (...asked) => openEngine(order, ...asked),
    knownSpeed: () => speed,
    counted: ({ round, characters }) => tally.counted(round, characters),
    nowMs,
    sleep: waits.sleep,
    random: Math.random,
    ...(sha256 && { sha256 }),
    log: onLog,
  };
}

async function start(order: StartOrder): Promise<void> {
  const { address, token, name, credited } = order;
  const ports = createPorts(order);
  const timer = setInterval(reportProgress, REPORT_MS);
  let failure: Failure | undefined;
  try {
    await runWorker({ address, token, name, kind: 'browser', credited, ports, signal: leaving.signal, leave: finishing.signal });
  } catch (error) {
    failure = failureOf(error);
  } finally {
    clearInterval(timer);
    reportProgress();
    report({ kind: 'ended', failure });
  }
}

function failureOf(error: unknown): Failure {
  if (error instanceof WorkerRefused) return { code: error.code, message: error.message, remedy: error.remedy };
  if (error instanceof EngineError) return { code: `engine_${error.code}`, message: error.message, remedy: error.remedy };
  const message = error instanceof Error ? error.message : String(error);
  return { code: 'internal', message, remedy: 'Reload the page. If it happens again, tell the organizer.' };
}

scope.onmessage = ({ data: order }) => {
  switch (order.kind) {
    case 'start':
      share = order.share;
      rate.set(order.rateMbit);
      void start(order);
      return;
    case 'share':
      share = order.share;
      return;
    case 'rate':
      rate.set(order.rateMbit);
      return;
    case 'leave':
      leaving.abort(new Error(order.reason));
      return;
    case 'finish':
      finishing.abort(new Error('the volunteer finishes'));
      return;
    case 'reconnect':
      links.breakOff(order.reason);
      waits.wake();
      return;
    default:
      order satisfies never;
  }
};

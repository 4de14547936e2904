/** The trainer: a Web Worker in which this volunteer's part of the run is computed. */
import { createStarCollective } from '@troupe/collective/star';
import { EngineError } from '@troupe/model';
import { runWorker, WorkerRefused, type WorkerLog, type WorkerPorts } from '@troupe/worker';
import { COOL, observeWork } from '../decisions/heat.js';
import { planEffort, type Effort } from '../decisions/share.js';
import type { EngineKind, Failure, Order, Report } from '../messages.js';
import { chooseEngine } from './engines.js';
import { createLinks } from './links.js';
import { createNaps } from './naps.js';
import { createTally } from './tally.js';
import { createThrottledEngine, type Work } from './throttled-engine.js';
import { workerScope } from './scope.js';

/** How often the page is told of progress. */
const TELL_MS = 250;

const scope = workerScope<Order, Report>();
const report = (message: Report): void => scope.postMessage(message);
const nowMs = (): number => performance.now();
const leaving = new AbortController();
const naps = createNaps();
/** Between gradients. Who is cut off from the run, or sent away, need not rest before it hears of that. */
const rests = createNaps();
const links = createLinks(() => rests.wake());
const tally = createTally();
let heat = COOL;
let share = 1;

function tell(): void {
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
  // In the order in which it happened: after the last word nothing is computing any more.
  tell();
  report({ kind: 'log', entry });
}

/** Cores of this machine, or as many as the browser admits to. */
const cores = (): number => navigator.hardwareConcurrency || 1;
const effort = (threaded: boolean, kind: EngineKind): Effort =>
  planEffort(share * heat.factor, kind === 'webgpu' ? 1 : cores(), threaded);

function createPorts(only: EngineKind | undefined): WorkerPorts {
  return {
    connect: links.connect,
    collective: createStarCollective({ connect: links.connect }),
    async createEngine(config, limits, wishes) {
      // Two at least, or it would not be known whether more are of use when the person gives more.
      const threads = Math.min(cores(), Math.max(2, planEffort(share, cores(), true).threads));
      const choice = await chooseEngine(config, limits, { ...wishes, threads, only, nowMs });
      const { signal } = leaving;
      const plan = (): Effort => effort(choice.threaded, choice.kind);
      const engine = await createThrottledEngine({ open: choice.open, effort: plan, onWork, nowMs, sleep: rests.sleep, signal });
      const { name, variant } = engine.info;
      report({ kind: 'engine', engine: choice.kind, variant: `${name} ${variant}`, trials: choice.trials });
      return engine;
    },
    nowMs,
    sleep: naps.sleep,
    random: Math.random,
    log: onLog,
  };
}

async function start({ address, token, name, only }: Order & { kind: 'start' }): Promise<void> {
  const telling = setInterval(tell, TELL_MS);
  let failure: Failure | undefined;
  try {
    await runWorker({ address, token, name, kind: 'browser', ports: createPorts(only), signal: leaving.signal });
  } catch (error) {
    failure = failureOf(error);
  } finally {
    clearInterval(telling);
    tell();
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
      void start(order);
      return;
    case 'share':
      share = order.share;
      return;
    case 'leave':
      leaving.abort(new Error(order.reason));
      return;
    case 'reconnect':
      links.breakOff(order.reason);
      naps.wake();
      return;
    default:
      order satisfies never;
  }
};

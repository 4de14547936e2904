/** `troupe worker`: flags -> runWorker with Node's ports. */
import { setMaxListeners } from 'node:events';
import { describeOptions } from '@troupe/config';
import { installationAt } from '@troupe/config/installation';
import { WORKER_OPTIONS } from '@troupe/engines/options';
import { EXIT, runApp, UsageError, type AppShell } from '@troupe/process';
import { printableLines, sentence } from '@troupe/protocol';
import { TransportError } from '@troupe/transport';
import { createRtcLinks, type RtcLinks } from '@troupe/transport/webrtc';
import { findNodeRtc, type NodeRtc } from '@troupe/transport/webrtc-node';
import { runWorker, WorkerRefused, type WorkerEnd, type WorkerLog } from '@troupe/worker';
import { workWhenAllowed, type Waiting } from './availability.js';
import { createNodePorts, sleep, type MemoryWarning, type PeerWarning } from './node-ports.js';
import { processorTimes } from './processor-times.js';
import { createProgress } from './progress.js';
import { readSettings, type Settings } from './settings.js';
import { sizeText, watchTraffic, type LimitReached } from './traffic.js';

// Every link and wait listens to the same signals: many listeners are not a leak.
setMaxListeners(0);

const USAGE = `Usage: troupe worker ADDRESS [FLAGS]

Computes gradients for the coordinator at ADDRESS until the run is over. ADDRESS is ws://HOST:PORT, or wss://HOST:PORT if the
coordinator has a certificate; the link for volunteers works too.

${describeOptions(WORKER_OPTIONS)}

If a private authority signed the certificate, set NODE_EXTRA_CA_CERTS=FILE. A worker connects through the proxy of HTTPS_PROXY,
HTTP_PROXY or ALL_PROXY, except to the hosts of NO_PROXY. In a reproducible run every worker uses the wasm engine
with one thread. The exit code is ${EXIT.refused} if the coordinator refuses the worker for good, ${EXIT.usage} if the flags are wrong, and ${EXIT.trafficLimit} if
--traffic-limit is used up.`;

/** What a worker with a rate limit holds unread: the socket of a link is not read beyond, so that the other side slows down. */
const UNREAD_BYTES = 256 * 1024;

/** With --json, the last line of a worker that fails. For people standard error says the same. */
interface Failure {
  readonly kind: 'failed';
  readonly code: string;
  readonly reason: string;
  readonly remedy?: string | undefined;
}

type Entry = WorkerLog | Waiting | MemoryWarning | PeerWarning | LimitReached;

/** @param progress gives the line for a computed lease, if one is due */
function describe(entry: Entry, progress: ReturnType<typeof createProgress>): string | undefined {
  switch (entry.kind) {
    case 'connecting':
      return `joining ${entry.address}`;
    case 'welcome':
      return `welcome to run ${entry.runId}: ${entry.parameters.toLocaleString('en')} parameters`;
    case 'engine':
      return `engine: ${entry.text}`;
    case 'engine_lost':
      return `the engine ${entry.engine} is lost (${entry.reason}); its lease is returned, and another engine opens`;
    case 'ready':
      return `ready at round ${entry.round} with ${entry.engine}, ${Math.round(entry.charsPerSecond).toLocaleString('en')} chars/s`;
    case 'computed':
    case 'progress':
      return progress(entry);
    case 'refused':
      return `round ${entry.round}: contribution not counted (${entry.result}): ${entry.reason}`;
    case 'resync':
      return `fetching the parameters again: ${entry.reason}`;
    case 'parked':
      return `parked: ${entry.reason}; it computes again when it is wanted`;
    case 'lost':
      return `${sentence(entry.reason)} Trying again in ${(entry.retryInMs / 1000).toFixed(1)} s. ${entry.remedy}`;
    case 'memory':
      return `${entry.text} ${entry.remedy}`;
    case 'peer':
      return [entry.text, entry.remedy].filter((part) => part !== undefined).join('\n  ');
    case 'waiting':
      return `waiting: ${entry.reason}`;
    case 'limit':
      return limitText(entry);
    case 'stopped':
      return `stopped: ${entry.reason}`;
    default:
      return entry satisfies never;
  }
}

function limitText({ limitBytes, sentBytes, receivedBytes }: LimitReached): string {
  const used = `${sizeText(sentBytes)} sent, ${sizeText(receivedBytes)} received`;
  return `The traffic limit of ${sizeText(limitBytes)} is reached (${used}). Its finished work counts. Start the worker again for as much again.`;
}

async function main({ args, env, out, err, signal }: AppShell): Promise<number> {
  if (args.includes('--help') || args.includes('-h')) {
    out(USAGE);
    return EXIT.ok;
  }
  let settings: Settings;
  try {
    settings = readSettings(args, env);
  } catch (error) {
    err(complaintOf(error as Complaint, env));
    return EXIT.usage;
  }
  const progress = createProgress(() => performance.now());
  const log = (entry: Entry): void => {
    const line = settings.json ? JSON.stringify(entry) : describe(entry, progress);
    // Other workers' words are among them.
    if (line !== undefined) out(settings.json ? line : printableLines(line));
  };
  try {
    const reached = await work(settings, log, signal);
    if (reached === undefined) return EXIT.ok;
    log(reached);
    return EXIT.trafficLimit;
  } catch (error) {
    const complaint = error as Complaint;
    if (settings.json) out(JSON.stringify(failureOf(complaint)));
    err(complaintOf(complaint, env));
    return exitCodeOf(complaint);
  }
}

function exitCodeOf(error: Complaint): number {
  // A run that is over may be continued, and may only be about to end: its last round may still have to be validated.
  if (error instanceof WorkerRefused) return error.code === 'run_over' ? EXIT.failed : EXIT.refused;
  const isWrongAddress = error instanceof TransportError && error.code === 'invalid_address';
  return isWrongAddress || error instanceof UsageError ? EXIT.usage : EXIT.failed;
}

function failureOf({ code = 'internal', message, remedy }: Complaint): Failure {
  return { kind: 'failed', code, reason: message, remedy };
}

/** @returns why it has ended before the run */
async function work(settings: Settings, log: (entry: Entry) => void, signal: AbortSignal): Promise<LimitReached | undefined> {
  const rtc = settings.webrtc ? await openRtc() : undefined;
  try {
    return await workWith(settings, rtc && createRtcLinks(rtc), log, signal);
  } finally {
    rtc?.close();
  }
}

/** @throws UsageError */
async function openRtc(): Promise<NodeRtc> {
  const rtc = await findNodeRtc();
  if (rtc) return rtc;
  throw new UsageError(
    '--webrtc needs the package node-datachannel, which is not installed, or has no build for this machine.',
    `Install it (${installationAt(import.meta.url).install('node-datachannel')}), or leave --webrtc out: gradients then go through the coordinator.`,
  );
}

async function workWith(
  settings: Settings,
  rtc: RtcLinks | undefined,
  log: (entry: Entry) => void,
  signal: AbortSignal,
): Promise<LimitReached | undefined> {
  const { lending, traffic } = settings;
  const clock = { now: () => new Date(), nowMs: () => performance.now(), sleep, processorTimes };
  const watch = watchTraffic(traffic, clock);
  const unreadBytes = traffic.rateMbit === undefined ? undefined : UNREAD_BYTES;
  const ports = await createNodePorts({ ...settings, rtc, onLink: watch.watch, unreadBytes, log, signal });
  const begin = (leave: AbortSignal): Promise<WorkerEnd> => runWorker({ ...settings, kind: 'node', ports, signal, leave });
  const isAlways = lending.hours === undefined && !lending.onlyWhenIdle;
  const end = await (isAlways ? begin(watch.spent) : workWhenAllowed(lending, clock, signal, begin, log, watch.spent));
  return end === 'stopped' || signal.aborted ? undefined : watch.reached;
}

type Complaint = Error & { readonly code?: string; readonly remedy?: string };

function complaintOf({ message, remedy, stack }: Complaint, env: AppShell['env']): string {
  return remedy !== undefined && !env.TROUPE_DEBUG ? `${sentence(message)}\n${remedy}` : (stack ?? message);
}

const missing = (lines: number): string => JSON.stringify({ kind: 'missing', lines });

// Asked to stop while its output is paused: the rest of the output is dropped.
// eslint-disable-next-line no-restricted-syntax
if (!(await runApp(process, missing, main))) process.exit();

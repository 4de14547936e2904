import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { createStarCollective, type ServiceNote } from '@troupe/collective/star';
import { memoryProblem, workerBytes, type EngineChoice, type RunSize } from '@troupe/engines';
import { loadWasm, openEngine } from '@troupe/engines/node';
import { EngineError, type Engine } from '@troupe/model';
import { memoryForThisProcess, type MachineMemory } from '@troupe/process';
import type { Connection } from '@troupe/transport';
import type { RtcLinks } from '@troupe/transport/webrtc';
import { connectWebSocket, type ConnectOptions } from '@troupe/transport/websocket';
import type { WorkerLog, WorkerPorts } from '@troupe/worker';
import { openLentEngine } from './lent-engine.js';
import { createReduceHosts } from './reduce-hosts.js';
import { openPeer, type Listen } from './peer.js';

const GIB = 1024 ** 3;

export interface NodePortsOptions {
  readonly engine: EngineChoice;
  /**
   * Number of threads in which engines for the processor compute; the main thread serves the
   * sockets.
   */
  readonly threads: number;
  /** False: no GPU is used. */
  readonly gpu: boolean;
  /** Share of the threads or the GPU that the engine uses, 0.1 to 1. */
  readonly share: number;
  /** Aborts rests of the engine. */
  readonly signal: AbortSignal;
  /** Where other workers reach this one, which sums for them; absent: it does not. */
  readonly listen?: Listen | undefined;
  /** Links to other workers over WebRTC, and from them; absent: there are none. */
  readonly rtc?: RtcLinks | undefined;
  /** See createReduceHosts. */
  readonly reduceHosts?: readonly string[];
  /** GiB that a run may need. Absent: what the machine has. */
  readonly memoryLimit?: number | undefined;
  /** The memory for this process. Absent: that of the machine. */
  readonly memory?: () => MachineMemory;
  /** What it does to every link that is opened. Absent: nothing. */
  readonly onLink?: (link: Connection) => Connection;
  /** As of connectWebSocket. */
  readonly unreadBytes?: number | undefined;
  log(entry: WorkerLog | MemoryWarning | PeerWarning): void;
}

/** The worker may need more memory than is free. */
export interface MemoryWarning {
  readonly kind: 'memory';
  /** Both are full sentences. */
  readonly text: string;
  readonly remedy: string;
}

/** Something is wrong with the links of other workers to this one. */
export interface PeerWarning {
  readonly kind: 'peer';
  readonly text: string;
  readonly remedy: string | undefined;
}

/** @throws TransportError when it cannot listen */
export async function createNodePorts(options: NodePortsOptions): Promise<WorkerPorts> {
  const {
    engine,
    threads,
    gpu,
    share,
    listen,
    rtc,
    signal,
    log,
    memoryLimit,
    reduceHosts = [],
    memory = memoryForThisProcess,
    onLink = (link) => link,
    unreadBytes,
  } = options;
  // Sets V8's flags before a replica compiles the first module.
  await loadWasm();
  const rests = createRests();
  const hosts = createReduceHosts(reduceHosts);
  const open = async (address: string, more: ConnectOptions): Promise<Connection> =>
    onLink(await connectWebSocket(address, { env: process.env, ...(unreadBytes !== undefined && { unreadBytes }), ...more }));
  const connectReducer = (address: string, until: AbortSignal): Promise<Connection> =>
    open(address, { signal: until, admit: (found) => hosts.choose(address, found) });
  const waking = async (opening: Promise<Connection>): Promise<Connection> => {
    const link = await opening;
    void link.closed.then(() => rests.wake());
    return link;
  };
  const connect = (address: string, until: AbortSignal): Promise<Connection> =>
    waking(open(address, { signal: until, onOpen: hosts.coordinatorIsAt }));
  const connectService = (address: string, until: AbortSignal): Promise<Connection> => waking(connectReducer(address, until));
  const nowMs = (): number => performance.now();
  const warn = ({ text, remedy }: ServiceNote): void => log({ kind: 'peer', text, remedy });
  const peer = listen || rtc ? await openPeer({ listen, rtc, log: warn, signal }) : undefined;
  return {
    connect,
    collective: createStarCollective({ connect: connectService, connectReducer, ...(peer && { peer }), ...(rtc && { rtc }) }),
    requireMemory(config) {
      const count = config.leaseStreams > 0 ? 1 : Math.max(1, Math.ceil(threads * share));
      if (memoryLimit !== undefined) requireWithin(config, count, memoryLimit);
      checkMemory(config, count, memory());
    },
    createEngine(config, limits, { not, reproducible }) {
      // After a loss any engine is better than none, except in a reproducible run, which allows
      // only one.
      const choice = not.length > 0 && !reproducible ? 'auto' : engine;
      const openWith = async (count: number): Promise<Engine> => {
        const size = {
          model: config,
          streams: limits.maxStreams,
          leaseStreams: 0,
          window: limits.maxWindow,
          localSteps: 1,
          tracks: 0,
        };
        const warning = checkMemory(size, reproducible ? 1 : count, memory());
        if (warning !== undefined) log(warning);
        return openEngine(choice, config, limits, {
          threads: count,
          gpu,
          not,
          reproducible,
          nowMs,
          log: (text) => log({ kind: 'engine', text }),
        });
      };
      return openLentEngine({ choice, share, threads, reproducible, open: openWith, nowMs, sleep: rests.sleep, signal });
    },
    nowMs,
    sleep,
    random: Math.random,
    sha256: async (bytes) => createHash('sha256').update(bytes).digest(),
    log,
  };
}

/** @throws EngineError `out_of_memory` if the machine can never give what a worker of this run needs */
function checkMemory(size: RunSize, threads: number, machine: MachineMemory): MemoryWarning | undefined {
  const problem = memoryProblem(size, { coordinators: 0, workers: 1, threads: Math.max(1, threads) }, machine);
  if (problem === undefined) return undefined;
  const { verdict, text, remedy } = problem;
  if (verdict === 'impossible') throw new EngineError('out_of_memory', text, remedy);
  return { kind: 'memory', text, remedy };
}

/** @throws EngineError `out_of_memory` */
function requireWithin(size: RunSize, threads: number, limitGib: number): void {
  const neededGib = workerBytes(size, threads) / GIB;
  if (neededGib <= limitGib) return;
  const enoughGib = Math.ceil(neededGib * 10) / 10;
  throw new EngineError(
    'out_of_memory',
    `This run needs about ${neededGib.toFixed(1)} GiB of memory here, and --memory-limit allows ${limitGib}.`,
    `Give ${threads > 1 ? 'fewer --threads, or ' : ''}--memory-limit ${enoughGib}, or join another run.`,
  );
}

export async function sleep(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal });
}

/** Rests between gradients. A link to the coordinator or the service that ends ends them too, so that the worker hears of it at once. */
function createRests() {
  let over = new AbortController();
  return {
    async sleep(ms: number, signal: AbortSignal): Promise<void> {
      const { signal: woken } = over;
      await sleep(ms, AbortSignal.any([signal, woken])).catch((error: unknown) => {
        if (signal.aborted || !woken.aborted) throw error;
      });
    },
    wake(): void {
      over.abort();
      over = new AbortController();
    },
  };
}

/** Reducers in threads of this process, each with a port of its own. A thread that ends is started again. */
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { LIMITS } from '@troupe/protocol';
import { backoffMs, TransportError } from '@troupe/transport';
import { SERVICE_BACKOFF, STEADY_MS } from '../retries.js';
import type { ReducerAddress, ServiceNote } from '../star/index.js';

/** What a thread is given. The token is in no argument and no environment, which other users could read. */
export interface ReducerData {
  readonly host: string;
  /** 0 = any free port. */
  readonly port: number;
  /** How many sockets it may have open. */
  readonly places: number;
  readonly token: string;
}

/** What a thread tells. */
export type ReducerNews =
  | { readonly kind: 'listening'; readonly address: string }
  | { readonly kind: 'failed'; readonly code: TransportError['code']; readonly message: string; readonly remedy: string }
  | { readonly kind: 'note'; readonly note: ServiceNote };

export interface ReducersOptions {
  /** Number of reducers to start. */
  readonly reducers: number;
  /** How many sockets each may have open. */
  readonly places: number;
  /** The address of this machine at which they listen; "0.0.0.0" for all. */
  readonly host: string;
  /** The port of the service: they take the next ones. 0 = any free ports. */
  readonly port: number;
  readonly token: string;
  /** Receives warnings about their links. */
  readonly log: (note: ServiceNote) => void;
  /** Receives what happens to their threads. */
  readonly logThreads: (note: ServiceNote) => void;
  /** Gives up the start. */
  readonly signal: AbortSignal;
}

export interface Reducers {
  readonly addresses: readonly ReducerAddress[];
  readonly ports: readonly number[];
  /** Resolves when the threads have ended; never rejects. */
  close(): Promise<void>;
}

/** A started thread. */
export type StartedThread = Pick<Worker, 'postMessage' | 'on' | 'terminate'>;
type Start = (data: ReducerData) => StartedThread;

/** The built thread. Tests of the sources use it as well. */
const SCRIPT = new URL('../../dist/node/reducer-thread.js', import.meta.url);

function startThread(data: ReducerData): StartedThread {
  // Options of this process are not for the thread: tests resolve sources, and the thread is built.
  return new Worker(SCRIPT, { workerData: data, execArgv: [] });
}

const MAX_PORT = 65_535;

/** @throws TransportError `port_in_use`, `refused` or `invalid_address` when one cannot listen; `aborted` */
export async function startReducers(options: ReducersOptions, start: Start = startThread): Promise<Reducers> {
  const kept = portsOf(options).map((port) => new KeptReducer({ ...options, port }, start));
  const close = async (): Promise<void> => void (await Promise.all(kept.map((reducer) => reducer.close())));
  const opened = await Promise.allSettled(kept.map((reducer) => reducer.opened));
  const failed = opened.find(({ status }) => status === 'rejected');
  if (failed === undefined) return { addresses: kept.map(addressesOf), ports: kept.map(({ port }) => port), close };
  await close();
  throw (failed as PromiseRejectedResult).reason;
}

/** @throws TransportError `invalid_address` */
function portsOf({ reducers, port }: ReducersOptions): number[] {
  if (port + reducers <= MAX_PORT || port === 0)
    return Array.from({ length: reducers }, (_, k) => (port === 0 ? 0 : port + 1 + k));
  const message = `${reducers} reducers would take the ports after ${port}, and ports end at ${MAX_PORT}`;
  throw new TransportError(
    'invalid_address',
    message,
    `Use --port with a number up to ${MAX_PORT - reducers}, or 0 for free ports.`,
  );
}

/** Nobody can connect to "0.0.0.0", so the service connects to the loopback. */
function addressesOf({ address, port }: KeptReducer): ReducerAddress {
  const reachable = address.replace('//0.0.0.0:', '//127.0.0.1:').replace('//[::]:', '//[::1]:');
  return { address: reachable, forWorkers: `:${port}` };
}

class KeptReducer {
  /** Resolves when it listens for the first time. */
  readonly opened: Promise<void>;
  /** "ws://127.0.0.1:7072". */
  address = '';
  port: number;
  readonly #options: ReducersOptions;
  readonly #start: Start;
  readonly #over = new AbortController();
  /** Settles when no thread is left. */
  readonly #ended: Promise<void>;

  constructor(options: ReducersOptions, start: Start) {
    this.port = options.port;
    this.#options = options;
    this.#start = start;
    const first = this.#open();
    this.opened = this.#listens(first);
    this.#ended = this.opened.then(
      () => this.#keep(first),
      async () => void (await first.ended),
    );
  }

  close(): Promise<void> {
    this.#over.abort();
    return this.#ended;
  }

  #open(): ReducerThread {
    const { host, places, token, log } = this.#options;
    return new ReducerThread(this.#start({ host, port: this.port, places, token }), log, this.#over.signal);
  }

  async #listens(first: ReducerThread): Promise<void> {
    const stop = (): void => this.#over.abort();
    const { signal } = this.#options;
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    try {
      this.address = await first.listening;
      this.port = portIn(this.address);
      if (this.#over.signal.aborted) throw stoppedEarly();
    } catch (error) {
      this.#over.abort();
      throw this.#explained(error);
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  #explained(error: unknown): unknown {
    if (!(error instanceof TransportError) || error.code !== 'port_in_use') return error;
    const remedy =
      'Reducers take the ports after that of the service: use --port with another number (0 takes free ports), ' +
      'or stop the program that uses it.';
    return new TransportError('port_in_use', `${error.message}, and a reducer needs it`, remedy, { cause: error });
  }

  /** Never rejects. */
  async #keep(first: ReducerThread): Promise<void> {
    let thread = first;
    for (let failures = 1; ; failures++) {
      const startMs = performance.now();
      const reason = await thread.ended;
      if (this.#over.signal.aborted) return;
      if (performance.now() - startMs > STEADY_MS) failures = 1;
      if (!(await this.#rests(reason, backoffMs(failures, 0, SERVICE_BACKOFF)))) return;
      thread = this.#open();
      void thread.listening.then(
        () => this.#options.logThreads({ level: 'info', text: `the reducer on port ${this.port} listens again` }),
        () => undefined,
      );
    }
  }

  /** @returns whether it shall start again */
  async #rests(reason: string, ms: number): Promise<boolean> {
    const text = `the reducer on port ${this.port} has ended: ${reason}. It starts again in ${ms / 1000} s.`;
    this.#options.logThreads({ level: 'warn', text });
    await sleep(ms, undefined, { signal: this.#over.signal }).catch(() => undefined);
    return !this.#over.signal.aborted;
  }
}

/** One thread from its start to its end. */
class ReducerThread {
  /** Its address. Rejects with TransportError when it cannot listen. */
  readonly listening: Promise<string>;
  /** Resolves when it has ended, with the reason. */
  readonly ended: Promise<string>;
  readonly #thread: StartedThread;
  #isEnded = false;

  /** @param over tells it to end */
  constructor(thread: StartedThread, log: ReducersOptions['log'], over: AbortSignal) {
    this.#thread = thread;
    let reason: string | undefined;
    thread.on('error', ({ message }: Error) => (reason = message));
    this.ended = new Promise((resolve) => {
      thread.on('exit', (code) => {
        this.#isEnded = true;
        resolve(reason ?? `exit code ${code}`);
      });
    });
    this.listening = new Promise((resolve, reject) => {
      thread.on('message', (news: ReducerNews) => {
        if (news.kind === 'note') return log(news.note);
        if (news.kind === 'listening') return resolve(news.address);
        reason = news.message;
        reject(new TransportError(news.code, news.message, news.remedy));
      });
      void this.ended.then((why) => reject(endedEarly(why, over)));
    });
    // Who waits for it sees it; a thread that is started again is not waited for.
    this.listening.catch(() => undefined);
    const stop = (): void => void this.#stop();
    over.addEventListener('abort', stop, { once: true });
    void this.ended.then(() => over.removeEventListener('abort', stop));
    if (over.aborted) stop();
  }

  /** It closes its links first, unless it takes too long. */
  async #stop(): Promise<void> {
    this.#thread.postMessage('stop');
    const late = sleep(2 * LIMITS.closeMs, undefined, { ref: false });
    await Promise.race([this.ended, late]);
    if (!this.#isEnded) await this.#thread.terminate();
  }
}

function endedEarly(reason: string, { aborted }: AbortSignal): TransportError {
  if (aborted) return stoppedEarly();
  return new TransportError('refused', `the thread of a reducer has ended: ${reason}`, 'Use fewer --reducers, or none.');
}

function stoppedEarly(): TransportError {
  return new TransportError('aborted', 'the reducer was stopped before it could be used', 'Start again.');
}

function portIn(address: string): number {
  return Number(/:(\d+)$/.exec(address)![1]);
}

/**
 * The supervisor of a host: starts the workers of a launch, starts again what dies, and ends them all when the launcher says so, when its
 * channel closes, or when nothing has come through it for too long. It runs in a process of its own, on a host or on the launcher's machine.
 */
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Readable } from 'node:stream';
import { mayLackMemory, startApp, type AppProcess, type Exit } from '../processes.js';
import type { Slot } from './hosts.js';
import { afterEnding, threadsFor, workerArguments, type Next } from './restarts.js';
import { lockSlot, type SlotLock } from './slot-lock.js';
import { BEAT_MS, SILENCE_MS, WIRE, type FromHost, type ToHost, type WorkerEntry } from './wire.js';

/** Time for workers to leave the run before they are killed. */
const LEAVE_MS = 3_000;
/** A worker may compute a thousand leases a second. */
const PROGRESS_MS = 1_000;

type Order = Extract<ToHost, { do: 'start' }>;
type WorkerEnding = Extract<FromHost, { at: 'ended' }>;

export interface SupervisorPorts {
  /** What the launcher says, line by line. Its end is the end of the launcher, or of the link to it. */
  readonly orders: Readable;
  readonly say: (message: FromHost) => void;
  /** The worker app. */
  readonly worker: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Cores for the workers of one launch. */
  readonly cores: number;
  /** Milliseconds, monotonic. */
  readonly now: () => number;
  /** [0, 1). */
  readonly random: () => number;
  /** Aborts when this process is asked to stop. */
  readonly signal: AbortSignal;
}

/** Resolves when all workers have ended. */
export async function supervise(ports: SupervisorPorts): Promise<void> {
  const supervisor = new Supervisor(ports);
  try {
    await supervisor.run();
  } finally {
    supervisor.close();
  }
}

/** A worker from its start to its end. */
interface Life {
  readonly process: AppProcess;
  readonly hasJoined: () => boolean;
  /** Its last words, if it had the time to say what failed. */
  readonly failure: () => WorkerEntry | undefined;
}

/** Why a worker has ended, and what helps: in its own words, if it is not to start again and has said so. */
function accountOf({ next, why }: Next, { process, failure }: Life): Pick<WorkerEnding, 'why' | 'remedy' | 'code'> {
  const { code, reason, remedy } = failure() ?? {};
  if (next === 'failed' && reason !== undefined && remedy !== undefined) return { why: reason, remedy, code };
  return { why: [why, ...process.errorTail()].filter(Boolean).join('\n') };
}

class Supervisor {
  readonly #ports: SupervisorPorts;
  /** Aborts when the workers have to leave. */
  readonly #leaving = new AbortController();
  readonly #workers = new Set<AppProcess>();
  readonly #locks: SlotLock[] = [];
  readonly #beat: NodeJS.Timeout;
  #silence: NodeJS.Timeout | undefined;

  constructor(ports: SupervisorPorts) {
    this.#ports = ports;
    this.#beat = setInterval(() => ports.say({ at: 'beat' }), BEAT_MS);
    ports.signal.addEventListener('abort', this.leave, { once: true });
  }

  readonly leave = (): void => {
    if (this.#leaving.signal.aborted) return;
    this.#leaving.abort();
    for (const worker of this.#workers) worker.stop();
  };

  async run(): Promise<void> {
    this.#ports.say({ at: 'supervising', wire: WIRE });
    this.#listen();
    const lines = createInterface({ input: this.#ports.orders });
    const order = await new Promise<Order | undefined>((resolve) => {
      lines.on('line', (line) => {
        this.#listen();
        const message = JSON.parse(line) as ToHost;
        if (message.do === 'start') resolve(message);
        if (message.do === 'stop') this.leave();
      });
      lines.on('close', this.leave);
      this.#leaving.signal.addEventListener('abort', () => resolve(undefined), { once: true });
    });
    if (order !== undefined) await Promise.all(order.slots.map((slot) => this.#keep(slot, order)));
    lines.close();
  }

  close(): void {
    clearInterval(this.#beat);
    clearTimeout(this.#silence);
    this.#ports.signal.removeEventListener('abort', this.leave);
    for (const lock of this.#locks) lock.release();
    for (const worker of this.#workers) worker.kill();
    this.#ports.orders.destroy();
  }

  /** The launcher lives. */
  #listen(): void {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(this.leave, SILENCE_MS);
  }

  /** Keeps the worker of a slot running. Resolves when it is not to start again. */
  async #keep(slot: Slot, order: Order): Promise<void> {
    const { signal } = this.#leaving;
    try {
      if (!(await this.#lock(slot, order))) return;
      await this.#restart(slot, order);
    } catch (error) {
      if (signal.aborted) return;
      const why = (error as Error).message;
      this.#ports.say({ at: 'ended', slot: slot.name, how: 'not started', next: 'failed', why, retryInMs: 0 });
    }
  }

  async #lock(slot: Slot, { address, launch, by }: Order): Promise<boolean> {
    const claimant = { launch, by, onTakenOver: this.leave };
    const lock = await lockSlot(address, slot.name, claimant, this.#leaving.signal);
    if ('heldBy' in lock) this.#ports.say({ at: 'held', slot: slot.name, by: lock.heldBy });
    else this.#locks.push(lock);
    return !('heldBy' in lock);
  }

  async #restart(slot: Slot, order: Order): Promise<void> {
    const { say, now, random } = this.#ports;
    const { signal } = this.#leaving;
    let [failures, hasJoined] = [0, false];
    while (!signal.aborted) {
      const startedMs = now();
      const life = this.#start(slot, order);
      const exit = await this.#lived(life.process);
      if (signal.aborted) return;
      hasJoined ||= life.hasJoined();
      const ending = { code: exit.code, wasKilled: mayLackMemory(exit), hasJoined, ranMs: now() - startedMs, failures };
      const next = afterEnding(ending, random());
      ({ failures } = next);
      say({ at: 'ended', slot: slot.name, how: exit.how, next: next.next, retryInMs: next.retryInMs, ...accountOf(next, life) });
      if (next.next !== 'restarts') return;
      await sleep(next.retryInMs, undefined, { signal });
    }
  }

  #start(slot: Slot, { address, token }: Order): Life {
    const { say, worker, env } = this.#ports;
    const threads = threadsFor(slot, this.#ports.cores);
    say({ at: 'starting', slot: slot.name, threads });
    let hasJoined = false;
    let failure: WorkerEntry | undefined;
    const progress = this.#progress(slot.name);
    const process = startApp(worker, {
      args: workerArguments(slot, address, threads),
      env: { ...env, ...slot.env, TROUPE_TOKEN: token },
      output: 'lines',
      onLine: (line) => {
        const entry = entryOf(line);
        hasJoined ||= entry.kind === 'ready';
        if (entry.kind === 'failed') failure = entry;
        progress(entry);
      },
      onErrorLine: (line) => say({ at: 'error', slot: slot.name, line }),
    });
    this.#workers.add(process);
    return { process, hasJoined: () => hasJoined, failure: () => failure };
  }

  /** Passes on what a worker logs, and of its leases one a second. */
  #progress(slot: string): (entry: WorkerEntry) => void {
    let lastMs = -Infinity;
    return (entry) => {
      // The coordinator knows.
      if (entry.kind === 'progress') return;
      if (entry.kind === 'computed') {
        if (this.#ports.now() - lastMs < PROGRESS_MS) return;
        lastMs = this.#ports.now();
      }
      this.#ports.say({ at: 'log', slot, entry });
    };
  }

  /** The end of a worker, which has little time once it has to leave. */
  async #lived(worker: AppProcess): Promise<Exit> {
    const { signal } = this.#leaving;
    let timer: NodeJS.Timeout | undefined;
    const hurry = (): void => void (timer = setTimeout(worker.kill, LEAVE_MS));
    signal.addEventListener('abort', hurry, { once: true });
    try {
      return await worker.exited;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', hurry);
      this.#workers.delete(worker);
    }
  }
}

/** A line of a worker's log. One that is no JSON comes from a library. */
function entryOf(line: string): WorkerEntry {
  try {
    return JSON.parse(line) as WorkerEntry;
  } catch {
    return { kind: 'text', reason: line };
  }
}

import { setTimeout as sleep } from 'node:timers/promises';
import { shellQuote, type TrainingConfig } from '@troupe/config';
import { lessMemory, memoryProblem } from '@troupe/engines';
import { EXIT, isLastingExit } from '@troupe/process';
import type { RunEvent } from '@troupe/run';
import { CliError } from './errors.js';
import type { LocalWorkers } from './local-workers.js';
import {
  mayLackMemory,
  onStopRequest,
  RestartLimit,
  startApp,
  type AppOptions,
  type AppProcess,
  type Exit,
} from './processes.js';
import { isDebugging, type Shell } from './shell.js';

/**
 * Time for the coordinator to end before everything is killed: enough to write a large checkpoint
 * to a slow disk.
 */
const SAVE_MS = 120_000;
/** Time for workers to leave after the coordinator has ended. */
const LEAVE_MS = 5_000;
const KILL_MS = 2_000;

export interface LocalTrainingOptions {
  /** Run flags for the coordinator, as the user typed them. */
  readonly coordinatorArgs: readonly string[];
  /** Threads of the coordinator that sum gradients, as far as the flags say. */
  readonly reducers: number;
  /** The workers on this machine for a run of this size. */
  readonly planWorkers: (config: TrainingConfig) => LocalWorkers;
  /** Flags for the worker with this number, starting at 1. */
  readonly workerArgs: (plan: LocalWorkers, number: number) => readonly string[];
  /** Of the apps. Secrets are in it, because other users cannot read it. Without a token for workers, the coordinator makes one up. */
  readonly env: Shell['env'];
  /** The coordinator goes on when the run is finished, until it is asked to stop. */
  readonly staysOpen: boolean;
  /** Called for every event of the run in order. `line` is the event as one line of JSON. */
  readonly onEvent: (event: RunEvent, line: string) => void;
  /**
   * Called for other lines: standard error of a failed worker, or of all children with
   * TROUPE_DEBUG=1.
   */
  readonly onErrorLine: (source: string, line: string) => void;
  /** Called when the first stop request has been passed on. */
  readonly onStopping: () => void;
}

type Finished = Extract<RunEvent, { event: 'finished' }>;

export interface TrainingOutcome {
  /** `ok`: finished, or stopped and saved. Otherwise an `error` event gives the reason. */
  readonly exitCode: number;
  /** Absent if the run was stopped before it began. */
  readonly finished?: Finished;
}

/**
 * Runs a coordinator and its workers as child processes until the run has ended. Failed workers are
 * restarted. The first stop request lets the coordinator save and stop; the second kills all
 * processes.
 * @throws CliError `not_built`, `coordinator_failed`, `no_workers`, `killed`.
 */
export async function trainLocally(shell: Shell, options: LocalTrainingOptions): Promise<TrainingOutcome> {
  const training = new LocalTraining(shell, options);
  const forget = onStopRequest(
    shell,
    () => training.stop(),
    () => training.kill(),
  );
  const stop = () => training.stop();
  shell.unread.addEventListener('abort', stop, { once: true });
  try {
    return await training.run();
  } finally {
    forget();
    shell.unread.removeEventListener('abort', stop);
  }
}

class LocalTraining {
  readonly #shell: Shell;
  readonly #options: LocalTrainingOptions;
  /** With the join token, once it is known. */
  #env: Shell['env'];
  /** Aborts when the run is about to end. Workers that leave after that are not restarted. */
  #ending = new AbortController();
  /** Aborts at the end, to clear all timers. */
  readonly #over = new AbortController();
  readonly #workers = new Set<AppProcess>();
  /** Of each local worker, by number. */
  readonly #keepers = new Map<number, Promise<void>>();
  #coordinator: AppProcess | undefined;
  #address: string | undefined;
  /** Undefined until the run has started. */
  #plan: LocalWorkers | undefined;
  /** A local worker was probably ended for want of memory. */
  #lacksMemory = false;
  /** The run's folder. */
  #out: string | undefined;
  #started = false;
  /** A checkpoint of the run is on disk. */
  #saved = false;
  #stopping = false;
  /** Workers of the run, local and remote, as the coordinator counts them. */
  #joined = 0;
  /** Local workers that failed too often. */
  #givenUp = 0;
  #finished: Finished | undefined;
  /** The run is over, and its pages are open. */
  #serving = false;
  #complained = false;
  /** Made when everything has ended: only then is known what was saved. */
  #failure: (() => CliError) | undefined;

  constructor(shell: Shell, options: LocalTrainingOptions) {
    this.#shell = shell;
    this.#options = options;
    this.#env = options.env;
  }

  async run(): Promise<TrainingOutcome> {
    const { apps } = this.#shell;
    try {
      this.#coordinator = startApp(apps.coordinator, {
        args: [...this.#options.coordinatorArgs, '--json'],
        env: this.#env,
        output: 'lines',
        onLine: (line) => this.#receive(line),
        ...this.#debugging('coordinator'),
      });
      const exit = await this.#coordinator.exited;
      await this.#dismissWorkers();
      return this.#outcome(exit);
    } finally {
      this.#over.abort();
      for (const worker of this.#workers) worker.kill();
      this.#coordinator?.kill();
    }
  }

  stop(): void {
    if ((this.#finished !== undefined || this.#serving) && this.#options.staysOpen) return this.#close();
    if (this.#stopping || this.#finished !== undefined) return;
    this.#stopping = true;
    this.#coordinator?.stop();
    this.#options.onStopping();
    this.#expectEnd();
  }

  /** The run is finished, and its pages close. */
  #close(): void {
    this.#coordinator?.stop();
    this.#expectEnd();
  }

  kill(): void {
    this.#ending.abort();
    if (this.#finished === undefined && !this.#complained) {
      this.#failure ??= () => new CliError('killed', 'The run was ended at once, without saving.', this.#resumeHint());
    }
    for (const worker of this.#workers) worker.kill();
    this.#coordinator?.kill();
  }

  #receive(line: string): void {
    const event = parseEvent(line);
    if (event === undefined) {
      this.#options.onErrorLine('coordinator', line);
      return;
    }
    this.#options.onEvent(event, line);
    switch (event.event) {
      case 'listening':
        this.#out = event.out;
        this.#address = localAddress(event);
        this.#env = withToken(this.#env, event.token);
        break;
      case 'started':
        this.#started = true;
        this.#saved ||= event.round > 0;
        this.#goOn();
        this.#startWorkers(event.config);
        break;
      case 'checkpoint':
        this.#saved = true;
        break;
      case 'worker':
        this.#joined = event.workers;
        this.#stopIfDeserted();
        break;
      case 'round':
        // Workers disconnect after the last round, before `finished` arrives.
        if (event.round >= event.rounds) this.#ending.abort();
        break;
      case 'finished':
        this.#finished = event;
        if (this.#options.staysOpen && !this.#stopping) this.#ending.abort();
        else this.#expectEnd();
        break;
      case 'serving':
        // Also a run that has diverged: its workers have been dismissed.
        this.#serving = true;
        this.#ending.abort();
        break;
      case 'error':
        this.#complained = true;
        this.#expectEnd();
        break;
      default:
        break;
    }
  }

  /** A run that was over has gone back to a checkpoint: its workers are kept again, and those that have left are started. */
  #goOn(): void {
    if (!this.#ending.signal.aborted || this.#stopping) return;
    this.#ending = new AbortController();
    this.#finished = undefined;
    this.#serving = false;
    this.#plan = undefined;
  }

  #startWorkers(config: TrainingConfig): void {
    const address = this.#address;
    if (this.#plan !== undefined || address === undefined || this.#ending.signal.aborted) return;
    const plan = this.#options.planWorkers(config);
    if (!this.#checkMemory(config, plan)) return;
    this.#plan = plan;
    for (let i = 1; i <= plan.workers; i++) {
      if (this.#keepers.has(i)) continue;
      const keeper = this.#keepWorker(i, address, plan).finally(() => this.#keepers.delete(i));
      this.#keepers.set(i, keeper);
    }
  }

  /** Whether the processes of this run may fit into the memory. Stops the run if they cannot. */
  #checkMemory(config: TrainingConfig, plan: LocalWorkers): boolean {
    const problem = memoryProblem(config, { coordinators: 1, reducers: this.#options.reducers, ...plan }, this.#shell.memory());
    if (problem === undefined) return true;
    const { verdict, text, remedy } = problem;
    if (verdict === 'tight') {
      this.#announce({ event: 'note', level: 'warn', text, remedy });
      return true;
    }
    this.#failure = () => new CliError('no_memory', text, remedy);
    this.stop();
    return false;
  }

  /**
   * Keeps one worker running until the run ends or the worker has failed too often. Never rejects.
   */
  async #keepWorker(number: number, address: string, plan: LocalWorkers): Promise<void> {
    const name = `local-${number}`;
    const shell = this.#shell;
    const limit = new RestartLimit(shell.restartDelayMs, shell.random);
    try {
      while (!this.#ending.signal.aborted) {
        const worker = startApp(shell.apps.worker, {
          args: [address, '--name', name, ...this.#options.workerArgs(plan, number)],
          env: this.#env,
          output: 'none',
          ...this.#debugging(name),
        });
        this.#workers.add(worker);
        const exit = await worker.exited;
        this.#workers.delete(worker);
        if (this.#ending.signal.aborted) return;
        const delayMs = isLastingExit(exit.code) ? undefined : limit.delayAfter(shell.now(), mayLackMemory(exit));
        this.#reportExit(name, worker, exit, delayMs);
        if (delayMs === undefined) {
          this.#givenUp++;
          this.#stopIfDeserted();
          return;
        }
        await sleep(delayMs, undefined, { signal: this.#ending.signal });
      }
    } catch (error) {
      if (this.#ending.signal.aborted) return;
      const failure =
        error instanceof CliError ? error : new CliError('no_workers', String(error), 'Run it again.', { cause: error });
      this.#failure ??= () => failure;
      this.stop();
    }
  }

  #reportExit(name: string, worker: AppProcess, exit: Exit, delayMs: number | undefined): void {
    if (!isDebugging(this.#shell.env)) for (const line of worker.errorTail()) this.#options.onErrorLine(name, line);
    const next = isLastingExit(exit.code)
      ? 'it would fail again and is not restarted'
      : delayMs === undefined
        ? 'it failed too often and is not restarted'
        : 'it is restarted';
    const isMemory = mayLackMemory(exit);
    this.#lacksMemory ||= isMemory;
    const cause = isMemory ? ', most likely because the memory of this machine ran out' : '';
    const text = `worker ${name} ended (${exit.how})${cause}; ${next}`;
    this.#announce({ event: 'note', level: 'warn', text, ...(isMemory ? { remedy: this.#lessMemory() } : {}) });
  }

  #lessMemory(): string {
    return lessMemory({ coordinators: 1, ...(this.#plan ?? { workers: 1, threads: 1 }) });
  }

  #announce(event: RunEvent): void {
    this.#options.onEvent(event, JSON.stringify(event));
  }

  #resumeHint(): string {
    if (!this.#saved) return 'No checkpoint was saved yet: start the run again with the same command.';
    const out = this.#out === undefined ? '' : ` --out ${shellQuote(this.#out)}`;
    return `Continue from the last checkpoint: ${this.#shell.program} train --resume${out}`;
  }

  #debugging(source: string): Pick<AppOptions, 'onErrorLine'> {
    return isDebugging(this.#shell.env) ? { onErrorLine: (line) => this.#options.onErrorLine(source, line) } : {};
  }

  /**
   * Stops the run if no worker is left and no local one will be restarted, because it would wait
   * for ever.
   */
  #stopIfDeserted(): void {
    if (this.#ending.signal.aborted || this.#givenUp < (this.#plan?.workers ?? Infinity) || this.#joined > 0) return;
    const message = 'No worker is left: the workers on this machine failed and are not restarted.';
    this.#failure = () =>
      new CliError(
        'no_workers',
        message,
        `${this.#lacksMemory ? this.#lessMemory() : 'See above why they failed.'} ${this.#resumeHint()}`,
      );
    this.stop();
  }

  /**
   * After the coordinator has ended: stops, then kills, workers that do not leave by themselves.
   */
  async #dismissWorkers(): Promise<void> {
    this.#ending.abort();
    this.#after(LEAVE_MS, () => this.#workers.forEach((worker) => worker.stop()));
    this.#after(LEAVE_MS + KILL_MS, () => this.#workers.forEach((worker) => worker.kill()));
    await Promise.all(this.#keepers.values());
  }

  /** The coordinator is about to end. Gives it a limited time to save. */
  #expectEnd(): void {
    this.#ending.abort();
    this.#after(SAVE_MS, () => this.kill());
  }

  #after(ms: number, action: () => void): void {
    const timer = setTimeout(action, ms);
    this.#over.signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
  }

  #outcome(exit: Exit): TrainingOutcome {
    if (this.#failure !== undefined) throw this.#failure();
    if (this.#finished !== undefined)
      return { exitCode: exit.code === EXIT.ok ? EXIT.ok : EXIT.failed, finished: this.#finished };
    if (this.#complained) return { exitCode: isLastingExit(exit.code) ? exit.code : EXIT.failed };
    if (this.#stopping && !this.#started) return { exitCode: EXIT.ok };
    const cause = mayLackMemory(exit) ? ', most likely because the memory of this machine ran out' : '';
    throw new CliError(
      'coordinator_failed',
      [`The coordinator ended unexpectedly (${exit.how})${cause}.`, ...(this.#coordinator?.errorTail() ?? [])].join('\n  '),
      this.#started ? this.#resumeHint() : 'Run it again with TROUPE_DEBUG=1 to see its full output.',
    );
  }
}

/**
 * Undefined if the line is not an event. Fields are not checked, because the coordinator is part of
 * Troupe.
 */
function parseEvent(line: string): RunEvent | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null && 'event' in value ? (value as RunEvent) : undefined;
  } catch {
    return undefined;
  }
}

function withToken(env: Shell['env'], token: string | undefined): Shell['env'] {
  return token === undefined ? env : { ...env, TROUPE_TOKEN: token };
}

type Listening = Extract<RunEvent, { event: 'listening' }>;

/**
 * The address for workers on this machine. A coordinator with a certificate has a plain one for
 * them.
 */
function localAddress(event: Listening): string {
  return event.localAddress ?? loopback(event.address);
}

/**
 * The address at which workers on this machine reach a coordinator that listens at `address`, which
 * may mean "all interfaces".
 */
export function loopback(address: string): string {
  const url = new URL(address);
  const host = ['0.0.0.0', '[::]'].includes(url.hostname) ? '127.0.0.1' : url.hostname;
  const scheme = url.protocol === 'https:' || url.protocol === 'wss:' ? 'wss' : 'ws';
  return `${scheme}://${host}:${url.port || (scheme === 'wss' ? '443' : '80')}`;
}

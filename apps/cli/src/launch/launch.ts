/** A launch: the workers of all hosts, until the run is over, none is left, or somebody stops it. */
import { setMaxListeners } from 'node:events';
import { onStopRequest } from '../processes.js';
import type { Shell } from '../shell.js';
import { isOver, type LaunchEvent, type SlotState } from './events.js';
import { keepHost, type KeeperPorts } from './host-keeper.js';
import type { Host } from './hosts.js';
import type { NodeSource } from './node-source.js';
import type { ReleaseBytes } from './release-bytes.js';
import { keepSlurm, type SlurmPlan } from './slurm-keeper.js';
import type { SshSettings } from './ssh.js';
import type { WorkerEntry } from './wire.js';

/**
 * Hosts that connect at a time. sshd lets ten connections wait that are not logged in, and a machine that all others are reached through
 * has them all.
 */
const CONNECTING = 8;
/** After a worker has heard that the run is over, time for the others to hear it too. */
const FAREWELL_MS = 10_000;
/** Why a coordinator lets all workers go. */
const RUN_OVER: ReadonlySet<string> = new Set(['completed', 'stopped', 'diverged']);

export interface LaunchOptions {
  readonly hosts: readonly Host[];
  /** Workers in a Slurm job, beside those of the hosts. */
  readonly slurm?: SlurmPlan | undefined;
  readonly ssh: SshSettings;
  readonly order: KeeperPorts['order'];
  readonly nodes: NodeSource | undefined;
  /** Called at most once. */
  readonly release: (signal: AbortSignal) => Promise<ReleaseBytes>;
  readonly onEvent: (event: LaunchEvent) => void;
  readonly onLog: (slot: string, entry: WorkerEntry) => void;
  readonly onStopping: () => void;
}

export interface LaunchEnd {
  /** A person has stopped it. */
  readonly wasStopped: boolean;
  readonly states: ReadonlyMap<string, SlotState>;
}

/**
 * Starts workers and keeps them running. The first stop request lets them leave, the second ends every channel at once; hosts end their
 * workers when that happens. Rejects if no release can be made.
 */
export async function launchWorkers(shell: Shell, options: LaunchOptions): Promise<LaunchEnd> {
  const launch = new Launch(shell, options);
  const forget = onStopRequest(shell, launch.stop, launch.kill);
  shell.unread.addEventListener('abort', launch.stop, { once: true });
  try {
    return await launch.run();
  } finally {
    forget();
    shell.unread.removeEventListener('abort', launch.stop);
  }
}

class Launch {
  readonly #shell: Shell;
  readonly #options: LaunchOptions;
  /** Aborts when the workers have to leave. */
  readonly #ending = new AbortController();
  readonly #killing = new AbortController();
  readonly #states = new Map<string, SlotState>();
  #wasStopped = false;
  #farewell: NodeJS.Timeout | undefined;
  #release: Promise<ReleaseBytes> | undefined;
  #failure: Error | undefined;

  constructor(shell: Shell, options: LaunchOptions) {
    this.#shell = shell;
    this.#options = options;
    // Every host listens: many listeners are no leak.
    setMaxListeners(0, this.#ending.signal, this.#killing.signal);
  }

  readonly stop = (): void => {
    if (this.#ending.signal.aborted) return;
    this.#wasStopped = true;
    this.#options.onStopping();
    this.#ending.abort();
  };

  readonly kill = (): void => {
    this.stop();
    this.#killing.abort();
  };

  async run(): Promise<LaunchEnd> {
    const { hosts, slurm, ssh, order, nodes } = this.#options;
    const ports: KeeperPorts = {
      shell: this.#shell,
      ssh,
      order,
      nodes,
      release: () => (this.#release ??= this.#options.release(this.#ending.signal)),
      turn: createTurns(CONNECTING),
      emit: (event) => this.#emit(event),
      log: (slot, entry) => this.#log(slot, entry),
    };
    const [stop, kill] = [this.#ending.signal, this.#killing.signal];
    const keepers = hosts.map((host) => () => keepHost(host, ports, stop, kill));
    if (slurm !== undefined) keepers.push(() => keepSlurm(slurm, { ...ports, env: this.#shell.env }, stop, kill));
    await Promise.all(keepers.map((keep) => this.#keep(keep)));
    clearTimeout(this.#farewell);
    if (this.#failure !== undefined) throw this.#failure;
    return { wasStopped: this.#wasStopped, states: this.#states };
  }

  /** What stops one host stops that host; without a release none can work. */
  async #keep(keep: () => Promise<void>): Promise<void> {
    try {
      await keep();
      this.#endIfOver();
    } catch (error) {
      this.#failure ??= error as Error;
      this.#ending.abort();
    }
  }

  #emit(event: LaunchEvent): void {
    if (event.event === 'state') for (const slot of event.slots) this.#states.set(slot, event.state);
    this.#options.onEvent(event);
    if (event.event === 'state' && event.state === 'done') this.#endIfOver();
  }

  #log(slot: string, entry: WorkerEntry): void {
    this.#options.onLog(slot, entry);
    if (entry.kind !== 'stopped' || !RUN_OVER.has(entry.code ?? '')) return;
    // A host that is not reached would be waited for in vain.
    this.#farewell ??= setTimeout(() => this.#ending.abort(), FAREWELL_MS);
  }

  /** Once the run is over, hosts that are not reached are waited for no longer than it takes the others to leave. */
  #endIfOver(): void {
    if (this.#farewell === undefined) return;
    const left = [...this.#states.values()].filter((state) => !isOver(state) && state !== 'waiting');
    if (left.length === 0) this.#ending.abort();
  }
}

/** Lets `most` holders have a turn at a time. */
export function createTurns(most: number): (signal: AbortSignal) => Promise<() => void> {
  let held = 0;
  const queue: (() => void)[] = [];
  const wake = (): void => {
    held--;
    queue.shift()?.();
  };
  return async (signal) => {
    while (held >= most) {
      signal.throwIfAborted();
      await new Promise<void>((resolve) => {
        queue.push(resolve);
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
    }
    signal.throwIfAborted();
    held++;
    let isMine = true;
    return () => {
      if (isMine) wake();
      isMine = false;
    };
  };
}

import type { Collective } from '@troupe/collective';
import type { Engine, EngineLimits, ModelConfig } from '@troupe/model';
import type { StopCode, TrainingConfig } from '@troupe/protocol';
import type { Connection } from '@troupe/transport';
import type { CountedWork } from './counted.js';

export interface WorkerOptions {
  /** Where the coordinator is. */
  readonly address: string;
  readonly token: string;
  readonly name: string;
  readonly kind: 'node' | 'browser';
  /** The name, and a team, are listed in the credits of the run. Absent: what this worker computes is credited to nobody. */
  readonly credited?: { readonly team: string } | undefined;
  readonly ports: WorkerPorts;
  /** Aborts to make the worker leave. */
  readonly signal: AbortSignal;
  /** Aborts to make the worker leave as soon as what it computes is counted, so that nobody has to compute it again. */
  readonly leave?: AbortSignal | undefined;
}

/** How a worker's part in a run ended: the coordinator ended it, or the worker left. */
export type WorkerEnd = 'stopped' | 'left';

/** What a worker needs of its platform: Node, a browser's Web Worker, or a simulation. */
export interface WorkerPorts {
  /** Opens a link to a coordinator, or gives up within seconds. @throws TransportError */
  connect(address: string, signal: AbortSignal): Promise<Connection>;
  /** How gradients are reduced. */
  readonly collective: Pick<Collective, 'join'>;
  /**
   * Refuses a run that needs more memory than this worker may use, before anything is allocated for it. Absent: none is refused.
   * @throws EngineError `out_of_memory`
   */
  requireMemory?(config: TrainingConfig): void;
  /**
   * The engine to compute with.
   * @throws EngineError
   */
  createEngine(config: ModelConfig, limits: EngineLimits, constraints: EngineConstraints): Promise<Engine>;
  /** Monotonic, ms. */
  nowMs(): number;
  /** Resolves after `ms`; rejects with the signal's reason when aborted. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
  /** Uniform in [0, 1), for jitter only: no result depends on it. */
  random(): number;
  /** Absent where the platform has none: a browser's page that came over plain http. Snapshots then come from the coordinator alone. */
  sha256?(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array>;
  log(entry: WorkerLog): void;
  /** A contribution of this worker counts. */
  counted?(work: CountedWork): void;
  /**
   * Characters per second of this engine with this model, where they are known from before: a worker that pauses and returns need not measure
   * again. Undefined: they are measured.
   */
  knownSpeed?(engine: Engine): number | undefined;
}

export interface EngineConstraints {
  /** Engines that were lost in this session (EngineInfo.name); any other is preferred. */
  readonly not: readonly string[];
  /**
   * The engine gives the same bits for the same batch on every machine and in every session: it measures nothing to choose a variant,
   * fuses no operations and never divides a gradient among threads.
   */
  readonly reproducible: boolean;
}

/** What the worker reports to the app that runs it. */
export type WorkerLog =
  | { readonly kind: 'connecting'; readonly address: string }
  | { readonly kind: 'welcome'; readonly runId: string; readonly workerId: string; readonly parameters: number }
  /** Which engine was chosen, and why. */
  | { readonly kind: 'engine'; readonly text: string }
  | { readonly kind: 'ready'; readonly round: number; readonly engine: string; readonly charsPerSecond: number }
  /** A lease is computed and sent. `credit` is what this worker has computed since it started, characters. */
  | {
      readonly kind: 'computed';
      readonly round: number;
      /** Of the run. */
      readonly rounds: number;
      /** Mean loss of the last round that this worker has followed, nats/char. Absent before the first. */
      readonly trainLoss?: number;
      readonly streams: number;
      readonly computeMs: number;
      readonly credit: number;
    }
  /** It has taken so many steps of a local lease. */
  | { readonly kind: 'progress'; readonly round: number; readonly steps: number; readonly of: number }
  | { readonly kind: 'refused'; readonly round: number; readonly result: string; readonly reason: string }
  /** The engine is lost; another takes over, and `ready` follows. */
  | { readonly kind: 'engine_lost'; readonly engine: string; readonly reason: string }
  | { readonly kind: 'resync'; readonly reason: string }
  /** It gets no leases and no updates until it is wanted again; `resync` follows then. */
  | { readonly kind: 'parked'; readonly reason: string }
  | { readonly kind: 'lost'; readonly reason: string; readonly remedy: string; readonly retryInMs: number }
  /** By the coordinator, with a code, or by the app. */
  | { readonly kind: 'stopped'; readonly code?: StopCode; readonly reason: string };

/** What the page and its trainer, a Web Worker, say to each other. */
import type { WorkerLog } from '@troupe/worker';

/** `wasm-threads` computes in several threads, `wasm` in one. */
export type EngineKind = 'webgpu' | 'wasm-threads' | 'wasm';

export type Order =
  | {
      readonly kind: 'start';
      /** The coordinator's control door, ws: or wss:. */
      readonly address: string;
      readonly token: string;
      readonly name: string;
      /** 0.1 to 1. */
      readonly share: number;
      /** The only engine to take, for tests and the curious. */
      readonly only?: EngineKind | undefined;
    }
  | { readonly kind: 'share'; readonly share: number }
  /** Leaves the run; the trainer answers `ended` and may be let go. */
  | { readonly kind: 'leave'; readonly reason: string }
  /** The network is another one, or the machine slept: links are opened anew, and nobody waits to try again. */
  | { readonly kind: 'reconnect'; readonly reason: string };

/** An engine's speed as measured here, or why it is of no use here. */
export interface EngineTrial {
  readonly name: EngineKind;
  readonly charsPerSecond: number | undefined;
  readonly why: string | undefined;
}

export interface Failure {
  /** Of the refusal or the error; texts.ts has words for those that are known. */
  readonly code: string;
  readonly message: string;
  readonly remedy: string;
}

export interface Progress {
  readonly kind: 'progress';
  /** The latest that was helped with; undefined: none yet. */
  readonly round: number | undefined;
  /** Of leases that were computed, and the rounds they were of. */
  readonly characters: number;
  readonly rounds: number;
  /** Time in which they were computed, rests not counted. */
  readonly busyMs: number;
  readonly threads: number;
  /** On all links. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** What heat, or other work on the machine, makes of the person's share: 1 = all of it. See decisions/heat.ts. */
  readonly heatFactor: number;
}

export type Report =
  /** All but `computed`, which `progress` sums up. */
  | { readonly kind: 'log'; readonly entry: WorkerLog }
  /** Which engines were tried for this model, the fastest first, and what is computed with. */
  | {
      readonly kind: 'engine';
      readonly engine: EngineKind;
      /** As the engine describes itself. */
      readonly variant: string;
      readonly trials: readonly EngineTrial[];
    }
  /** Since the last such report; a few times a second at most, however short the rounds. */
  | Progress
  | { readonly kind: 'ended'; readonly failure: Failure | undefined };

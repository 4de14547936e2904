/** Messages between the page and its trainer, a Web Worker. */
import type { TransportErrorCode } from '@troupe/transport';
import type { BridgePort } from '@troupe/transport/browser';
import type { WorkerLog } from '@troupe/worker';

/** `wasm-threads` uses several threads, `wasm` one. */
export type EngineKind = 'webgpu' | 'wasm-threads' | 'wasm';

export type Order =
  | {
      readonly kind: 'start';
      /** Of the coordinator's control link, ws: or wss:. */
      readonly address: string;
      readonly token: string;
      readonly name: string;
      /** The name is listed in the credits of the run; absent: it is not. */
      readonly credited?: { readonly team: string } | undefined;
      /** 0.1 to 1. */
      readonly share: number;
      /** Limit of the rate in each direction, Mbit/s; 0: none. */
      readonly rateMbit: number;
      /** The only engine to use, for tests and experiments. */
      readonly only?: EngineKind | undefined;
      /** What an earlier trainer of this tab has measured. */
      readonly known?: KnownEngine | undefined;
      /** Absent: gradients go through the coordinator. */
      readonly direct?: DirectLinks | undefined;
    }
  | { readonly kind: 'share'; readonly share: number }
  | { readonly kind: 'rate'; readonly rateMbit: number }
  /** Leave the run; the trainer answers `ended` and may then be terminated. */
  | { readonly kind: 'leave'; readonly reason: string }
  /** Leave the run once what is being computed counts; the trainer answers `ended`. */
  | { readonly kind: 'finish' }
  /** The network changed, or the machine slept: open new links now. */
  | { readonly kind: 'reconnect'; readonly reason: string };

/** What a trainer needs to exchange gradients with other machines directly. */
export interface DirectLinks {
  /** To the page, which opens the links: only pages have WebRTC. Transferred with the order. */
  readonly port: BridgePort;
  /** This device also sums for other machines, if they choose it. */
  readonly sums: boolean;
}

/** The other machines, as far as direct links to them were opened or tried since the trainer has started. */
export interface DirectState {
  /** Machines with which gradients are exchanged directly. */
  readonly linked: number;
  /** Why the last attempt failed, for each machine without a link. */
  readonly failures: readonly TransportErrorCode[];
}

/** An engine's speed as measured on this machine, or why it cannot be used. */
export interface EngineTrial {
  readonly name: EngineKind;
  readonly charsPerSecond: number | undefined;
  readonly why: string | undefined;
}

/** An engine that a trainer of this tab has chosen and measured. */
export interface KnownEngine {
  /** Of what was measured: the model, the sizes and what was allowed. */
  readonly key: string;
  readonly kind: EngineKind;
  /** Of its kernels; undefined: it chooses them itself. */
  readonly variant: string | undefined;
  readonly trials: readonly EngineTrial[];
  /** The share of the device at which its speed was measured, 0.1 to 1. */
  readonly share: number;
  /** Undefined: the measurement was not finished. */
  readonly charsPerSecond: number | undefined;
}

export interface Failure {
  /** Of the refusal or the error; texts.ts explains the known ones. */
  readonly code: string;
  readonly message: string;
  readonly remedy: string;
}

export interface Progress {
  readonly kind: 'progress';
  /** The latest one that this worker contributed to; undefined: none yet. */
  readonly round: number | undefined;
  /** Characters of the leases that were computed and sent. */
  readonly computed: number;
  /** Characters that counted, and the rounds that these belong to. */
  readonly characters: number;
  readonly rounds: number;
  /** Time since the last report, or since the trainer began. */
  readonly elapsedMs: number;
  readonly threads: number;
  /** Traffic of all links. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** What remains of the volunteer's share on a hot or busy machine, of 1. See decisions/heat.ts. */
  readonly heatFactor: number;
}

export type Report =
  /** All entries but `computed`, which `progress` sums up. */
  | { readonly kind: 'log'; readonly entry: WorkerLog }
  /** The engine that was chosen, and those that were tried for this model, fastest first. */
  | {
      readonly kind: 'engine';
      readonly engine: EngineKind;
      /** As the engine describes itself. */
      readonly variant: string;
      readonly trials: readonly EngineTrial[];
      /** For a later trainer of this tab. */
      readonly known: KnownEngine;
    }
  /** Counts since the last such report; sent at most a few times a second, however short the rounds, and at least about once. */
  | Progress
  /** Direct links are on; sent at the start and at each change. */
  | { readonly kind: 'direct'; readonly state: DirectState }
  | { readonly kind: 'ended'; readonly failure: Failure | undefined };

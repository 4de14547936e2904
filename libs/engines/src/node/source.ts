import type { Clock, Engine, EngineLimits, ModelConfig } from '@troupe/model';

export interface SourceOptions {
  /**
   * N >= 1: engines that compute on the processor do so in N threads of their own. 0 or absent: in the caller's thread. GPU engines and
   * TensorFlow.js always belong to the caller's thread.
   */
  readonly threads?: number;
  /** Given, engines measure which of their variants is fastest; else they take the same one every time. */
  readonly nowMs?: Clock;
  /** The variant to take, as EngineInfo.variant has it; nothing is measured then. */
  readonly variant?: string;
  /** The script of an engine thread; absent: the compiled one. */
  readonly threadScript?: URL;
}

/** What is there of an engine, as far as it can be known without computing. */
export interface Presence {
  /** "cpu", or the name of a GPU. */
  readonly device: string;
  /** Variants and abilities, best first. */
  readonly features: readonly string[];
  /** A GPU that is imitated by the processor: right, but slower than any engine for the processor. */
  readonly software: boolean;
}

export interface Source {
  /** @throws EngineError `absent`, with the command that brings it, or `unsupported` */
  find(): Promise<Presence>;
  /** @throws EngineError */
  open(config: ModelConfig, limits: EngineLimits, options: SourceOptions): Promise<Engine>;
}

import type { Clock, Engine, EngineLimits, ModelConfig } from '@troupe/model';

export interface SourceOptions {
  /**
   * N >= 1: engines for the CPU compute in N threads of their own. 0 or absent: in the caller's
   * thread. GPU engines and TensorFlow.js always belong to the caller's thread.
   */
  readonly threads?: number;
  /**
   * If given, engines measure which of their variants is fastest; else they take the same one
   * every time.
   */
  readonly nowMs?: Clock;
  /** The variant to take, as in EngineInfo.variant. If given, nothing is measured. */
  readonly variant?: string;
  /** The script of an engine thread. Absent: the compiled one. */
  readonly threadScript?: URL;
}

/** What is known about an engine on this machine without computing. */
export interface Presence {
  /** "cpu", or the name of a GPU. */
  readonly device: string;
  /** Variants and features, best first. */
  readonly features: readonly string[];
  /** A software-emulated GPU: correct, but slower than any engine for the CPU. */
  readonly software: boolean;
}

export interface Source {
  /** @throws EngineError `absent`, with the command that installs it, or `unsupported` */
  find(): Promise<Presence>;
  /** @throws EngineError */
  open(config: ModelConfig, limits: EngineLimits, options: SourceOptions): Promise<Engine>;
}

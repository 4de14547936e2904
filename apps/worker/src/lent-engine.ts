/** An engine that uses no more of the machine than its owner lends. */
import { createThrottledEngine, planEffort, takesThreads, type EngineChoice } from '@troupe/engines';
import type { Engine } from '@troupe/model';

export interface LentEngineOptions {
  readonly choice: EngineChoice;
  /** 0.1 to 1. */
  readonly share: number;
  readonly threads: number;
  /** The engine computes in one thread, whatever `threads` is. */
  readonly reproducible: boolean;
  /** @throws EngineError */
  open(threads: number): Promise<Engine>;
  /** Monotonic, ms. */
  nowMs(): number;
  /** Resolves after `ms`; rejects with the signal's reason when aborted. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
  readonly signal: AbortSignal;
}

/** @throws EngineError */
export function openLentEngine({ choice, share, open, ...options }: LentEngineOptions): Promise<Engine> {
  if (share >= 1) return open(options.threads);
  const threads = takesThreads(choice) && !options.reproducible ? options.threads : 1;
  const plan = planEffort(share, threads, true);
  let { duty } = plan;
  return createThrottledEngine({
    async open(few) {
      const engine = await open(few);
      // `auto` may have chosen a GPU, of which fewer threads take nothing away.
      if (!takesThreads(engine.info.name as EngineChoice)) duty = share;
      return engine;
    },
    effort: () => ({ threads: plan.threads, duty }),
    onWork: () => undefined,
    ...options,
  });
}

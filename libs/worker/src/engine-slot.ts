import { EngineError, type Batch, type Engine, type Gradient, type GradientProgress } from '@troupe/model';
import { elapse } from './deadlines.js';

export interface SlotEngine extends Engine {
  /** @param timeoutMs an engine that takes longer, and longer than 10 minutes, is lost: a stuck device never answers */
  gradient(batch: Batch, onProgress?: GradientProgress, timeoutMs?: number): Promise<Gradient>;
}

/** The engine of a session, and its replacement when it is lost. */
export interface EngineSlot {
  /** Always this object, with any engine behind it. A lost one still accepts parameters: its replacement is given them again. */
  readonly engine: SlotEngine;
  /** Measured speed of the current engine. */
  readonly charsPerSecond: number;
  /** Why the current engine is lost; undefined while it works. */
  readonly lost: EngineError | undefined;
  /** Opens another engine instead. @throws EngineError when too many engines are lost, and what `create` throws */
  replace(): Promise<void>;
  dispose(): void;
}

export interface EngineSlotOptions {
  /** Opens an engine; `not` names those that were lost before (EngineInfo.name). */
  create(not: readonly string[]): Promise<Engine>;
  /** Hands it the parameters and measures its speed, characters per second. */
  measure(engine: Engine): Promise<number>;
  onLost(name: string, error: EngineError): void;
  /** Monotonic, ms. */
  nowMs(): number;
  /** Resolves after `ms`; rejects with the signal's reason when aborted. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
  /** Aborts with the session; then nothing waits for an engine. */
  readonly signal: AbortSignal;
}

/** The shortest is longer than any working engine needs for a gradient; the longest is bounded by what timers can hold. */
const MIN_TIMEOUT_MS = 600_000;
const MAX_TIMEOUT_MS = 86_400_000;

/** Errors after which an engine is not used again. A wrong batch or a gradient that is not finite is not the engine's fault. */
const LOSSES: ReadonlySet<EngineError['code']> = new Set(['device_lost', 'unsupported', 'out_of_memory', 'disposed']);

/** Engines that may be lost in a session. With more, the machine is broken, and its owner should know. */
const MAX_LOSSES = 5;
const LOST_FOR_GOOD = 'Engines keep failing on this machine. Check its memory and its drivers, then start the worker again.';

/** @throws EngineError */
export async function createEngineSlot(options: EngineSlotOptions): Promise<EngineSlot> {
  const failed: string[] = [];
  let current: { readonly engine: Engine; readonly charsPerSecond: number };
  let lost: EngineError | undefined;

  const dismiss = (engine: Engine, error: EngineError): void => {
    failed.push(engine.info.name);
    engine.dispose();
    if (failed.length > MAX_LOSSES) throw new EngineError(error.code, error.message, LOST_FOR_GOOD, { cause: error });
    options.onLost(engine.info.name, error);
  };
  const fill = async (): Promise<void> => {
    for (;;) {
      const engine = await options.create(failed);
      try {
        current = { engine, charsPerSecond: await within(options.measure(engine), MIN_TIMEOUT_MS, options) };
        lost = undefined;
        return;
      } catch (error) {
        if (isLoss(error)) dismiss(engine, error);
        else {
          engine.dispose();
          throw error;
        }
      }
    }
  };
  /** Records a loss and throws it. */
  const noting = async <T>(compute: () => Promise<T>): Promise<T> => {
    // It may lack the latest parameters.
    if (lost) throw lost;
    try {
      return await compute();
    } catch (error) {
      if (isLoss(error)) lost = error;
      throw error;
    }
  };
  await fill();

  return {
    engine: {
      get info() {
        return current.engine.info;
      },
      get limits() {
        return current.engine.limits;
      },
      setParameters(parameters) {
        try {
          current.engine.setParameters(parameters);
        } catch (error) {
          if (!isLoss(error)) throw error;
          lost = error;
        }
      },
      gradient: (batch, onProgress, timeoutMs = 0) =>
        noting(() => within(current.engine.gradient(batch, onProgress), timeoutMs, options)),
      evaluate: (batch) => noting(() => current.engine.evaluate(batch)),
      step: (tokens, states) => noting(() => current.engine.step(tokens, states)),
      dispose: () => current.engine.dispose(),
    },
    get charsPerSecond() {
      return current.charsPerSecond;
    },
    get lost() {
      return lost;
    },
    async replace() {
      if (lost) dismiss(current.engine, lost);
      else current.engine.dispose();
      await fill();
    },
    dispose: () => current.engine.dispose(),
  };
}

function isLoss(error: unknown): error is EngineError {
  return error instanceof EngineError && LOSSES.has(error.code);
}

/** @returns the result of `work`. @throws EngineError `device_lost` when it takes too long, the signal's reason when it aborts */
async function within<T>(work: Promise<T>, ms: number, { signal, ...clock }: EngineSlotOptions): Promise<T> {
  const over = new AbortController();
  const stop = (): void => over.abort(signal.reason);
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop, { once: true });
  const timeoutMs = Math.min(Math.max(ms, MIN_TIMEOUT_MS), MAX_TIMEOUT_MS);
  const expire = async (): Promise<never> => {
    await elapse(timeoutMs, clock, over.signal);
    const minutes = Math.round(timeoutMs / 60_000);
    throw new EngineError('device_lost', `the engine gave no result within ${minutes} minutes`, 'Use another engine.');
  };
  try {
    return await Promise.race([work, expire()]);
  } finally {
    signal.removeEventListener('abort', stop);
    over.abort(new Error('the engine has answered'));
  }
}

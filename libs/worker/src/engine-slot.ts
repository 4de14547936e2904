import { EngineError, type Batch, type Engine, type Gradient } from '@troupe/model';
import { pass } from './deadlines.js';

export interface SlotEngine extends Engine {
  /** An engine that takes longer than `timeoutMs` (absent, or less: 10 minutes) is lost: a stuck device never answers. */
  gradient(batch: Batch, timeoutMs?: number): Promise<Gradient>;
}

/** The engine of a session, and the one after it when it is of no use any more. */
export interface EngineSlot {
  /** Always this object, whichever engine is behind it. Parameters may be set on a lost one: its successor is given them anew. */
  readonly engine: SlotEngine;
  /** Of the engine behind it, as measured. */
  readonly charsPerSecond: number;
  /** Why the engine behind it is of no use any more. */
  readonly lost: EngineError | undefined;
  /** Puts another engine in its place. @throws EngineError when engines are lost again and again, and what creating throws */
  replace(): Promise<void>;
  dispose(): void;
}

export interface EngineSlotOptions {
  /** Opens an engine; `not` names those (EngineInfo.name) that were lost before. */
  create(not: readonly string[]): Promise<Engine>;
  /** Gives it the parameters and measures its speed, characters per second. */
  measure(engine: Engine): Promise<number>;
  onLost(name: string, error: EngineError): void;
  /** Monotonic, ms. */
  nowMs(): number;
  /** Resolves after `ms`; rejects with the signal's reason when aborted. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
  /** Of the session: nobody waits for an engine any more once it aborts. */
  readonly signal: AbortSignal;
}

/** Longer than any sound engine needs for a gradient; and as much as timers can hold, whatever a coordinator says. */
const MIN_TIMEOUT_MS = 600_000;
const MAX_TIMEOUT_MS = 86_400_000;

/** What an engine throws that is of no use any more. Whoever passes a wrong batch or finds no finite gradient keeps it. */
const LOSSES: ReadonlySet<EngineError['code']> = new Set(['device_lost', 'unsupported', 'out_of_memory', 'disposed']);

/** Engines that may be lost in a session; more are a broken machine, and whoever started the worker should know. */
const MAX_LOSSES = 5;
const LOST_FOR_GOOD =
  'engines fail again and again here: see what the machine lacks (memory, a driver), then start the worker anew';

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
  /** Notes a loss and passes it on. */
  const noting = async <T>(compute: () => Promise<T>): Promise<T> => {
    // It may not have the parameters that were set last.
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
      gradient: (batch, timeoutMs = 0) => noting(() => within(current.engine.gradient(batch), timeoutMs, options)),
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

/** The result of the work. @throws EngineError `device_lost` when it takes too long, and the signal's reason when it aborts */
async function within<T>(work: Promise<T>, ms: number, { signal, ...clock }: EngineSlotOptions): Promise<T> {
  const over = new AbortController();
  const stop = (): void => over.abort(signal.reason);
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop, { once: true });
  const timeoutMs = Math.min(Math.max(ms, MIN_TIMEOUT_MS), MAX_TIMEOUT_MS);
  const expire = async (): Promise<never> => {
    await pass(timeoutMs, clock, over.signal);
    const minutes = Math.round(timeoutMs / 60_000);
    throw new EngineError('device_lost', `the engine gave no result in ${minutes} minutes`, 'go on with another engine');
  };
  try {
    return await Promise.race([work, expire()]);
  } finally {
    signal.removeEventListener('abort', stop);
    over.abort(new Error('the engine has answered'));
  }
}

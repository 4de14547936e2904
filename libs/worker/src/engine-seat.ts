import { EngineError, type Engine } from '@troupe/model';

/** The engine of a session, and the one after it when its device is lost. */
export interface EngineSeat {
  /** Always this object, whichever engine is behind it. Parameters may be set on a lost one: its successor is given them anew. */
  readonly engine: Engine;
  /** Of the engine behind it, as measured. */
  readonly charsPerSecond: number;
  /** Why the engine behind it is of no use any more. */
  readonly lost: EngineError | undefined;
  /** Puts another engine in its place. @throws EngineError when devices are lost again and again, and what creating throws */
  replace(): Promise<void>;
  dispose(): void;
}

export interface EngineSeatOptions {
  /** Opens an engine; `not` names those (EngineInfo.name) whose device was lost before. */
  create(not: readonly string[]): Promise<Engine>;
  /** Gives it the parameters and measures its speed, characters per second. */
  measure(engine: Engine): Promise<number>;
  onLost(name: string, error: EngineError): void;
}

/** Devices that may be lost in a session; more are a broken machine, and whoever started the worker should know. */
const MOST_LOSSES = 5;

/** @throws EngineError */
export async function createEngineSeat(options: EngineSeatOptions): Promise<EngineSeat> {
  const failed: string[] = [];
  let current: { readonly engine: Engine; readonly charsPerSecond: number };
  let lost: EngineError | undefined;

  const dismiss = (engine: Engine, error: EngineError): void => {
    failed.push(engine.info.name);
    engine.dispose();
    if (failed.length > MOST_LOSSES) throw error;
    options.onLost(engine.info.name, error);
  };
  const fill = async (): Promise<void> => {
    for (;;) {
      const engine = await options.create(failed);
      try {
        current = { engine, charsPerSecond: await options.measure(engine) };
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
  const noting = async <T>(result: Promise<T>): Promise<T> => {
    try {
      return await result;
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
      gradient: (batch) => noting(current.engine.gradient(batch)),
      evaluate: (batch) => noting(current.engine.evaluate(batch)),
      step: (tokens, states) => noting(current.engine.step(tokens, states)),
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
  return error instanceof EngineError && error.code === 'device_lost';
}

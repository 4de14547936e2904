import { describe, expect, it } from 'vitest';
import { EngineError, type Engine } from '@troupe/model';
import { createEngineSlot } from '../src/engine-slot.js';

const lossOf = (name: string, code: EngineError['code'] = 'device_lost') =>
  new EngineError(code, `${name} is gone`, 'go on with another');
const PARAMETERS = new Float32Array(1);

/** Engines in turn; each computes a number of gradients until its device is lost. */
function lineOf(lives: Record<string, number>, code?: EngineError['code']) {
  const names = Object.keys(lives);
  const created: (readonly string[])[] = [];
  const disposed: string[] = [];
  const lost: string[] = [];
  const options = {
    async create(not: readonly string[]): Promise<Engine> {
      const name = names[created.length % names.length];
      created.push([...not]);
      let left = lives[name];
      const engine: Partial<Engine> = {
        info: { name, variant: 'v', device: 'd' },
        setParameters() {
          if (left <= 0) throw lossOf(name, code);
        },
        async gradient() {
          if (left-- <= 0) throw lossOf(name, code);
          return { gradient: PARAMETERS, lossSum: 1, tokens: 1, endStates: PARAMETERS };
        },
        dispose: () => void disposed.push(name),
      };
      return engine as Engine;
    },
    async measure(engine: Engine): Promise<number> {
      engine.setParameters(PARAMETERS);
      await engine.gradient({ streams: 1, window: 1, tokens: new Uint16Array(2), states: PARAMETERS });
      return 10 * (created.length + 1);
    },
    onLost: (name: string) => void lost.push(name),
    nowMs: () => 0,
    sleep: (_: number, signal: AbortSignal) =>
      new Promise<void>((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error))),
    signal: new AbortController().signal,
  };
  return { options, created, disposed, lost };
}

const compute = (engine: Engine) => engine.gradient({ streams: 1, window: 1, tokens: new Uint16Array(2), states: PARAMETERS });

describe('the slot of an engine', () => {
  it('reports a lost device and opens another engine, and says which to avoid', async () => {
    const { options, created, disposed, lost } = lineOf({ webgpu: 2, wasm: 99 });
    const slot = await createEngineSlot(options);
    expect(slot).toMatchObject({ charsPerSecond: 20, lost: undefined });
    await compute(slot.engine);
    await expect(compute(slot.engine)).rejects.toMatchObject({ code: 'device_lost' });
    expect(slot.lost?.message).toBe('webgpu is gone');
    await slot.replace();
    expect(created).toEqual([[], ['webgpu']]);
    expect(disposed).toEqual(['webgpu']);
    expect(lost).toEqual(['webgpu']);
    expect(slot).toMatchObject({ charsPerSecond: 30, lost: undefined });
    expect(slot.engine.info.name).toBe('wasm');
    expect((await compute(slot.engine)).tokens).toBe(1);
  });

  it('records a loss when parameters are set, and does not throw', async () => {
    const { options } = lineOf({ webgpu: 1, wasm: 9 });
    const slot = await createEngineSlot(options);
    slot.engine.setParameters(PARAMETERS);
    expect(slot.lost?.code).toBe('device_lost');
  });

  it('skips an engine that is lost while it is measured', async () => {
    const { options, lost } = lineOf({ webgpu: 0, tfjs: 0, wasm: 9 });
    const slot = await createEngineSlot(options);
    expect(lost).toEqual(['webgpu', 'tfjs']);
    expect(slot.engine.info.name).toBe('wasm');
  });

  it('gives up when too many devices are lost', async () => {
    const { options, created, disposed } = lineOf({ wasm: 0 });
    await expect(createEngineSlot(options)).rejects.toMatchObject({ code: 'device_lost', message: 'wasm is gone' });
    expect(created.length).toBe(disposed.length);
    expect(created.length).toBeLessThan(20);
  });

  it('closes an engine that cannot be measured for another reason', async () => {
    const { options, disposed } = lineOf({ wasm: 9 });
    const measure = () => Promise.reject(new EngineError('bad_shape', 'too large', 'lower the batch'));
    await expect(createEngineSlot({ ...options, measure })).rejects.toMatchObject({ code: 'bad_shape' });
    expect(disposed).toEqual(['wasm']);
  });

  it.each(['unsupported', 'out_of_memory', 'disposed'] as const)('treats %s of a working engine as a loss', async (code) => {
    const { options, lost } = lineOf({ webgpu: 1, wasm: 9 }, code);
    const slot = await createEngineSlot(options);
    await expect(compute(slot.engine)).rejects.toMatchObject({ code });
    expect(slot.lost?.code).toBe(code);
    await slot.replace();
    expect(lost).toEqual(['webgpu']);
    expect((await compute(slot.engine)).tokens).toBe(1);
  });

  it('computes nothing with an engine that did not accept the parameters', async () => {
    const { options } = lineOf({ wasm: 9 });
    let full = false;
    const create = async (not: readonly string[]): Promise<Engine> => {
      const engine = await options.create(not);
      const setParameters = (): void => {
        if (full) throw lossOf('wasm', 'out_of_memory');
      };
      return Object.assign(engine, { setParameters });
    };
    const slot = await createEngineSlot({ ...options, create });
    full = true;
    slot.engine.setParameters(PARAMETERS);
    await expect(compute(slot.engine)).rejects.toMatchObject({ code: 'out_of_memory' });
  });
});

describe('an engine that never answers', () => {
  /** Its gradient never resolves; time passes with each sleep. */
  function hanging() {
    const line = lineOf({ webgpu: 99, wasm: 99 });
    let now = 0;
    const sleeps: number[] = [];
    const stop = new AbortController();
    const measure = async (engine: Engine): Promise<number> => {
      if (engine.info.name === 'webgpu') engine.gradient = () => new Promise(() => {});
      return 1;
    };
    const sleep = async (ms: number, signal: AbortSignal): Promise<void> => {
      // Timers may fire early.
      if (sleeps.length > 0) now += Math.ceil(ms / 2);
      sleeps.push(ms);
      await new Promise((resolve) => setTimeout(resolve, 1));
      signal.throwIfAborted();
    };
    return {
      options: { ...line.options, measure, sleep, nowMs: () => now, signal: stop.signal },
      line,
      sleeps,
      stop,
      elapsed: () => now,
    };
  }

  it('is lost after the timeout, and replaced', async () => {
    const { options, line, elapsed } = hanging();
    const slot = await createEngineSlot(options);
    const batch = { streams: 1, window: 1, tokens: new Uint16Array(2), states: PARAMETERS };
    await expect(slot.engine.gradient(batch, undefined, 3_600_000)).rejects.toMatchObject({ code: 'device_lost' });
    expect(elapsed()).toBeGreaterThanOrEqual(3_600_000);
    await slot.replace();
    expect(line.disposed).toEqual(['webgpu']);
    expect((await slot.engine.gradient(batch)).tokens).toBe(1);
  });

  it('does not delay the end of the session', async () => {
    const { options, stop } = hanging();
    const slot = await createEngineSlot({ ...options, nowMs: () => 0 });
    const inFlight = compute(slot.engine);
    stop.abort(new Error('asked to stop'));
    await expect(inFlight).rejects.toThrow('asked to stop');
    expect(slot.lost).toBeUndefined();
  });
});

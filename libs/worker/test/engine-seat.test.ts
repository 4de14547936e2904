import { describe, expect, it } from 'vitest';
import { EngineError, type Engine } from '@troupe/model';
import { createEngineSeat } from '../src/engine-seat.js';

const lossOf = (name: string) => new EngineError('device_lost', `${name} is gone`, 'go on with another');
const PARAMETERS = new Float32Array(1);

/** A line of engines: each knows how many gradients it computes until its device is lost. */
function lineOf(lives: Record<string, number>) {
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
          if (left <= 0) throw lossOf(name);
        },
        async gradient() {
          if (left-- <= 0) throw lossOf(name);
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
  };
  return { options, created, disposed, lost };
}

const compute = (engine: Engine) => engine.gradient({ streams: 1, window: 1, tokens: new Uint16Array(2), states: PARAMETERS });

describe('the seat of an engine', () => {
  it('passes a lost device on, and gives the seat to the next engine, which is told whom to avoid', async () => {
    const { options, created, disposed, lost } = lineOf({ webgpu: 2, wasm: 99 });
    const seat = await createEngineSeat(options);
    expect(seat).toMatchObject({ charsPerSecond: 20, lost: undefined });
    await compute(seat.engine);
    await expect(compute(seat.engine)).rejects.toMatchObject({ code: 'device_lost' });
    expect(seat.lost?.message).toBe('webgpu is gone');
    await seat.replace();
    expect(created).toEqual([[], ['webgpu']]);
    expect(disposed).toEqual(['webgpu']);
    expect(lost).toEqual(['webgpu']);
    expect(seat).toMatchObject({ charsPerSecond: 30, lost: undefined });
    expect(seat.engine.info.name).toBe('wasm');
    expect((await compute(seat.engine)).tokens).toBe(1);
  });

  it('notes a loss that shows when parameters are set, without failing', async () => {
    const { options } = lineOf({ webgpu: 1, wasm: 9 });
    const seat = await createEngineSeat(options);
    seat.engine.setParameters(PARAMETERS);
    expect(seat.lost?.code).toBe('device_lost');
  });

  it('passes over an engine that is lost while it is measured', async () => {
    const { options, lost } = lineOf({ webgpu: 0, tfjs: 0, wasm: 9 });
    const seat = await createEngineSeat(options);
    expect(lost).toEqual(['webgpu', 'tfjs']);
    expect(seat.engine.info.name).toBe('wasm');
  });

  it('gives up when devices are lost again and again', async () => {
    const { options, created, disposed } = lineOf({ wasm: 0 });
    await expect(createEngineSeat(options)).rejects.toMatchObject({ code: 'device_lost', message: 'wasm is gone' });
    expect(created.length).toBe(disposed.length);
    expect(created.length).toBeLessThan(20);
  });

  it('closes an engine that cannot be measured for another reason', async () => {
    const { options, disposed } = lineOf({ wasm: 9 });
    const measure = () => Promise.reject(new EngineError('out_of_memory', 'too large', 'lower the batch'));
    await expect(createEngineSeat({ ...options, measure })).rejects.toMatchObject({ code: 'out_of_memory' });
    expect(disposed).toEqual(['wasm']);
  });
});

import { EngineError, type Engine, type EngineLimits, type ModelConfig } from '@troupe/model';
import { createReferenceEngine } from '@troupe/model/reference';
import { beforeAll, describe, expect, it } from 'vitest';
import { CONFIG, createCluster, trainAlone, type Ended } from './cluster.js';

let alone: { losses: number[]; parameters: Float32Array };
beforeAll(async () => {
  alone = await trainAlone();
});

function expectSameTrajectory({ losses, parameters, ending }: Ended): void {
  expect(ending).toMatchObject({ round: CONFIG.rounds, reason: 'completed' });
  losses.forEach((loss, round) => expect(loss).toBeCloseTo(alone.losses[round], 5));
  parameters.forEach((value, i) => expect(Math.abs(value - alone.parameters[i])).toBeLessThan(1e-4));
}

type Make = (config: ModelConfig, limits: EngineLimits) => Engine;

/** A reference engine that calls `before` ahead of each gradient and records its disposal. */
function disturbed(name: string, before: (call: number) => void | Promise<void>, disposed: string[] = []): Make {
  return (config, limits) => {
    const engine = createReferenceEngine(config, limits);
    let calls = 0;
    return {
      info: { name, variant: 'fragile', device: 'a GPU' },
      limits,
      setParameters: (parameters) => engine.setParameters(parameters),
      evaluate: (batch) => engine.evaluate(batch),
      step: (ids, states) => engine.step(ids, states),
      dispose: () => disposed.push(name),
      gradient: async (batch) => {
        await before(calls++);
        return engine.gradient(batch);
      },
    };
  };
}

/**
 * An engine that loses its device at gradient `lastsFor`; the first two gradients only measure its
 * speed.
 */
function mortal(name: string, lastsFor: number, disposed?: string[], code: EngineError['code'] = 'device_lost'): Make {
  const before = (call: number): void => {
    if (call >= lastsFor) throw new EngineError(code, 'the GPU fell off the bus', 'Use another engine.');
  };
  return disturbed(name, before, disposed);
}

/** So slow that other workers get leases in every round, and that none of them is parked because rounds are as fast without it. */
const slow = disturbed('slow', () => new Promise((resolve) => setTimeout(resolve, 100)));

/** The engines of a worker, one after the other. */
function successively(...makers: Make[]): Make {
  return (config, limits) => (makers.shift() ?? createReferenceEngine)(config, limits);
}

describe('a worker whose device is lost', () => {
  it('declines its lease and continues with another engine in the same session', async () => {
    const cluster = await createCluster();
    const disposed: string[] = [];
    cluster.join('slow', { createEngine: slow });
    const shaky = cluster.join('shaky', { createEngine: successively(mortal('webgpu', 5, disposed)) });
    await cluster.ready(2);
    cluster.start();
    expectSameTrajectory(await cluster.finish());
    expect(disposed).toEqual(['webgpu']);
    const kinds = shaky.logs.map(({ kind }) => kind);
    expect(shaky.logs).toContainEqual({ kind: 'engine_lost', engine: 'webgpu', reason: 'the GPU fell off the bus' });
    // It gets no leases until its next engine is ready.
    expect(shaky.logs).toContainEqual({ kind: 'resync', reason: 'another engine is opened: the GPU fell off the bus' });
    expect(shaky.logs.filter(({ kind }) => kind === 'ready')).toMatchObject([
      { engine: 'webgpu fragile' },
      { engine: 'reference float64' },
    ]);
    expect(kinds.filter((kind) => kind === 'connecting')).toHaveLength(1);
    expect(kinds).not.toContain('refused');
  });

  it('loses no rounds when it is the only worker', async () => {
    const cluster = await createCluster({ ...CONFIG, rounds: 4 });
    const only = cluster.join('only', { createEngine: successively(mortal('webgpu', 4)) });
    await cluster.ready(1);
    cluster.start();
    const { ending, losses } = await cluster.finish();
    expect(ending).toMatchObject({ reason: 'completed' });
    // A shorter run has other learning rates, so only its first round is the same.
    expect(losses[0]).toBeCloseTo(alone.losses[0], 5);
    expect(only.logs.filter(({ kind }) => kind === 'computed')).toHaveLength(4);
  });

  it('also continues when its engine runs out of memory', async () => {
    const cluster = await createCluster();
    const createEngine = successively(mortal('webgpu', 5, [], 'out_of_memory'));
    const only = cluster.join('only', { createEngine });
    await cluster.ready(1);
    cluster.start();
    expectSameTrajectory(await cluster.finish());
    expect(only.logs.filter(({ kind }) => kind === 'connecting')).toHaveLength(1);
    expect(only.logs.filter(({ kind }) => kind === 'engine_lost')).toHaveLength(1);
  });

  it('skips an engine that loses its device while it is measured', async () => {
    const cluster = await createCluster();
    const worker = cluster.join('w', { createEngine: successively(mortal('webgpu', 1)) });
    cluster.start();
    expectSameTrajectory(await cluster.finish());
    expect(worker.logs).toContainEqual(expect.objectContaining({ kind: 'engine_lost' }));
    expect(worker.logs).toContainEqual(expect.objectContaining({ kind: 'ready', engine: 'reference float64' }));
  });

  it('leaves with the reason when every engine has lost its device', async () => {
    const cluster = await createCluster();
    cluster.join('steady');
    const doomed = cluster.join('doomed', { createEngine: mortal('webgpu', 0) });
    expect(await doomed.done).toMatchObject({ name: 'EngineError', code: 'device_lost' });
    cluster.start();
    expectSameTrajectory(await cluster.finish());
  });
});

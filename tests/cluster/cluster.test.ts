import { CELLS } from '@troupe/config';
import { EngineError, type Engine, type EngineLimits, type ModelConfig } from '@troupe/model';
import { createReferenceEngine } from '@troupe/model/reference';
import { createChannel, type TrainingConfig } from '@troupe/protocol';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { CONFIG, createCluster, TOKEN, trainAlone, type Ended, type Joined } from './cluster.js';

type Trajectory = Pick<Ended, 'losses' | 'parameters'>;

let alone: Trajectory;
beforeAll(async () => {
  alone = await trainAlone();
});

function expectSameTrajectory({ losses, parameters, ending }: Ended, expected: Trajectory = alone): void {
  expect(ending).toMatchObject({ round: expected.losses.length, reason: 'completed' });
  expect(losses).toHaveLength(expected.losses.length);
  losses.forEach((loss, round) => expect(loss).toBeCloseTo(expected.losses[round], 5));
  parameters.forEach((value, i) => expect(Math.abs(value - expected.parameters[i])).toBeLessThan(1e-4));
}

/** Trains while workers join and leave. `guestsAtWork`: how many of them computed something. */
async function trainWithGuests(config: TrainingConfig): Promise<Ended & { readonly guestsAtWork: number }> {
  const guests: Joined[] = [];
  const cluster = await createCluster(config, (round) => {
    if (round % 6 === 2) guests.push(cluster.join(`guest-${round}`));
    if (round % 6 === 0) guests.at(-1)?.leave();
  });
  cluster.join('steady', { createEngine: slow });
  cluster.start();
  const ended = await cluster.finish();
  const guestsAtWork = guests.filter(({ logs }) => logs.some((entry) => entry.kind === 'computed')).length;
  return { ...ended, guestsAtWork };
}

/** An engine that calls `before` ahead of each gradient. */
const interrupted =
  (before: (call: number) => void | Promise<void>) =>
  (config: ModelConfig, limits: EngineLimits): Engine => {
    const engine = createReferenceEngine(config, limits);
    let call = 0;
    return {
      ...engine,
      info: engine.info,
      limits: engine.limits,
      setParameters: (parameters) => engine.setParameters(parameters),
      evaluate: (batch) => engine.evaluate(batch),
      step: (ids, states) => engine.step(ids, states),
      dispose: () => engine.dispose(),
      gradient: async (batch) => {
        await before(call++);
        return engine.gradient(batch);
      },
    };
  };

/**
 * Slow enough that other workers have time to join within a few rounds, and are always needed: of two that are as fast, one may be parked,
 * however busy the machine is, before it has computed what a test counts.
 */
const slow = interrupted(() => new Promise((resolve) => setTimeout(resolve, 20)));

describe('a cluster', () => {
  it.each([1, 2, 3])('of %i workers follows the trajectory of one machine', async (workers) => {
    const cluster = await createCluster();
    for (let i = 0; i < workers; i++) cluster.join(`w${i}`);
    await cluster.ready(workers);
    cluster.start();
    expectSameTrajectory(await cluster.finish());
  });

  it('learns', () => {
    expect(alone.losses.at(-1)).toBeLessThan(alone.losses[0] - 0.3);
  });

  it('follows the same trajectory when a worker crashes in the middle of a round', async () => {
    let halfway = false;
    const cluster = await createCluster(CONFIG, (round) => (halfway = round >= 4));
    cluster.join('steady', { createEngine: slow });
    const doomed = cluster.join('doomed', {
      createEngine: interrupted(() => {
        if (halfway) doomed.crash();
      }),
    });
    await cluster.ready(2);
    cluster.start();
    expectSameTrajectory(await cluster.finish());
    expect(cluster.changes().join('\n')).toContain('doomed left');
  });

  it('follows the same trajectory while workers join and leave', async () => {
    const ended = await trainWithGuests(CONFIG);
    expectSameTrajectory(ended);
    expect(ended.guestsAtWork).toBeGreaterThanOrEqual(2);
  });

  it('drops the same outputs at every worker while workers join and leave', async () => {
    const config = { ...CONFIG, model: { ...CONFIG.model, dropoutOutput: 0.4 } };
    const expected = await trainAlone(config);
    const ended = await trainWithGuests(config);
    expectSameTrajectory(ended, expected);
    expect(ended.guestsAtWork).toBeGreaterThanOrEqual(2);
    expect(Math.abs(expected.losses[0] - alone.losses[0])).toBeGreaterThan(1e-4);
  });

  it.each(CELLS)('follows the trajectory of one machine with the cell %s, embedded and tied characters', async (cell) => {
    const model = { ...CONFIG.model, cell, embedding: CONFIG.model.hidden, tied: true, dropout: 0.2, layerNorm: true };
    const config = { ...CONFIG, model, rounds: 10 };
    const cluster = await createCluster(config);
    for (const name of ['one', 'two']) cluster.join(name);
    await cluster.ready(2);
    cluster.start();
    expectSameTrajectory(await cluster.finish(), await trainAlone(config));
  });

  it('reports that it waits when the last worker is gone, and continues when one joins', async () => {
    const cluster = await createCluster();
    cluster.start();
    const first = cluster.join('first', {
      createEngine: interrupted((call) => {
        if (call === 4) first.crash();
      }),
    });
    await first.done;
    await expect.poll(() => cluster.waits()).toBe(2); // before the first worker, and after it
    cluster.join('second');
    expectSameTrajectory(await cluster.finish());
  });

  it('lends the streams to another worker when an engine fails', async () => {
    const cluster = await createCluster();
    cluster.join('steady', { createEngine: slow });
    const shaky = cluster.join('shaky', {
      createEngine: interrupted((call) => {
        if (call === 5) throw new EngineError('bad_shape', 'the batch is not for this engine', 'Use another engine.');
      }),
    });
    await cluster.ready(2);
    cluster.start();
    expectSameTrajectory(await cluster.finish());
    expect(shaky.logs).toContainEqual(expect.objectContaining({ kind: 'refused', result: 'engine' }));
  });

  it('fails with the reason when the gradient is not finite', async () => {
    const cluster = await createCluster();
    cluster.join('w', {
      createEngine: interrupted((call) => {
        if (call >= 6) throw new EngineError('not_finite', 'the loss is not finite', 'Lower the learning rate.');
      }),
    });
    cluster.start();
    const { failure } = await cluster.finish();
    expect(failure).toMatchObject({ code: 'diverged', message: expect.stringContaining('not finite') as string });
  });

  it('refuses a wrong token with a remedy and continues', async () => {
    const cluster = await createCluster();
    const intruder = cluster.join('intruder', { token: 'guess' });
    expect(await intruder.done).toMatchObject({ code: 'wrong_token', remedy: expect.stringContaining('--token') as string });
    cluster.join('steady');
    cluster.start();
    expectSameTrajectory(await cluster.finish());
  });

  it('refuses another protocol version and says which side to update', async () => {
    const cluster = await createCluster();
    const channel = createChannel(cluster.controlLink(), { accepts: ['refuse'], bodyBytes: () => 0 });
    channel.send({
      type: 'hello',
      versions: [999],
      token: TOKEN,
      name: 'from the future',
      kind: 'node',
      credited: false,
      team: '',
    });
    const { message } = await channel.receive();
    expect(message).toMatchObject({ type: 'refuse', code: 'version_mismatch' });
    expect(message.remedy).not.toBe('');
  });

  it('closes a link that sends garbage and continues', async () => {
    const cluster = await createCluster();
    const garbage = cluster.controlLink();
    garbage.send(Uint8Array.of(1, 2, 3, 255));
    const reduceGarbage = cluster.reduceLink();
    reduceGarbage.send(new Uint8Array(1000).fill(7));
    await Promise.all([garbage.closed, reduceGarbage.closed]);
    cluster.join('steady');
    cluster.start();
    expectSameTrajectory(await cluster.finish());
    expect(cluster.changes().join('\n')).toContain('refused: malformed_frame');
  });

  it('does not count a contribution with a NaN, and completes the round', async () => {
    const cluster = await createCluster();
    cluster.join('steady', { createEngine: slow });
    const broken = cluster.join('broken', {
      createEngine: (config, limits) => {
        const engine = createReferenceEngine(config, limits);
        const compute = engine.gradient.bind(engine);
        let call = 0;
        engine.gradient = async (batch) => {
          const result = await compute(batch);
          if (call++ === 7) result.gradient[3] = NaN;
          return result;
        };
        return engine;
      },
    });
    await cluster.ready(2);
    cluster.start();
    expectSameTrajectory(await cluster.finish());
    expect(broken.logs).toContainEqual(expect.objectContaining({ kind: 'refused', result: 'not_finite' }));
  });

  it('sends a snapshot to a worker whose replica differs, and does not count what it computed', async () => {
    const cluster = await createCluster();
    cluster.join('steady', { createEngine: slow });
    const broken = cluster.join('broken', {
      createEngine: (config, limits) => {
        const engine = createReferenceEngine(config, limits);
        const copyIn = engine.setParameters.bind(engine);
        let call = 0;
        engine.setParameters = (parameters) => {
          copyIn(parameters);
          // A bit flips in the memory that holds the replica.
          if (++call === 6) parameters[5] += 1e-3;
        };
        return engine;
      },
    });
    await cluster.ready(2);
    cluster.start();
    expectSameTrajectory(await cluster.finish());
    expect(broken.logs).toContainEqual(expect.objectContaining({ kind: 'refused', result: 'replica_diverged' }));
    expect(broken.logs.filter((entry) => entry.kind === 'ready')).toHaveLength(2);
  });

  it('stops after a committed round when asked to', async () => {
    const cluster = await createCluster();
    const worker = cluster.join('w', {
      createEngine: interrupted((call) => {
        if (call === 12) cluster.stop();
      }),
    });
    cluster.start();
    const { ending, losses } = await cluster.finish();
    await worker.done;
    expect(worker.logs.at(-1)).toEqual({ kind: 'stopped', code: 'stopped', reason: 'the run was stopped' });
    expect(ending).toMatchObject({ round: losses.length, reason: 'stopped' });
    expect(cluster.saved.at(-1)).toMatchObject({ round: losses.length });
  });
});

describe('a reproducible run', () => {
  it('waits for validations that are behind, without being paused by anyone', async () => {
    let catchUp = (): void => undefined;
    const behind = new Promise<void>((resolve) => (catchUp = resolve));
    const evaluate = () => behind.then(() => ({ lossPerChar: 1, tokens: 1 }));
    const cluster = await createCluster({ ...CONFIG, leaseStreams: 1 }, undefined, { evaluateEvery: 2, evaluate });
    cluster.join('w');
    cluster.start();
    await vi.waitFor(
      () =>
        expect(cluster.conductor.status()).toMatchObject({
          phase: 'waiting',
          phaseReason: expect.stringContaining('validation'),
        }),
      { timeout: 20_000 },
    );
    catchUp();
    expect((await cluster.finish()).ending).toMatchObject({ reason: 'completed' });
  });
});

describe('a snapshot on a slow link', () => {
  it('is completed by the updates that overtook it, without another snapshot', async () => {
    const cluster = await createCluster();
    cluster.join('steady', { createEngine: interrupted(() => new Promise((resolve) => setTimeout(resolve, 4))) });
    const slow = cluster.join('slow', { holdSnapshotMs: 30 });
    cluster.start();
    expectSameTrajectory(await cluster.finish());
    expect(slow.logs.filter((entry) => entry.kind === 'resync')).toEqual([]);
    expect(slow.logs.some((entry) => entry.kind === 'computed')).toBe(true);
  });
});

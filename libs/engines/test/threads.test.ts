import { Worker } from 'node:worker_threads';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { createLayout, initialParameters, stateSize, type Batch, type Engine, type ModelConfig } from '@troupe/model';
import { createThreadedEngine, type EngineThread, type ThreadReply } from '@troupe/model/threads';
// eslint-disable-next-line @nx/enforce-module-boundaries -- a shared test suite
import { engineConformance } from '../../model/test/engine-conformance.js';
import { createCpuEngine } from '../src/node/cpu.js';
import { openNodeThread, type ThreadData } from '../src/node/thread.js';

const script = (name: string) => new URL(`./fixtures/${name}.mjs`, import.meta.url);
const thread = (data: ThreadData) => openNodeThread(data, script('engine-thread'));
const WASM: ThreadData = { engine: 'wasm', measured: false };

/** Threads are reused, because starting one takes longer than most tests. */
function createPool() {
  const workers: Worker[] = [];
  const idle: Worker[] = [];
  const start = (): Worker => {
    const worker = new Worker(script('engine-thread'), { workerData: WASM }).setMaxListeners(0);
    workers.push(worker);
    return worker;
  };
  const openThread = (): EngineThread => {
    const worker = idle.pop() ?? start();
    let owned = true;
    let unanswered = 0;
    return {
      post(order) {
        unanswered++;
        worker.postMessage(order);
      },
      onReply(handler) {
        worker.on('message', (reply: ThreadReply) => {
          if (!owned) return;
          if (reply.kind !== 'progress') unanswered--;
          handler(reply);
        });
      },
      onEnd: (handler) => void worker.on('error', (error) => owned && handler(error)),
      terminate() {
        // The replies of a thread that is still at work would reach its next owner.
        if (owned && unanswered > 0) void worker.terminate();
        else if (owned) idle.push(worker);
        owned = false;
      },
    };
  };
  return { openThread, close: () => Promise.all(workers.map((worker) => worker.terminate())) };
}

const pool = createPool();
afterAll(() => pool.close());

for (const threads of [1, 2]) {
  engineConformance(
    `threaded wasm (${threads} threads)`,
    (config, limits) => createThreadedEngine(config, limits, { threads, openThread: pool.openThread }),
    { loss: 1e-6, gradient: 1e-5, states: 1e-6, logits: 1e-6 },
    { handsOver: true },
  );
}

const CONFIG: ModelConfig = { cell: 'lstm', layers: 2, hidden: 12, vocabulary: 9 };
const LIMITS = { maxStreams: 7, maxWindow: 6 };

function batchOf(streams: number): Batch {
  return {
    streams,
    window: 6,
    tokens: Uint16Array.from({ length: streams * 7 }, (_, i) => (i * 5) % 9),
    states: Float32Array.from({ length: streams * stateSize(CONFIG) }, (_, i) => Math.sin(i)),
  };
}

function part({ window, tokens, states }: Batch, from: number, to: number): Batch {
  const size = stateSize(CONFIG);
  return {
    streams: to - from,
    window,
    tokens: tokens.slice(from * (window + 1), to * (window + 1)),
    states: states.slice(from * size, to * size),
  };
}

const engines: Engine[] = [];
afterEach(() => {
  for (const engine of engines.splice(0)) engine.dispose();
});

async function open(threads: number, openThread: () => EngineThread = () => thread(WASM)): Promise<Engine> {
  const engine = await createThreadedEngine(CONFIG, LIMITS, { threads, openThread });
  engines.push(engine);
  engine.setParameters(initialParameters(CONFIG, createLayout(CONFIG), 5));
  return engine;
}

it('hands over nothing where it is told that it gains nothing, and computes the same', async () => {
  const gradientOf = async (handsOver: boolean) => {
    const engine = await createThreadedEngine(CONFIG, LIMITS, { threads: 2, openThread: () => thread(WASM), handsOver });
    engines.push(engine);
    engine.setParameters(initialParameters(CONFIG, createLayout(CONFIG), 5));
    let calls = 0;
    const { gradient } = await engine.gradient(batchOf(6), () => calls++);
    return { gradient: gradient.slice(), calls };
  };
  const [told, other] = [await gradientOf(false), await gradientOf(true)];
  expect(told.gradient).toEqual(other.gradient);
  expect(told.calls).toBe(0);
  expect(other.calls).toBeGreaterThan(0);
});

/** Threads of an engine that a test can kill, and the number of those that have ended. */
function mortal(workerData = WASM) {
  const threads: EngineThread[] = [];
  let ended = 0;
  const openThread = (): EngineThread => {
    const worker = new Worker(script('engine-thread'), { workerData });
    worker.on('exit', () => ended++);
    const opened: EngineThread = {
      post: (order) => worker.postMessage(order),
      onReply: (handler) => void worker.on('message', handler),
      onEnd: (handler) => void worker.on('exit', (code) => handler(new Error(`it ended with code ${code}`))),
      terminate: () => void worker.terminate(),
    };
    threads.push(opened);
    return opened;
  };
  return { openThread, threads, ended: () => ended };
}

/** A thread that computes nothing and reports progress to these indices. */
function scripted(progress: readonly number[]): EngineThread {
  let reply: (reply: ThreadReply) => void = () => {};
  return {
    post({ kind }) {
      if (kind === 'open') {
        reply({ kind: 'opened', info: { name: 'scripted', variant: 'none', device: 'cpu' } });
        return;
      }
      for (const from of progress) reply({ kind: 'progress', from });
      reply({ kind: 'done', lossSum: 1 });
    },
    onReply: (handler) => void (reply = handler),
    onEnd: () => {},
    terminate: () => {},
  };
}

describe('an engine of several threads', () => {
  it('sums gradients in the order of the threads, to the same bits every time', async () => {
    const engine = await open(3);
    const single = await createCpuEngine('wasm', CONFIG, LIMITS);
    engines.push(single);
    single.setParameters(initialParameters(CONFIG, createLayout(CONFIG), 5));
    const batch = batchOf(7);
    let expected: Float32Array | undefined;
    for (const [from, to] of [
      [0, 2],
      [2, 4],
      [4, 7],
    ]) {
      const { gradient } = await single.gradient(part(batch, from, to));
      expected = expected ? expected.map((value, i) => Math.fround(value + gradient[i])) : gradient.slice();
    }
    for (const onProgress of [undefined, () => {}, undefined]) {
      expect((await engine.gradient(batch, onProgress)).gradient).toEqual(expected);
    }
  });

  it('reports only what is further, as messages of two threads may overtake each other', async () => {
    const engine = await open(1, () => scripted([9, 5, 7, 5, 2]));
    const reports: number[] = [];
    await engine.gradient(batchOf(7), (_, from) => reports.push(from));
    expect(reports).toEqual([9, 5, 2]);
  });

  it('computes batches of fewer streams than it has threads', async () => {
    const engine = await open(3);
    const whole = await engine.evaluate(batchOf(2));
    const { lossSum } = whole;
    const endStates = whole.endStates.slice();
    expect((await engine.gradient(batchOf(1))).tokens).toBe(6);
    const again = await engine.gradient(batchOf(2));
    expect(again.lossSum).toBeCloseTo(lossSum, 4);
    again.endStates.forEach((value, i) => expect(value).toBeCloseTo(endStates[i], 6));
  });

  it('ends the opened threads when another one does not start', async () => {
    const { openThread, threads, ended } = mortal();
    const scarce = (): EngineThread => {
      if (threads.length === 2) throw new Error('ERR_WORKER_INIT_FAILED');
      return openThread();
    };
    await expect(open(4, scarce)).rejects.toMatchObject({ code: 'unsupported', remedy: 'use fewer threads' });
    await expect.poll(ended).toBe(2);
  });

  it('names the device and its threads', async () => {
    expect((await open(2)).info).toMatchObject({ name: 'wasm', device: 'cpu, 2 threads' });
    expect((await open(1)).info).toMatchObject({ name: 'wasm', device: 'cpu' });
  });

  it.each([0, -1, 1.5, NaN])('rejects %s threads', async (threads) => {
    await expect(open(threads)).rejects.toMatchObject({ name: 'EngineError', code: 'bad_shape' });
  });

  it("passes on the error of a thread's engine, and ends the threads", async () => {
    const { openThread, ended } = mortal({ ...WASM, variant: 'avx1024' });
    await expect(open(2, openThread)).rejects.toMatchObject({
      name: 'EngineError',
      code: 'unsupported',
      remedy: expect.stringContaining('simd') as string,
    });
    await expect.poll(ended).toBe(2);
  });
});

describe('a thread that ends', () => {
  it('makes the call in flight and all later ones fail as device_lost, and ends the other threads', async () => {
    const { openThread, threads, ended } = mortal();
    const engine = await open(2, openThread);
    const lost = { name: 'EngineError', code: 'device_lost', remedy: expect.stringContaining('another engine') as string };
    const inFlight = engine.gradient(batchOf(7));
    threads[1].terminate();
    await expect(inFlight).rejects.toMatchObject(lost);
    await expect(engine.gradient(batchOf(7))).rejects.toMatchObject(lost);
    await expect(engine.evaluate(batchOf(7))).rejects.toMatchObject(lost);
    await expect.poll(ended).toBe(2);
  });

  it('is noticed between two calls too', async () => {
    const { openThread, threads, ended } = mortal();
    const engine = await open(2, openThread);
    await engine.gradient(batchOf(7));
    threads[0].terminate();
    await expect.poll(ended).toBe(2);
    await expect(engine.gradient(batchOf(7))).rejects.toMatchObject({ code: 'device_lost' });
  });

  it('makes opening fail if it ends before it serves', async () => {
    const openThread = () => openNodeThread(WASM, new URL('data:text/javascript,throw new Error("no engine here")'));
    await expect(open(2, openThread)).rejects.toMatchObject({
      code: 'device_lost',
      message: expect.stringContaining('no engine here') as string,
    });
  });
});

describe('dispose', () => {
  it('ends all threads and rejects the call in flight as disposed', async () => {
    const { openThread, ended } = mortal();
    const engine = await open(2, openThread);
    const inFlight = engine.gradient(batchOf(7));
    engine.dispose();
    await expect(inFlight).rejects.toMatchObject({ code: 'disposed' });
    await expect.poll(ended).toBe(2);
  });
});

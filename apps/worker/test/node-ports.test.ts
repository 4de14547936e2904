import type { EngineChoice } from '@troupe/engines';
import type { TrainingConfig } from '@troupe/config';
import type { Engine } from '@troupe/model';
import { afterEach, describe, expect, it } from 'vitest';
import { createNodePorts } from '../src/node-ports.js';

const CONFIG = { cell: 'lstm', layers: 1, hidden: 8, vocabulary: 5 } as const;
const LIMITS = { maxStreams: 2, maxWindow: 4 };

const engines: Engine[] = [];
afterEach(() => {
  for (const engine of engines.splice(0)) engine.dispose();
});

/** Without threads, whose script has to be compiled. */
async function open(
  engine: EngineChoice,
  constraints: { readonly not?: readonly string[]; readonly reproducible: boolean },
): Promise<string> {
  const ports = await createNodePorts({
    engine,
    threads: 0,
    gpu: false,
    share: 1,
    signal: new AbortController().signal,
    log: () => undefined,
  });
  const opened = await ports.createEngine(CONFIG, LIMITS, { not: [], ...constraints });
  engines.push(opened);
  return `${opened.info.name} ${opened.info.variant}`;
}

describe('the memory of a worker', () => {
  const GIB = 1024 ** 3;
  const LARGE = { cell: 'lstm', layers: 2, hidden: 1024, vocabulary: 61 } as const;
  const attempt = async (totalBytes: number, freeBytes: number) => {
    const logs: unknown[] = [];
    const ports = await createNodePorts({
      ...{ engine: 'webgpu' as const, threads: 4, gpu: false, share: 1, signal: new AbortController().signal },
      memory: () => ({ totalBytes, freeBytes }),
      log: (entry) => logs.push(entry),
    });
    // It is checked before anything opens; there is no such engine here.
    const opening = ports.createEngine(LARGE, { maxStreams: 32, maxWindow: 64 }, { not: [], reproducible: false });
    const error = await opening.then(
      (engine) => void engines.push(engine),
      (failure: unknown) => failure,
    );
    return { logs, error };
  };

  it('that is short is told before an engine opens, with the threads that fit', async () => {
    const { logs } = await attempt(2 * GIB, 1.2 * GIB);
    expect(logs).toEqual([
      {
        kind: 'memory',
        text: expect.stringMatching(/^This run needs about 1\.6 GiB of memory for 1 worker with 4 threads/) as string,
        remedy: 'With --threads 2 it fits. Use fewer --threads, or a machine with more memory; or end other programs.',
      },
    ]);
  });

  it('that the machine does not have refuses the run', async () => {
    const { error } = await attempt(0.2 * GIB, 0.1 * GIB);
    expect(error).toMatchObject({ code: 'out_of_memory', message: expect.stringContaining('needs about 1.6 GiB') as string });
  });

  it('that a run needs is compared with the limit before anything is allocated', async () => {
    const ports = async (memoryLimit?: number, threads = 4) =>
      createNodePorts({
        ...{ engine: 'wasm' as const, threads, gpu: false, share: 1, signal: new AbortController().signal, memoryLimit },
        memory: () => ({ totalBytes: 8 * GIB, freeBytes: 8 * GIB }),
        log: () => undefined,
      });
    const config = { model: LARGE, streams: 32, window: 64, leaseStreams: 0 } as unknown as TrainingConfig;
    for (const fits of [await ports(), await ports(1.6), await ports(1, 1)]) fits.requireMemory!(config);
    const short = await ports(1.5);
    expect(() => short.requireMemory!(config)).toThrow(
      expect.objectContaining({
        code: 'out_of_memory',
        message: 'This run needs about 1.6 GiB of memory here, and --memory-limit allows 1.5.',
        remedy: 'Give fewer --threads, or --memory-limit 1.6, or join another run.',
      }),
    );
  });

  it('that suffices is not mentioned', async () => expect((await attempt(8 * GIB, 8 * GIB)).logs).toEqual([]));
});

describe('the engine of a worker', () => {
  it('is the requested one', async () => {
    expect(await open('reference', { reproducible: false })).toBe('reference float64');
  });

  it('is another one after a loss', async () => {
    expect(await open('reference', { not: ['reference'], reproducible: false })).not.toContain('reference');
  });

  it.each(['auto', 'wasm'] as const)(
    'is the one of reproducible runs in such a run, by %s, also after it was lost',
    async (choice) => {
      for (const not of [[], ['wasm']]) expect(await open(choice, { not, reproducible: true })).toMatch(/^wasm simd /);
    },
  );

  it('is refused in a reproducible run when another one is requested, also after a loss', async () => {
    for (const not of [[], ['native']]) {
      await expect(open('native', { not, reproducible: true })).rejects.toMatchObject({
        code: 'unsupported',
        remedy: expect.stringContaining('--engine wasm') as string,
      });
    }
  });
});

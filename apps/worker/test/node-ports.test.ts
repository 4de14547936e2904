import type { EngineChoice } from '@troupe/engines';
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

import { afterEach, describe, expect, it, vi } from 'vitest';
import { EngineError, type Engine, type ModelConfig } from '@troupe/model';
import { ENGINE_CHOICES, isEngineChoice, type EngineChoice } from '../src/index.js';
import { openEngine, probeEngines, type OpenOptions } from '../src/node/index.js';
import { SOURCES } from '../src/node/sources.js';

const CONFIG: ModelConfig = { cell: 'lstm', layers: 1, hidden: 8, vocabulary: 5 };
const LIMITS = { maxStreams: 4, maxWindow: 4 };
const threadScript = new URL('./fixtures/engine-thread.mjs', import.meta.url);
const nowMs = () => performance.now();

const engines: Engine[] = [];
afterEach(() => {
  vi.restoreAllMocks();
  for (const engine of engines.splice(0)) engine.dispose();
});

async function open(choice: EngineChoice, options: OpenOptions = {}): Promise<Engine> {
  const engine = await openEngine(choice, CONFIG, LIMITS, { threadScript, ...options });
  engines.push(engine);
  return engine;
}

const batch = { streams: 3, window: 2, tokens: new Uint16Array(9), states: new Float32Array(3 * 16) };

describe('openEngine', () => {
  it.each(['wasm', 'reference'] as const)('opens %s by name, in this thread and in its own', async (name) => {
    for (const threads of [0, 1, 2]) {
      const engine = await open(name, { threads });
      expect(engine.info.name).toBe(name);
      expect(engine.info.device).toBe(threads === 2 ? 'cpu, 2 threads' : 'cpu');
      expect((await engine.gradient(batch)).tokens).toBe(6);
    }
  });

  it('takes the same variant every time if nothing is measured, and a named one if asked', async () => {
    const [first, second] = [await open('wasm'), await open('wasm', { threads: 1 })];
    expect(second.info.variant).toBe(first.info.variant);
    const named = await open('wasm', { variant: 'simd 4x2', threads: 1 });
    expect(named.info.variant).toBe('simd 4x2');
  });

  it('names the command that installs an engine that is absent', async ({ skip }) => {
    const [report] = await probeEngines({ nowMs, engines: ['tfjs-node-gpu'] });
    skip(report.present, 'SKIPPED: @tensorflow/tfjs-node-gpu is installed here, and every other engine may be installed too');
    await expect(open('tfjs-node-gpu')).rejects.toMatchObject({
      name: 'EngineError',
      code: 'absent',
      remedy: expect.stringContaining('npm install') as string,
    });
  });
});

describe('auto', () => {
  it('takes one of the engines present and says why', async () => {
    const lines: string[] = [];
    const engine = await open('auto', { nowMs, log: (line) => lines.push(line) });
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(new RegExp(`^${engine.info.name} `));
    expect(lines[0]).toContain('wasm');
    expect((await engine.gradient(batch)).tokens).toBe(6);
  });

  it('chooses only from the allowed engines', async () => {
    expect((await open('auto', { among: ['reference'], nowMs })).info.name).toBe('reference');
    expect((await open('auto', { among: ['wasm', 'reference'], nowMs })).info.name).toBe('wasm');
  });

  it('avoids an engine whose device was lost, unless there is no other', async () => {
    expect((await open('auto', { among: ['wasm', 'reference'], not: ['wasm'], nowMs })).info.name).toBe('reference');
    expect((await open('auto', { among: ['wasm'], not: ['wasm'], nowMs })).info.name).toBe('wasm');
  });

  it('does not touch a lost device unless there is no other engine', async () => {
    const find = vi.spyOn(SOURCES.wasm, 'find');
    await open('auto', { among: ['wasm', 'reference'], not: ['wasm'], nowMs });
    expect(find).not.toHaveBeenCalled();
    vi.spyOn(SOURCES.reference, 'find').mockRejectedValue(new EngineError('absent', 'gone', 'come back'));
    expect((await open('auto', { among: ['wasm', 'reference'], not: ['wasm'], nowMs })).info.name).toBe('wasm');
  });

  it('tries the next engine when a driver throws an error of its own', async () => {
    const find = vi.spyOn(SOURCES.native, 'find').mockRejectedValue(new TypeError('the driver is broken'));
    expect((await open('auto', { among: ['native', 'wasm'] })).info.name).toBe('wasm');
    find.mockRestore();
    vi.spyOn(SOURCES.native, 'find').mockResolvedValue({ device: 'cpu', features: [], software: false });
    vi.spyOn(SOURCES.native, 'open').mockRejectedValue(new TypeError('the driver is broken'));
    expect((await open('auto', { among: ['native', 'wasm'] })).info.name).toBe('wasm');
    await expect(open('auto', { among: ['native'] })).rejects.toMatchObject({ code: 'unsupported' });
  });

  it('leaves GPUs out if asked to', async () => {
    const find = vi.spyOn(SOURCES.webgpu, 'find');
    expect((await open('auto', { among: ['webgpu', 'wasm'], gpu: false, nowMs })).info.name).toBe('wasm');
    expect(find).not.toHaveBeenCalled();
  });

  it('tries the next engine when the model is too large for the fastest', async () => {
    const wide = { ...CONFIG, hidden: 1 };
    const vast = { maxStreams: 30_000, maxWindow: 1000 };
    const opening = openEngine('auto', wide, vast, { among: ['wasm', 'reference'] });
    // WebAssembly memory ends at 4 GiB; the reference engine allocates nothing in advance.
    const engine = await opening;
    engines.push(engine);
    expect(engine.info.name).toBe('reference');
  });

  it('says what is missing when no engine is present', async ({ skip }) => {
    const [report] = await probeEngines({ nowMs, engines: ['tfjs-node-gpu'] });
    skip(report.present, 'SKIPPED: @tensorflow/tfjs-node-gpu is installed here, and every other engine may be installed too');
    await expect(open('auto', { among: ['tfjs-node-gpu'] })).rejects.toBeInstanceOf(EngineError);
  });
});

describe('probeEngines', () => {
  it('measures the engines present', async () => {
    const [wasm, reference] = await probeEngines({ nowMs, config: CONFIG, engines: ['wasm', 'reference'] });
    expect(wasm).toMatchObject({ name: 'wasm', present: true, device: 'cpu', software: false });
    expect(wasm).toMatchObject({ charsPerSecond: expect.any(Number) as number });
    expect(reference).toMatchObject({ name: 'reference', present: true, variant: 'float64' });
  });

  it('says of every absent engine why it is absent and what to do', async () => {
    for (const report of await probeEngines({ nowMs, config: CONFIG })) {
      if (report.present) continue;
      expect(report.why, report.name).toMatch(/\w/);
      expect(report.remedy, report.name).toMatch(/\w/);
    }
  });
});

describe('engine names', () => {
  it('are exactly the ones that users may type', () => {
    for (const name of ENGINE_CHOICES) expect(isEngineChoice(name)).toBe(true);
    for (const name of ['', 'cuda', 'WASM', 'toString']) expect(isEngineChoice(name)).toBe(false);
  });
});

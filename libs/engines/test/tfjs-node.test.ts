import { execFile } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createTfjsEngine } from '@troupe/model/tfjs';
import { loadTfjs } from '../src/node/tfjs-node.js';

const require = createRequire(import.meta.url);
const installed = (name: string): boolean => {
  try {
    require.resolve(name);
    return true;
  } catch {
    return false;
  }
};

/**
 * import() of installed packages, as the loader itself does it, and of packages that a test
 * provides.
 */
const packages =
  (provided: Readonly<Record<string, () => unknown>>) =>
  async (name: string): Promise<unknown> =>
    provided[name] ? { default: provided[name]() } : import(name);

const handlers = () => ['uncaughtException', 'unhandledRejection'].map((event) => process.listeners(event as 'exit'));

describe('a tfjs for Node', () => {
  const config = { cell: 'lstm', layers: 1, hidden: 4, vocabulary: 5 } as const;
  const limits = { maxStreams: 2, maxWindow: 3 };
  const batch = { streams: 1, window: 2, tokens: new Uint16Array([1, 2, 3]), states: new Float32Array(8) };

  it.each(['cpu', 'wasm'] as const)(
    'loads with the backend %s, silently, leaves the handlers of the process alone, and computes',
    async (name) => {
      const said = ['log', 'warn', 'info', 'error'].map((method) => vi.spyOn(console, method as 'log'));
      const before = handlers();
      const tf = await loadTfjs(name);
      expect(handlers()).toEqual(before);
      const engine = await createTfjsEngine(config, limits, tf);
      expect(engine.info).toEqual({ name: 'tfjs', variant: name, device: 'cpu' });
      expect((await engine.gradient(batch)).lossSum).toBeCloseTo(2 * Math.log(5), 5);
      engine.dispose();
      for (const method of said) expect(method).not.toHaveBeenCalled();
      vi.restoreAllMocks();
    },
  );

  it('may be loaded again, and another beside it', async () => {
    const wasm = await loadTfjs('wasm');
    const engine = await createTfjsEngine(config, limits, wasm);
    await loadTfjs('cpu');
    expect(await loadTfjs('wasm')).toBe(wasm);
    expect((await engine.evaluate(batch)).lossSum).toBeCloseTo(2 * Math.log(5), 5);
    engine.dispose();
  });
});

/** Chromium's software adapter and the library that finds it. */
const SOFTWARE = {
  VK_ICD_FILENAMES: '/usr/lib/chromium/vk_swiftshader_icd.json',
  LD_PRELOAD: '/usr/lib/chromium/libvulkan.so.1',
};
const noAdapter = Object.values(SOFTWARE).some((file) => !fs.existsSync(file)) ? 'SKIPPED, apt install chromium: ' : '';

describe('a process that tried tfjs-webgpu', { timeout: 120_000 }, () => {
  const run = promisify(execFile);
  const here = (file: string) => JSON.stringify(new URL(file, import.meta.url).href);
  const ENDS_MS = 60_000;

  /** The output of the process; rejects if it does not end by itself. */
  async function output(code: string, env: Readonly<Record<string, string>>): Promise<string> {
    const script = `
      import { register } from 'node:module';
      register(${here('./fixtures/typescript.mjs')});
      const { loadTfjs } = await import(${here('../src/node/tfjs-node.ts')});
      const { createTfjsEngine } = await import('@troupe/model/tfjs');
      const config = { cell: 'lstm', layers: 1, hidden: 4, vocabulary: 5 };
      const limits = { maxStreams: 2, maxWindow: 3 };
      const batch = { streams: 1, window: 2, tokens: new Uint16Array([1, 2, 3]), states: new Float32Array(8) };
      ${code}`;
    const options = { cwd: import.meta.dirname, timeout: ENDS_MS, env: { ...process.env, XDG_RUNTIME_DIR: os.tmpdir(), ...env } };
    return (await run(process.execPath, ['--input-type=module', '-e', script], options)).stdout;
  }

  it.skipIf(noAdapter !== '')(`${noAdapter}ends once its last engine is disposed of, and may open another before`, async () => {
    const code = `
      for (let i = 0; i < 2; i++) {
        const engine = await createTfjsEngine(config, limits, await loadTfjs('webgpu'));
        await new Promise(setImmediate);
        const { lossSum } = await engine.gradient(batch);
        console.log(engine.info.variant, lossSum.toFixed(3), navigator.gpu !== undefined);
        engine.dispose();
        console.log(navigator.gpu);
      }`;
    const once = `webgpu ${(2 * Math.log(5)).toFixed(3)} true\nundefined\n`;
    expect(await output(code, SOFTWARE)).toBe(once + once);
  });

  it.skipIf(noAdapter !== '')(`${noAdapter}ends when no engine was opened, or loading failed`, async () => {
    const code = `
      await loadTfjs('webgpu');
      await new Promise((resolve) => setTimeout(resolve, 10));
      console.log(navigator.gpu);
      const broken = (name) => (name.endsWith('backend-webgpu') ? Promise.reject(new Error('broken')) : import(name));
      await loadTfjs('webgpu', { importPackage: broken }).catch(({ code }) => console.log(code));`;
    expect(await output(code, SOFTWARE)).toBe('undefined\nunsupported\n');
  });

  it('ends when there is no adapter', async () => {
    const code = "await loadTfjs('webgpu').catch(({ code, message }) => console.log(code, message));";
    expect(await output(code, { VK_ICD_FILENAMES: '/nowhere.json' })).toMatch(/^unsupported .*adapter/);
  });
});

describe('a package that is not installed', () => {
  const absent = (['node', 'node-gpu'] as const).filter((name) => !installed(`@tensorflow/tfjs-${name}`));

  it.skipIf(absent.length === 0).each(absent)('is absent, with the command that installs it: tfjs-%s', async (name) => {
    await expect(loadTfjs(name)).rejects.toMatchObject({
      name: 'EngineError',
      code: 'absent',
      message: `the npm package @tensorflow/tfjs-${name} is not installed`,
      remedy: expect.stringContaining(`npm install --no-save @tensorflow/tfjs-${name}@4.22.0 (`) as string,
    });
  });

  it.each([
    ['wasm', '@tensorflow/tfjs-backend-wasm'],
    ['webgpu', 'webgpu'],
  ] as const)('is named even if it is the only one missing of several: %s', async (from, name) => {
    const importPackage = packages({
      [name]: () => {
        throw Object.assign(new Error(`Cannot find package '${name}' imported from here`), { code: 'ERR_MODULE_NOT_FOUND' });
      },
    });
    await expect(loadTfjs(from, { importPackage })).rejects.toMatchObject({
      code: 'absent',
      message: `the npm package ${name} is not installed`,
      remedy: expect.stringContaining(name) as string,
    });
  });
});

describe('a package that is installed and fails', () => {
  it('is unsupported, with its reason, when it does not load', async () => {
    const importPackage = packages({
      '@tensorflow/tfjs-node': () => {
        throw new Error('The Node.js native addon module (tfjs_binding.node) can not be found\nPlease run ...');
      },
    });
    await expect(loadTfjs('node', { importPackage })).rejects.toMatchObject({
      code: 'unsupported',
      message:
        '@tensorflow/tfjs-node (tensorflow) does not work here: The Node.js native addon module (tfjs_binding.node) can not be found',
      remedy: expect.stringContaining('npm install') as string,
    });
  });

  it('is unsupported if it finds no GPU', async () => {
    const webgpu = { create: () => ({ requestAdapter: async () => null }), globals: {} };
    await expect(
      loadTfjs('webgpu', { importPackage: async (name) => (name === 'webgpu' ? webgpu : import(name)) }),
    ).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('adapter') as string,
    });
  });

  it('is unsupported if a module inside it is missing, with the remedy to reinstall the package', async () => {
    const importPackage = packages({
      '@tensorflow/tfjs-node': () => {
        throw Object.assign(new Error("Cannot find module '@mapbox/node-pre-gyp'"), { code: 'MODULE_NOT_FOUND' });
      },
    });
    await expect(loadTfjs('node', { importPackage })).rejects.toMatchObject({ code: 'unsupported' });
  });

  it('is unsupported if it loads but fails at its first operation', async () => {
    const tf = await loadTfjs('cpu');
    const broken = {
      ...tf,
      enableProdMode: () => {},
      setBackend: async () => true,
      tidy: () => {
        throw new TypeError('util_1.isNullOrUndefined is not a function');
      },
    };
    const importPackage = packages({ '@tensorflow/tfjs-node-gpu': () => broken });
    await expect(loadTfjs('node-gpu', { importPackage })).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('util_1.isNullOrUndefined is not a function') as string,
    });
  });
});

describe('what tfjs-node needs from Node', () => {
  const util = require('node:util') as Record<string, unknown>;
  const { isNullOrUndefined: kept, isArray } = util;
  afterEach(() => Object.assign(util, { isNullOrUndefined: kept, isArray }));

  it('is present even in versions of Node that dropped it', async () => {
    delete util['isNullOrUndefined'];
    delete util['isArray'];
    await loadTfjs('node', { importPackage: async () => Promise.reject(new Error('not this time')) }).catch(() => {});
    const mended = util as Record<string, (value: unknown) => boolean>;
    expect([null, undefined, 0, ''].map((value) => mended['isNullOrUndefined'](value))).toEqual([true, true, false, false]);
    expect([[], {}].map((value) => mended['isArray'](value))).toEqual([true, false]);
  });
});

import { afterEach, describe, expect, it, vi } from 'vitest';
import { ENGINE_NAMES } from '@troupe/engines';
import { troupe } from './fixtures/shell.js';

async function outputOf(...argv: string[]) {
  const session = troupe(argv);
  return { code: await session.exitCode, stdout: session.stdout.text, stderr: session.stderr.text };
}

interface Shown {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly node: string;
  readonly engines: readonly { name: string; present: boolean; charsPerSecond?: number; why?: string; remedy?: string }[];
}

afterEach(() => vi.doUnmock('../src/engine.js'));

describe('troupe doctor', () => {
  it('shows the machine and every engine, with its speed or with what is missing and a remedy', async () => {
    const { code, stdout } = await outputOf('doctor', '--json');
    expect(code).toBe(0);
    const shown = JSON.parse(stdout) as Shown;
    expect(shown).toMatchObject({ node: process.versions.node, cores: expect.any(Number) as number });
    expect(shown.memoryBytes).toBeGreaterThan(0);
    expect(shown.engines.map(({ name }) => name)).toEqual(ENGINE_NAMES);
    for (const { present, why, remedy } of shown.engines.filter((engine) => !engine.present)) {
      expect(present).toBe(false);
      expect(why).toMatch(/\w/);
      expect(remedy).toMatch(/\w/);
    }
    const speedOf = (wanted: string) => shown.engines.find(({ name }) => name === wanted)?.charsPerSecond;
    expect(speedOf('wasm')).toBeGreaterThan(0);
    expect(speedOf('reference')).toBeGreaterThan(0);
  });

  it('checks only the engines asked for, and says how to train with the fastest', async () => {
    const { code, stdout } = await outputOf('doctor', '--engine', 'wasm', '--engine', 'reference');
    expect(code).toBe(0);
    expect(stdout).toMatch(/processor .*cores\n/);
    expect(stdout).toMatch(/\n\+ wasm +\S+\/s {2}cpu; (relaxed-)?simd /);
    expect(stdout).toMatch(/\n\+ reference +\S+\/s {2}cpu; float64\n/);
    expect(stdout).not.toContain('tfjs');
    expect(stdout).toContain('troupe train --engine wasm');
  });

  it('ends with 1 if it finds only a software-emulated GPU', async () => {
    const emulated = { name: 'webgpu', present: true, device: 'llvmpipe', features: [], software: true };
    vi.doMock('../src/engine.js', () => ({ probeEngines: async () => [emulated] }));
    const { code, stdout } = await outputOf('doctor', '--engine', 'webgpu');
    expect(stdout).toContain('Only a software-emulated GPU was found');
    expect(code).toBe(1);
  });

  it('ends with 1 if no engine runs, and names the command that installs it', async ({ skip }) => {
    const { code, stdout } = await outputOf('doctor', '--engine', 'tfjs-node-gpu');
    skip(code === 0, 'SKIPPED: @tensorflow/tfjs-node-gpu is installed here, and no other engine is sure to be absent');
    expect(code).toBe(1);
    expect(stdout).toContain('to get it: npm install --no-save @tensorflow/tfjs-node-gpu');
    expect(stdout).toContain('None of these engines runs');
  });
});

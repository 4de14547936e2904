/**
 * The linter enforces the direction of dependencies. These tests feed it violations and expect
 * errors.
 */
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { ESLint } from 'eslint';
import { describe, expect, it } from 'vitest';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const eslint = new ESLint({ cwd: root });

/** The rules that `code` breaks if it is the content of `file`, which must exist. */
async function violations(file: string, code: string): Promise<string[]> {
  const [result] = await eslint.lintText(code, { filePath: path.join(root, file) });
  return result.messages.map((message) => message.ruleId ?? message.message);
}

const BOUNDARY = '@nx/enforce-module-boundaries';

describe('the linter', () => {
  // This must come first: the linter caches the altered texts of the tests below.
  it('accepts the scheduler unchanged', { timeout: 120_000 }, async () => {
    const [result] = await eslint.lintFiles([path.join(root, 'libs/scheduler/src/step.ts')]);
    expect(result.messages).toEqual([]);
  });

  it.each([
    ['the configuration that imports a leaf', 'libs/config/src/limits.ts', "export { LIMITS } from '@troupe/protocol';"],
    ['a leaf that imports the scheduler', 'libs/optim/src/config.ts', "export { step } from '@troupe/scheduler';"],
    ['a leaf that imports another leaf', 'libs/corpus/src/index.ts', "export { LIMITS } from '@troupe/protocol';"],
    ['the scheduler that imports the model', 'libs/scheduler/src/state.ts', "export { createLayout } from '@troupe/model';"],
    ['the all-reduce that imports the scheduler', 'libs/collective/src/index.ts', "export { step } from '@troupe/scheduler';"],
    [
      'the model that imports checkpoints, which import the model',
      'libs/model/src/layout.ts',
      "export * from '@troupe/checkpoint';",
    ],
    [
      'an app that imports another app',
      'apps/cli/src/main.ts',
      "export { parseSettings } from '../../coordinator/src/settings.js';",
    ],
    ['a relative path into another project', 'libs/scheduler/src/state.ts', "export * from '../../protocol/src/frames.js';"],
  ])('refuses %s', { timeout: 120_000 }, async (_, file, code) => {
    expect(await violations(file, code)).toContain(BOUNDARY);
  });

  it('refuses an import cycle within a project', { timeout: 120_000 }, async () => {
    const code = "import { step } from './step.js';\nexport const dealQuotas = step;\nexport const dealStreams = step;\n";
    expect(await violations('libs/scheduler/src/dealing.ts', code)).toContain('import/no-cycle');
  });

  it.each([
    [
      'Node in a portable library',
      'libs/worker/src/ports.ts',
      "export { readFile } from 'node:fs/promises';",
      'no-restricted-imports',
    ],
    [
      'the Node entry of another library in a portable one',
      'libs/worker/src/ports.ts',
      "export * from '@troupe/transport/websocket';",
      'no-restricted-imports',
    ],
    [
      'an implementation of the all-reduce in the worker',
      'libs/worker/src/ports.ts',
      "export { createStarCollective } from '@troupe/collective/star';",
      'no-restricted-imports',
    ],
    [
      'a type of an implementation of the all-reduce in the conductor',
      'libs/conductor/src/ports.ts',
      "export type { StarOptions } from '@troupe/collective/star';",
      'no-restricted-imports',
    ],
    ['a clock in the scheduler', 'libs/scheduler/src/state.ts', 'export const now = Date.now();', 'no-restricted-globals'],
    ['randomness in the model', 'libs/model/src/layout.ts', 'export const chance = Math.random();', 'no-restricted-properties'],
    [
      'a floating promise',
      'apps/worker/src/node-ports.ts',
      'export function f(): void {\n  Promise.resolve(1);\n}\n',
      '@typescript-eslint/no-floating-promises',
    ],
  ])('refuses %s', { timeout: 120_000 }, async (_, file, code, rule) => {
    expect(await violations(file, code)).toContain(rule);
  });
});

/**
 * Finds import cycles, types included: the linter's import/no-cycle does not follow `import type`.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');

/** Text of each file, by path from the root. */
type Sources = ReadonlyMap<string, string>;

function readSources(): Sources {
  const files = ts.sys.readDirectory(
    root,
    ['.ts'],
    ['**/node_modules', '**/dist'],
    ['apps', 'libs', 'tests', 'scripts', 'types'],
  );
  return new Map(files.map((file) => [path.relative(root, file), readFileSync(file, 'utf8')]));
}

/**
 * Relative imports of each file: values, types, and `import('...')` of either. Imports of packages
 * cannot form cycles, because eslint.config.mjs allows only imports of lower layers, types
 * included.
 */
function importsOf(sources: Sources): Map<string, string[]> {
  return new Map(
    [...sources].map(([file, text]) => {
      const names = ts.preProcessFile(text, true, true).importedFiles.map(({ fileName }) => fileName);
      const targets = names
        .filter((name) => name.startsWith('.'))
        .map((name) => path.join(path.dirname(file), name).replace(/\.js$/, '.ts'));
      return [file, [...new Set(targets)].filter((target) => sources.has(target))];
    }),
  );
}

/** The files of each cycle, in the order of their imports, found by depth-first search. */
function findCycles(imports: ReadonlyMap<string, readonly string[]>): string[][] {
  const cycles: string[][] = [];
  const done = new Set<string>();
  const visit = (file: string, trail: readonly string[]): void => {
    if (trail.includes(file)) cycles.push(trail.slice(trail.indexOf(file)));
    if (trail.includes(file) || done.has(file)) return;
    for (const target of imports.get(file) ?? []) visit(target, [...trail, file]);
    done.add(file);
  };
  for (const file of imports.keys()) visit(file, []);
  return cycles;
}

describe('imports', () => {
  const sources = readSources();

  it('form no cycle', () => {
    expect(sources.size).toBeGreaterThan(300);
    expect(findCycles(importsOf(sources))).toEqual([]);
  });

  it.each([
    ['a value', "export { createLayout } from './layout.js';"],
    ['a type', "import type { ParameterLayout } from './layout.js';\nexport type Own = ParameterLayout;"],
    ['a re-exported type', "export type { ParameterLayout } from './layout.js';"],
    ['an inline import of a type', "export type Own = import('./layout.js').ParameterLayout;"],
    ['a dynamic import', "export const layout = () => import('./layout.js');"],
  ])('are found in a cycle that is closed by %s', (_, line) => {
    const [closing, other] = ['libs/model/src/config.ts', 'libs/model/src/layout.ts'];
    expect(sources.get(other)).toContain("from './config.js'");
    const altered = new Map([...sources, [closing, `${line}\n${sources.get(closing)}`]]);
    const [cycle, ...others] = findCycles(importsOf(altered));
    expect(new Set(cycle)).toEqual(new Set([closing, other]));
    expect(others).toEqual([]);
  });
});

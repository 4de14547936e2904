/** No circles of imports, types included: import/no-cycle of the linter does not follow `import type`. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');

/** Text of each file, by its path from the root. */
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
 * Relative imports of each file: values, types, `import('...')` in either. Packages are left to the table of layers in
 * eslint.config.mjs, which has no circles and counts types.
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

/** For each circle the files on it, in the order of their imports, found by a search in depth. */
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

  it('form no circle', () => {
    expect(sources.size).toBeGreaterThan(300);
    expect(findCycles(importsOf(sources))).toEqual([]);
  });

  it.each([
    ['a value', "export { createLayout } from './layout.js';"],
    ['a type', "import type { ParameterLayout } from './layout.js';\nexport type Own = ParameterLayout;"],
    ['a type that is exported again', "export type { ParameterLayout } from './layout.js';"],
    ['a type at its place of use', "export type Own = import('./layout.js').ParameterLayout;"],
    ['a module that is loaded later', "export const layout = () => import('./layout.js');"],
  ])('are found in a circle closed by %s', (_, line) => {
    const [closing, other] = ['libs/model/src/config.ts', 'libs/model/src/layout.ts'];
    expect(sources.get(other)).toContain("from './config.js'");
    const altered = new Map([...sources, [closing, `${line}\n${sources.get(closing)}`]]);
    const [cycle, ...others] = findCycles(importsOf(altered));
    expect(new Set(cycle)).toEqual(new Set([closing, other]));
    expect(others).toEqual([]);
  });
});

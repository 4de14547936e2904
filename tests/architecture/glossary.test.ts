/**
 * The glossary of ARCHITECTURE.md names every type that the scheduler exports, and nothing that no
 * longer exists.
 */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const read = (file: string): string => readFileSync(path.join(root, file), 'utf8');

const glossary = read('ARCHITECTURE.md').split('## Glossary')[1] ?? '';
/** Types named in the glossary: `Lease`, and `Lease.reliable` as well. */
const named = new Set([...glossary.matchAll(/`([A-Z]\w*)(?:\.\w+)?`/g)].map((match) => match[1]));

/** Names of the types that an index exports. */
const exportedTypes = (index: string): string[] => [...index.matchAll(/\btype ([A-Z]\w*)/g)].map((match) => match[1]);

it('names every type that the scheduler exports', () => {
  const exported = exportedTypes(read('libs/scheduler/src/index.ts'));
  expect(exported.length).toBeGreaterThan(5);
  expect(exported.filter((name) => !named.has(name))).toEqual([]);
});

it('names only types that exist', () => {
  const sources = ['libs', 'apps'].flatMap((group) =>
    readdirSync(path.join(root, group), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.includes('/src/') && file.endsWith('.ts'))
      .map((file) => read(`${group}/${file}`)),
  );
  const declared = new Set(
    sources.flatMap((text) =>
      [...text.matchAll(/^export (?:abstract )?(?:class|interface|type) (\w+)/gm)].map((match) => match[1]),
    ),
  );
  expect([...named].filter((name) => !declared.has(name))).toEqual([]);
});

it('gives the path of one lease through files that exist', () => {
  const section = read('ARCHITECTURE.md').split('## The path of one lease')[1]?.split('\n## ')[0] ?? '';
  const files = [...section.matchAll(/`((?:libs|apps)\/[\w./-]+\.ts)`/g)].map((match) => match[1]);
  expect(files.length).toBeGreaterThan(15);
  expect(files.filter((file) => !readdirSync(path.join(root, path.dirname(file))).includes(path.basename(file)))).toEqual([]);
});

/**
 * Each workspace declares exactly the workspaces that it imports, in package.json and tsconfig
 * references.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const WORKSPACES = ['libs', 'apps'].flatMap((group) =>
  readdirSync(path.join(root, group))
    .map((name) => `${group}/${name}`)
    .filter((workspace) => existsSync(path.join(root, workspace, 'package.json'))),
);

interface Manifest {
  readonly name: string;
  readonly dependencies?: Readonly<Record<string, string>>;
}

const manifestOf = (workspace: string): Manifest =>
  JSON.parse(readFileSync(path.join(root, workspace, 'package.json'), 'utf8')) as Manifest;

/** Names of the workspaces that these sources import, without subpaths. */
function importedBy(sources: readonly string[]): string[] {
  const found = sources.flatMap((text) =>
    [...text.matchAll(/(?:from|import)\s*\(?\s*'(@troupe\/[^/']+)/g)].map((match) => match[1]),
  );
  return [...new Set(found)].sort();
}

function sourcesOf(workspace: string): string[] {
  return ['src', 'bin', 'scripts'].flatMap((folder) => {
    const from = path.join(root, workspace, folder);
    if (!existsSync(from)) return [];
    const files = readdirSync(from, { recursive: true, encoding: 'utf8' }).filter((file) => /\.(ts|mjs)$/.test(file));
    return files.map((file) => readFileSync(path.join(from, file), 'utf8'));
  });
}

/** Folders of the projects that a workspace's tsconfig files reference, relative to the root. */
function referencesOf(workspace: string): string[] {
  const configs = readdirSync(path.join(root, workspace)).filter((file) => /^tsconfig.*\.json$/.test(file));
  const folders = configs.flatMap((file) => {
    const { references = [] } = JSON.parse(readFileSync(path.join(root, workspace, file), 'utf8')) as {
      readonly references?: readonly { readonly path: string }[];
    };
    return references.map((reference) => path.join(workspace, reference.path).replace(/\/(tsconfig[^/]*)?$/, ''));
  });
  return [...new Set(folders)].filter((folder) => folder !== workspace).sort();
}

describe.each(WORKSPACES)('%s', (workspace) => {
  const { name, dependencies = {} } = manifestOf(workspace);
  const declared = Object.keys(dependencies).filter((dependency) => dependency.startsWith('@troupe/'));

  it('declares the workspaces that it imports, and no others', () => {
    expect(declared.sort()).toEqual(importedBy(sourcesOf(workspace)).filter((one) => one !== name));
  });

  it('references the workspaces that it declares, and no others', () => {
    const folders = WORKSPACES.filter((other) => declared.includes(manifestOf(other).name));
    expect(referencesOf(workspace)).toEqual(folders.sort());
  });
});

it('finds imports of values and types and dynamic imports, with and without a subpath', () => {
  const text =
    "import type { A } from '@troupe/a';\nexport { b } from '@troupe/b/node';\nawait import('@troupe/c');\nimport '@troupe/d';";
  expect(importedBy([text])).toEqual(['@troupe/a', '@troupe/b', '@troupe/c', '@troupe/d']);
});

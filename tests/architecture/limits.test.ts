/** All limits on peers are in LIMITS, which is worth something only if the code reads them from there. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { LIMITS } from '@troupe/config';
import { expect, it } from 'vitest';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');

it('reads every limit outside the table', () => {
  const sources = ['libs', 'apps'].flatMap((group) =>
    readdirSync(path.join(root, group), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.includes('/src/') && file.endsWith('.ts') && file !== 'config/src/limits.ts')
      .map((file) => readFileSync(path.join(root, group, file), 'utf8')),
  );
  // A channel reads `limits.frameBytes`: tests give it smaller ones.
  const read = new Set(sources.flatMap((text) => [...text.matchAll(/\b(?:LIMITS|limits)\.(\w+)/g)].map(([, name]) => name)));
  expect(read.size).toBeGreaterThan(30);
  expect(Object.keys(LIMITS).filter((name) => !read.has(name))).toEqual([]);
});

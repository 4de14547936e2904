/** PROTOCOL.md says which version it describes, and what each has added. */
import { readFileSync } from 'node:fs';
import { PROTOCOL_VERSION } from '@troupe/protocol';
import { expect, it } from 'vitest';

const text = readFileSync(new URL('../../PROTOCOL.md', import.meta.url), 'utf8');

it('describes the version of the code', () => {
  expect(/This is protocol version (\d+)/.exec(text)?.[1]).toBe(String(PROTOCOL_VERSION));
});

it('lists every version once, up to that of the code', () => {
  const listed = [
    ...text
      .split('| Version | Added')[1]
      .split('\n\n')[0]
      .matchAll(/^\| (\d+) /gm),
  ].map(([, version]) => Number(version));
  expect(listed).toEqual(Array.from({ length: PROTOCOL_VERSION }, (_, i) => i + 1));
});

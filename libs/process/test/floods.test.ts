import { expect, it } from 'vitest';
import { createFloodLimit } from '../src/floods.js';

it('lets so many of a kind pass in a minute, and tells how many more there were', () => {
  let now = 0;
  const more: string[] = [];
  const limit = createFloodLimit<'a' | 'b'>({
    nowMs: () => now,
    mostOf: (kind) => (kind === 'a' ? 2 : 1),
    onMore: (kind, count) => more.push(`${count} more of ${kind}`),
  });
  const passed = () => [limit.passes('a'), limit.passes('a'), limit.passes('a'), limit.passes('a'), limit.passes('b')];
  expect(passed()).toEqual([true, true, false, false, true]);
  now = 59_999;
  limit.renew();
  expect([limit.passes('b'), more.length]).toEqual([false, 0]);
  now = 60_000;
  expect(passed()).toEqual([true, true, false, false, true]);
  expect(more).toEqual(['2 more of a', '1 more of b']);
  limit.renew(true);
  expect([more.length, limit.passes('a')]).toEqual([3, true]);
});

import { LIMITS } from '@troupe/protocol';
import { describe, expect, it } from 'vitest';
import { dividePlaces } from '../../src/server/places.js';

describe('the sockets of a process', () => {
  it.each([0, 1, 3, 12])('are promised once, to the server and %i reducers', (reducers) => {
    const { server, reducer } = dividePlaces(reducers, () => 900);
    expect(server + reducers * reducer).toBe(900);
    // Each worker has two links to the server and one to each reducer.
    expect(server).toBeGreaterThanOrEqual(2 * reducer);
    expect(reducer).toBeGreaterThan(0);
  });

  it('are as many as can be of use, if the process may have them', () => {
    const enough = { server: 2 * LIMITS.workers + 2_000, reducer: LIMITS.workers };
    expect(dividePlaces(2, (most) => most)).toEqual(enough);
  });

  it('leave one for each port, however few there are', () => {
    const { server, reducer } = dividePlaces(12, () => 3);
    expect([server, reducer]).toEqual([1, 1]);
  });
});

import { LIMITS } from '@troupe/protocol';
import { describe, expect, it } from 'vitest';
import { capTable, createCaps, type CapTable } from '../../src/server/caps.js';

const TABLE: CapTable = { links: 2, openings: 5, frames: 3, bytes: 100, leases: 2 };
const MINUTE = LIMITS.capWindowMs;
const account = (table = TABLE) => createCaps(table).account('10.0.0.1');

describe('an account', () => {
  it('refuses a link beyond its cap, until another one closes', () => {
    const one = account();
    expect([one.open(0), one.open(0)]).toEqual([undefined, undefined]);
    expect(one.open(0)).toEqual({ kind: 'links', cap: 2 });
    // A minute later they are still open.
    expect(one.open(2 * MINUTE)).toEqual({ kind: 'links', cap: 2 });
    one.close();
    expect(one.open(2 * MINUTE)).toBeUndefined();
  });

  it('may have a cap on links of its own, also without any other', () => {
    expect(account().open(0, 1)).toBeUndefined();
    const one = account(capTable(0));
    expect([one.open(0, 1), one.open(0, 1)]).toEqual([undefined, { kind: 'links', cap: 1 }]);
  });

  it('refuses to open more links in a minute than its cap', () => {
    const one = account();
    for (let i = 0; i < 5; i++) {
      expect(one.open(i)).toBeUndefined();
      one.close();
    }
    expect(one.open(MINUTE - 1)).toEqual({ kind: 'openings', cap: 5 });
    expect(one.open(MINUTE)).toBeUndefined();
  });

  it('refuses frames and bytes beyond its caps for a minute', () => {
    const one = account();
    expect([one.frame(1, 0), one.frame(1, 1), one.frame(1, 2)]).toEqual([undefined, undefined, undefined]);
    expect(one.frame(1, 3)).toEqual({ kind: 'frames', cap: 3 });
    expect(one.frame(100, MINUTE)).toBeUndefined();
    expect(one.frame(1, MINUTE)).toEqual({ kind: 'bytes', cap: 100 });
    expect(one.frame(1, 2 * MINUTE)).toBeUndefined();
  });

  it('refuses leases beyond its cap for a minute', () => {
    const one = account();
    expect([one.lease(0), one.lease(0), one.lease(0)]).toEqual([undefined, undefined, { kind: 'leases', cap: 2 }]);
    expect(one.lease(MINUTE)).toBeUndefined();
  });

  it('is apart from the others', () => {
    const caps = createCaps(TABLE);
    caps.account('a').open(0, 1);
    expect(caps.account('a').open(0, 1)).toMatchObject({ kind: 'links' });
    expect(caps.account('b').open(0, 1)).toBeUndefined();
  });

  it('is forgotten when there are too many, unless it has a link', () => {
    const caps = createCaps(TABLE, 10);
    caps.account('linked').open(0);
    caps.account('linked').open(0);
    const idle = caps.account('idle');
    for (let i = 0; i < 100; i++) caps.account(`address ${i}`);
    expect(caps.account('linked').open(0)).toMatchObject({ kind: 'links' });
    expect(caps.account('idle')).not.toBe(idle);
  });
});

describe('the caps', () => {
  it('are those of LIMITS, times a scale', () => {
    expect(capTable(1).links).toBe(LIMITS.cappedLinks);
    expect(capTable(2.5).openings).toBe(LIMITS.cappedOpenings * 2.5);
    expect(Object.values(capTable(0))).toEqual(Array(5).fill(Infinity));
    // However small the scale, somebody can join.
    expect(capTable(1e-12)).toEqual({ links: 1, openings: 1, frames: 1, bytes: 1, leases: 1 });
  });

  it('leave room for others, and for a lab of 2,000 workers behind one address', () => {
    expect(LIMITS.cappedLinks).toBeGreaterThanOrEqual(2 * 2_000);
    expect(LIMITS.cappedLinks).toBeLessThan((2 * LIMITS.workers) / 4);
  });
});

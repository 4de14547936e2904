import { describe, expect, it } from 'vitest';
import { HOME_LINKS, readPlan, simulateLinks, type LinkPlan } from './links.js';

/** As HOME_LINKS, with a model and links that are as much smaller as one another. */
const SMALL: LinkPlan = {
  ...HOME_LINKS,
  ...{ workers: 4, layers: 1, hidden: 32, streams: 2, warmup: 25 },
  ...{ upMbit: 0.09, downMbit: 0.45, hubMbit: 4.5 },
};

describe('workers on thin links', () => {
  it('are busy for a small part of an exact round, and for most of a local one', async () => {
    const exact = await simulateLinks(SMALL);
    const local = await simulateLinks({ ...SMALL, localSteps: 32, codec: 'int8-both' });
    expect(exact.utilisation).toBeGreaterThan(0.09);
    expect(exact.utilisation).toBeLessThan(0.15);
    // What the coordinator said in the exact run comes true.
    expect(exact.advice).toMatchObject({ workers: 4, localSteps: 32, tracks: 4 });
    expect(exact.advice!.utilisation).toBeCloseTo(exact.utilisation, 1);
    expect(Math.abs(exact.advice!.localUtilisation - local.utilisation)).toBeLessThan(0.03);
    expect(local.advice).toBeUndefined();
    expect(local.utilisation).toBeGreaterThan(0.85);
    // Half of the bytes, for 32 times as many characters.
    expect(local.characters).toBe(32 * exact.characters);
    expect(local.sentBytes / exact.sentBytes).toBeCloseTo(0.5, 1);
  });

  it('are busier with two tracks, as one is sent while the next is computed', async () => {
    const plan: LinkPlan = { ...SMALL, localSteps: 16, codec: 'int8-both' };
    const [one, two] = [await simulateLinks(plan), await simulateLinks({ ...plan, tracks: 2 })];
    expect(two.utilisation).toBeGreaterThan(one.utilisation + 0.03);
    expect(two.sentBytes / one.sentBytes).toBeCloseTo(2, 1);
  });

  it('take the same time in every simulation', async () => {
    const plan: LinkPlan = { ...SMALL, workers: 2, warmup: 2 };
    expect(await simulateLinks(plan)).toEqual(await simulateLinks(plan));
  });
});

describe('a plan', () => {
  it('is read from text', () => expect(readPlan('upMbit=10,codec=int8')).toEqual({ upMbit: 10, codec: 'int8' }));

  it.each(['up=10', 'upMbit=fast', 'upMbit=', 'hidden=0'])('of "%s" is refused', (text) => {
    expect(() => readPlan(text)).toThrow(/is no part|must be a number/);
  });
});

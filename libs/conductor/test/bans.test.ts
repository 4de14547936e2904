import type { Ban } from '@troupe/run';
import { describe, expect, it } from 'vitest';
import { createBanList } from '../src/bans.js';

const ordered = { by: 'admin', refused: true, held: false, reason: 'shut out' } as const;
const found = { by: 'audit', refused: true, held: true, reason: 'its gradient differs' } as const;
const worker = (remote: string, name: string) => ({ remote, name });

describe('a list of bans', () => {
  it('refuses a name at its address, from any port, and nobody else', () => {
    const bans = createBanList({ now: () => 7 });
    expect(bans.add({ ...worker('10.0.0.1:1', 'Eve'), tokenId: 't1' }, ordered)).toEqual({
      ...{ id: 'b1', at: 7, address: '10.0.0.1', name: 'Eve', tokenId: 't1' },
      ...ordered,
    });
    const refused = [worker('10.0.0.1:2', 'Eve'), worker('10.0.0.1:1', 'Bob'), worker('10.0.0.2:1', 'Eve')];
    expect(refused.map((one) => bans.isRefused(one))).toEqual([true, false, false]);
    expect(bans.isHeld({ remote: '10.0.0.1:1' })).toBe(false);
  });

  it('holds the address of a liar, also if others there have its name', () => {
    const bans = createBanList({ now: () => 0 });
    bans.add(worker('10.0.0.1:1', 'Eve'), { ...found, refused: false });
    expect([bans.isHeld({ remote: '10.0.0.1:9' }), bans.isHeld({ remote: '10.0.0.2:9' })]).toEqual([true, false]);
    expect(bans.isRefused(worker('10.0.0.1:1', 'Eve'))).toBe(false);
  });

  it('knows a machine by any of its addresses, also after it was stored', () => {
    const before = createBanList({ now: () => 0 });
    const { address } = before.add(worker('[2001:db8:1:2::1]:4000', 'Eve'), found);
    before.add(worker('[::ffff:10.0.0.1]:4000', 'Eve'), found);
    before.add(worker('[::1]:4000', 'Eve'), found);
    expect(address).toBe('[2001:db8:1:2::1]');
    for (const bans of [before, createBanList({ now: () => 0, bans: before.list() })]) {
      const same = ['[2001:db8:1:2:3:4:5:6]:7', '10.0.0.1:5', '[::1]:6', '[::1]:4000'];
      const others = ['[2001:db8:1:3::1]:4000', '10.0.0.2:5', '127.0.0.1:6'];
      const isHeld = (remote: string): boolean => bans.isHeld({ remote }) && bans.isRefused(worker(remote, 'Eve'));
      expect([same.map(isHeld), others.map(isHeld)]).toEqual([same.map(() => true), others.map(() => false)]);
    }
    before.lift('b1');
    expect(before.isHeld({ remote: '[2001:db8:1:2::2]:1' })).toBe(false);
  });

  it('keeps what each of two stored bans does to a worker that they have in common', () => {
    const stored = { at: 0, name: 'Eve', reason: 'why' };
    const bans = createBanList({
      now: () => 0,
      bans: [
        { ...stored, ...ordered, id: 'b1', address: '[2001:db8:1:2::1]' },
        { ...stored, ...found, id: 'b2', address: '[2001:db8:1:2::2]', refused: false },
      ],
    });
    expect(bans.list()).toEqual([expect.objectContaining({ id: 'b2', by: 'admin', refused: true, held: true })]);
  });

  it('says the same after it was stored, and goes on with new names for bans', () => {
    const before = createBanList({ now: () => 0 });
    before.add(worker('10.0.0.1:1', 'Eve'), found);
    before.add(worker('10.0.0.2:1', 'Bob'), ordered);
    const stored = JSON.parse(JSON.stringify(before.list())) as Ban[];
    const after = createBanList({ now: () => 0, bans: stored });
    expect(after.list()).toEqual(before.list());
    expect(after.isRefused(worker('10.0.0.1:5', 'Eve')) && after.isHeld({ remote: '10.0.0.1:5' })).toBe(true);
    expect(after.add(worker('10.0.0.3:1', 'Cem'), ordered).id).toBe('b3');
  });

  it('lifts one ban, tells of each change, and knows no other', () => {
    let changes = 0;
    const bans = createBanList({ now: () => 0, onChange: () => changes++ });
    bans.add(worker('10.0.0.1:1', 'Eve'), found);
    const { id } = bans.add(worker('10.0.0.1:1', 'Bob'), ordered);
    expect(bans.lift(id)).toMatchObject({ name: 'Bob' });
    expect([bans.lift(id), bans.lift('b99'), changes]).toEqual([undefined, undefined, 3]);
    expect(bans.isRefused(worker('10.0.0.1:1', 'Bob'))).toBe(false);
    expect(bans.isHeld({ remote: '10.0.0.1:1' })).toBe(true);
    bans.lift('b1');
    expect([bans.isHeld({ remote: '10.0.0.1:1' }), bans.list()]).toEqual([false, []]);
  });

  it('keeps what an earlier ban of the same worker did', () => {
    const bans = createBanList({ now: () => 0 });
    bans.add(worker('10.0.0.1:1', 'Eve'), ordered);
    bans.add(worker('10.0.0.1:1', 'Eve'), { ...found, refused: false });
    expect(bans.list()).toEqual([
      expect.objectContaining({ id: 'b2', by: 'admin', refused: true, held: true, reason: found.reason }),
    ]);
  });

  it('is bounded: an address with many names pushes out its own bans, and none of a person', () => {
    const bans = createBanList({ now: () => 0, most: 4 });
    bans.add(worker('10.0.0.1:1', 'by a person'), ordered);
    bans.add(worker('10.0.0.2:1', 'old liar'), found);
    for (let i = 0; i < 10; i++) bans.add(worker('10.0.0.3:1', `name ${i}`), found);
    expect(bans.list().map(({ name }) => name)).toEqual(['by a person', 'old liar', 'name 8', 'name 9']);
    expect(bans.isHeld({ remote: '10.0.0.3:1' })).toBe(true);
    const full = createBanList({ now: () => 0, most: 1 });
    full.add(worker('10.0.0.1:1', 'first'), ordered);
    full.add(worker('10.0.0.2:1', 'second'), ordered);
    expect(full.list().map(({ name }) => name)).toEqual(['second']);
  });

  it('cuts a reason that a file or a page would not hold', () => {
    const bans = createBanList({ now: () => 0 });
    expect(bans.add(worker('10.0.0.1:1', 'Eve'), { ...ordered, reason: 'x'.repeat(600) }).reason).toHaveLength(500);
  });
});

import { describe, expect, it } from 'vitest';
import type { StoredText } from '../src/page/stored-text.js';
import { takeFromAddress } from '../src/page/token-source.js';

function fakeStorage(stores: boolean, held?: string): StoredText {
  return { read: () => held, write: (text) => ((held = text), stores), forget: () => (held = undefined) };
}

function fakeAddress(fragment: string) {
  const address = { fragment, replaceFragment: (rest: string) => void (address.fragment = rest) };
  return address;
}

describe('the admin token', () => {
  it('moves from the address into storage', () => {
    const [address, stored] = [fakeAddress('#admin=secret&x=1'), fakeStorage(true)];
    expect(takeFromAddress(address, stored)).toBe('secret');
    expect([address.fragment, stored.read()]).toEqual(['#x=1', 'secret']);
    expect(takeFromAddress(address, stored)).toBe('secret');
  });

  it('stays in the address where storage is blocked, so that a reload keeps it', () => {
    const address = fakeAddress('#admin=secret');
    expect(takeFromAddress(address, fakeStorage(false))).toBe('secret');
    expect(address.fragment).toBe('#admin=secret');
    expect(takeFromAddress(address, fakeStorage(false))).toBe('secret');
  });
});

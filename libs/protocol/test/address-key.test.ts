import { describe, expect, it } from 'vitest';
import { addressKey, machineKey, remoteKey } from '../src/address-key.js';

describe('an address counts', () => {
  it.each([
    ['10.0.0.1', '10.0.0.1'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['2001:0DB8:0000:0000:ffff::1', '2001:db8:0:0::/64'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0:0:0:0:1'],
    ['FE80::1:0:0:2', 'fe80:0:0:0:1:0:0:2'],
    ['febf::3', 'febf:0:0:0:0:0:0:3'],
    ['fec0::3', 'fec0:0:0:0::/64'],
    ['::2', '0:0:0:0::/64'],
    ['?', '?'],
  ])('%s as %s', (address, key) => {
    for (const reported of [false, true]) expect(addressKey(address, reported)).toBe(key);
  });

  it.each(['127.0.0.1', '127.3.2.1', '::1', '::ffff:127.0.0.1'])('not if it is of this machine: %s', (address) => {
    expect(addressKey(address, false)).toBeUndefined();
    // A client may have made that up.
    expect(addressKey(address, true)).toBeDefined();
  });
});

it('of a link counts without its port and brackets', () => {
  expect(['10.0.0.1:4242', '10.0.0.1', '[2001:db8::1]:4242', '127.0.0.1:80', '[::1]:80', '127.0.0.1'].map(remoteKey)).toEqual([
    ...['10.0.0.1', '10.0.0.1', '2001:db8:0:0::/64', undefined, undefined],
    // A proxy says so.
    '127.0.0.1',
  ]);
});

it('of a machine is the same with any port and without one, also of this machine', () => {
  const keys: Record<string, string> = {
    '10.0.0.1': '10.0.0.1',
    '[::ffff:10.0.0.1]': '10.0.0.1',
    '[2001:db8:1:2::9]': '2001:db8:1:2::/64',
    '127.0.0.1': '127.0.0.1',
    '127.0.0.2': '127.0.0.2',
    '[::ffff:127.0.0.1]': '127.0.0.1',
    '[::1]': '0:0:0:0::/64',
  };
  for (const [host, key] of Object.entries(keys))
    expect([host, `${host}:1`, `${host}:4242`].map(machineKey)).toEqual([key, key, key]);
});

/** The links that a run prints. */
import { describe, expect, it } from 'vitest';
import type { MountAddresses, MountPoint } from '../../src/server/server.js';
import { createRunLinks } from '../../src/web/paths.js';

function printed(here: string, outside: string) {
  const addresses = (): MountAddresses => ({ address: outside.replace('http', 'ws'), localAddress: undefined, here, outside });
  const mount = { prefix: '', addresses } as unknown as MountPoint;
  return createRunLinks(mount, { token: 't', volunteerToken: 'v', adminToken: 'a' }).printed();
}

describe('the links of a run', () => {
  it('hold an address that other machines reach, if there is one', () => {
    const links = printed('http://127.0.0.1:7070', 'http://192.168.1.20:7070');
    expect(links.dashboard).toBe('http://192.168.1.20:7070/#admin=a');
    expect(links.volunteer).toBe('http://192.168.1.20:7070/join/#token=v');
    expect(links.isLoopback).toBe(false);
  });

  it('say so if only this machine can follow them', () => {
    for (const loopback of ['http://127.0.0.1:7070', 'http://localhost:7070', 'http://[::1]:7070'])
      expect(printed(loopback, loopback).isLoopback).toBe(true);
  });

  it('lead to this machine if it is in no network', () => {
    expect(printed('http://127.0.0.1:7070', 'http://THIS-MACHINE:7070').dashboard).toBe('http://127.0.0.1:7070/#admin=a');
  });
});

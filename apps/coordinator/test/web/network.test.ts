import { hmacSha1 } from '@troupe/collective/node';
import { PROTOCOL_VERSION } from '@troupe/protocol';
import { describe, expect, it } from 'vitest';
import { createNetworkView } from '../../src/web/network.js';

const NOW_MS = 1_700_000_000_000;
const ice = { stun: ['stun:relay:3478'], turn: ['turn:relay:3478'], turnSecret: 'of the relay' };
const inside = { address: '/troupe/reduce', serve: async () => undefined };

describe('what a machine is told that looks whether it could join', () => {
  it('has credentials that expire, of a user of their own, and not the secret', () => {
    const view = createNetworkView({ topology: 'auto', ice }, inside, () => NOW_MS)();
    const username = `${NOW_MS / 1000 + 600}:doctor`;
    expect(view).toEqual({
      protocolVersion: PROTOCOL_VERSION,
      topology: 'auto',
      reduceAddress: '/troupe/reduce',
      iceServers: [
        { urls: ['stun:relay:3478'], username: '', credential: '' },
        { urls: ['turn:relay:3478'], username, credential: hmacSha1('of the relay', username) },
      ],
    });
    expect(JSON.stringify(view)).not.toContain('of the relay');
  });

  it('tells a run without such servers from one whose all-reduce service has them', () => {
    const settings = { topology: 'star', ice: undefined } as const;
    expect(createNetworkView(settings, inside, () => NOW_MS)().iceServers).toEqual([]);
    const outside = { address: 'ws://sums:7071', serve: undefined };
    expect(createNetworkView(settings, outside, () => NOW_MS)()).not.toHaveProperty('iceServers');
  });
});

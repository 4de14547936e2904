import { createMemoryPair } from '@troupe/transport/memory';
import { describe, expect, it } from 'vitest';
import { createGate } from '../../src/access/gate.js';
import { createCaps, type CapTable } from '../../src/server/caps.js';
import { createTraffic } from '../../src/server/traffic.js';
import { createRig } from './tokens.js';

const ROOMY: CapTable = { links: 100, openings: 100, frames: 100, bytes: 1e6, leases: 100 };
const PLAIN = 'the secret of the run';
const VOLUNTEERS = 'the secret of volunteers';

function open(table: Partial<CapTable> = {}) {
  const caps = createCaps({ ...ROOMY, ...table });
  const rig = createRig(caps);
  const traffic = createTraffic(caps, () => 0);
  const gate = createGate({ token: PLAIN, volunteerToken: VOLUNTEERS, signed: rig.signed, traffic });
  const enter = (token: string, kind: 'node' | 'browser' = 'node', remote = '10.0.0.1:1') => {
    const [near, far] = createMemoryPair(['server', remote]);
    const link = traffic.meter(near);
    return { ...gate.admit({ token, kind }, link), link, far };
  };
  return { ...rig, enter, gate, traffic };
}
const refusal = (code: string) => expect.objectContaining({ name: 'ProtocolError', code, remedy: expect.stringMatching(/./) });

describe('the gate for workers', () => {
  it.each(['node', 'browser'] as const)('admits the token of the run from %s, as often as it is shown', (kind) => {
    const { enter } = open();
    for (let i = 0; i < 50; i++) expect(enter(PLAIN, kind).ended.aborted).toBe(false);
    for (const wrong of ['', 'guess', `${PLAIN} `]) expect(() => enter(wrong, kind)).toThrow(refusal('wrong_token'));
  });

  it('admits volunteers from their page alone, and does not trust what they compute', () => {
    const { enter, make } = open();
    expect(() => enter(VOLUNTEERS, 'node')).toThrow(refusal('wrong_token'));
    const trusted = [VOLUNTEERS, make('volunteer').token, PLAIN, make('worker').token].map(
      (token) => enter(token, 'browser').trusted,
    );
    expect(trusted).toEqual([false, false, true, true]);
  });

  it('counts links that have not said hello as it counts all others', () => {
    const { gate, traffic } = open();
    const addressOf = (remote: string) => gate.addressOf(traffic.meter(createMemoryPair(['server', remote])[0]));
    expect(addressOf('[2001:db8::1]:1')).toBe(addressOf('[2001:db8::ffff]:2'));
    expect(addressOf('10.0.0.1:1')).not.toBe(addressOf('10.0.0.2:1'));
    expect(addressOf('127.0.0.1:1')).toBe(addressOf('[::1]:2'));
    expect(addressOf('127.0.0.1')).not.toBe(addressOf('127.0.0.1:1'));
  });

  it('admits a scope from where it may join', () => {
    const { enter, make } = open();
    const admitted = (['worker', 'volunteer', 'viewer', 'admin'] as const).map((scope) =>
      (['node', 'browser'] as const).filter((kind) => {
        try {
          return enter(make(scope).token, kind) !== undefined;
        } catch (error) {
          expect(error).toEqual(refusal('wrong_scope'));
          return false;
        }
      }),
    );
    expect(admitted).toEqual([['node', 'browser'], ['browser'], [], ['node', 'browser']]);
  });

  it('says in the words of the protocol what is wrong with a token', () => {
    const { enter, make, revoke, clock } = open();
    const [one, two] = [make('worker'), make('worker', 1)];
    enter(two.token);
    expect(() => enter(two.token)).toThrow(refusal('too_many_links'));
    revoke(one.id);
    expect(() => enter(one.token)).toThrow(refusal('token_revoked'));
    clock.nowMs += 3_600_000;
    expect(() => enter(two.token)).toThrow(refusal('token_expired'));
    expect(() => enter('troupe_v1.AAAA.BBBB')).toThrow(refusal('wrong_token'));
  });

  it('lets another in when one with the same token has left', () => {
    const { enter, make } = open();
    const { token } = make('worker', 1);
    enter(token).release();
    enter(token);
  });

  it('ends a pass when its token is revoked', () => {
    const { enter, make, revoke } = open();
    const { token, id } = make('worker');
    const [pass, plain] = [enter(token), enter(PLAIN)];
    revoke(id);
    expect(pass.ended.reason).toEqual(refusal('token_revoked'));
    expect(plain.ended.aborted).toBe(false);
  });

  it('ends the pass of a link that is given too many leases, by its address or by its token', () => {
    const { enter } = open({ leases: 2 });
    const [one, two] = [enter(PLAIN), enter(PLAIN)];
    one.countLease();
    two.countLease();
    expect(one.ended.aborted).toBe(false);
    one.countLease();
    expect(one.ended.reason).toEqual(refusal('rate_limited'));
    expect(two.ended.aborted).toBe(false);
    // Those of this machine count for no address.
    const local = enter(PLAIN, 'node', '127.0.0.1:1');
    for (let i = 0; i < 10; i++) local.countLease();
    expect(local.ended.aborted).toBe(false);
  });

  it('counts what comes over a link for its token too, also from this machine', async () => {
    const { enter, make } = open({ frames: 1 });
    const { link, far } = enter(make('worker').token, 'node', '127.0.0.1:1');
    far.send(new Uint8Array(1));
    far.send(new Uint8Array(1));
    await link.receive();
    await expect(link.receive()).rejects.toEqual(refusal('rate_limited'));
  });
});

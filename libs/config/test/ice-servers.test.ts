import { describe, expect, it } from 'vitest';
import { readIceServers } from '../src/index.js';

describe('STUN and TURN servers', () => {
  it('are told apart by their addresses', () => {
    const text = 'stun:stun.example:3478, turn:10.0.0.5?transport=tcp,turns:relay.example:443,stun:[2001:db8::1]:3478';
    const [stun, turn] = [
      ['stun:stun.example:3478', 'stun:[2001:db8::1]:3478'],
      ['turn:10.0.0.5?transport=tcp', 'turns:relay.example:443'],
    ];
    expect(readIceServers(text, 'secret')).toEqual({ ok: true, ice: { stun, turn, turnSecret: 'secret' } });
  });

  it('are optional, and STUN servers need no secret', () => {
    expect(readIceServers(undefined, undefined)).toEqual({ ok: true, ice: undefined });
    expect(readIceServers('stun:a', '')).toMatchObject({ ok: true, ice: { turnSecret: undefined } });
  });

  it.each([
    ['', 'one address is empty'],
    ['stun:a,', 'one address is empty'],
    ['http://a', 'http://a is not the address of a STUN or TURN server'],
    ['turn:a:b', 'turn:a:b is not the address'],
    ['stun:a:65536', 'stun:a:65536 is not the address'],
    ['stun:2001:db8::1', 'stun:2001:db8::1 is not the address'],
    ['turn:a?transport=sctp', 'turn:a?transport=sctp is not the address'],
    ['stun:a,stun:b,stun:c,stun:d,stun:e', 'names 5 servers'],
  ])('"%s" are refused', (text, message) => {
    expect(readIceServers(text, 'secret')).toMatchObject({
      ok: false,
      message: expect.stringContaining(message),
      remedy: expect.stringMatching(/\w/),
    });
  });

  it('that relay need their secret', () => {
    expect(readIceServers('turn:a', '')).toMatchObject({ ok: false, remedy: expect.stringContaining('TROUPE_TURN_SECRET') });
  });
});

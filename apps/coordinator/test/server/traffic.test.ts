import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import type { Connection } from '@troupe/transport';
import { createMemoryPair } from '@troupe/transport/memory';
import { describe, expect, it } from 'vitest';
import { createCaps, type CapTable } from '../../src/server/caps.js';
import { createSocketCount, createTraffic } from '../../src/server/traffic.js';

const TABLE: CapTable = { links: 2, openings: 100, frames: 3, bytes: 1_000, leases: 2 };

/** Links from addresses, which one server meters. */
function rig(table: Partial<CapTable> = {}) {
  const traffic = createTraffic(createCaps({ ...TABLE, ...table }), () => 0);
  const connect = (remote: string) => {
    const [near, far] = createMemoryPair(['server', remote]);
    return { link: traffic.meter(near), far };
  };
  return { traffic, connect };
}
const next = (link: Connection): Promise<unknown> =>
  link.receive().then(
    ({ byteLength }) => byteLength,
    (error: Error & { code?: string }) => error.code,
  );

describe('a metered link', () => {
  it('delivers what it receives until it is too much, and then nothing more', async () => {
    const { connect } = rig();
    const { link, far } = connect('10.0.0.1:1');
    for (let i = 0; i < 5; i++) far.send(new Uint8Array(10));
    expect([await next(link), await next(link), await next(link)]).toEqual([10, 10, 10]);
    await expect(link.receive()).rejects.toMatchObject({
      name: 'ProtocolError',
      code: 'rate_limited',
      message: 'this address has sent more than 3 messages within a minute',
      remedy: expect.stringContaining('--cap-scale'),
    });
    expect(await next(link)).toBe('rate_limited');
  });

  it('counts bytes together with the other links of its address', async () => {
    const { connect } = rig();
    const [one, two] = [connect('10.0.0.1:1'), connect('10.0.0.1:2')];
    one.far.send(new Uint8Array(900));
    two.far.send(new Uint8Array(200));
    expect([await next(one.link), await next(two.link)]).toEqual([900, 'rate_limited']);
    const other = connect('10.0.0.2:1');
    other.far.send(new Uint8Array(200));
    expect(await next(other.link)).toBe(200);
  });

  it('beyond the links that its address may have receives nothing, until one of them closes', async () => {
    const { connect } = rig();
    const [one] = [connect('[2001:db8::1]:1'), connect('[2001:db8::2]:1')];
    const third = connect('[2001:db8::3]:1');
    third.far.send(new Uint8Array(1));
    expect(await next(third.link)).toBe('too_many_links');
    one.far.close('bye');
    await one.link.closed;
    const fourth = connect('[2001:db8::4]');
    fourth.far.send(new Uint8Array(1));
    expect(await next(fourth.link)).toBe(1);
    // Its end does not count twice.
    third.far.close('bye');
    await third.link.closed;
    const fifth = connect('[2001:db8::5]:1');
    expect(await next(fifth.link)).toBe('too_many_links');
  });

  it('of this machine is not counted', async () => {
    const { connect } = rig({ links: 1, frames: 1 });
    for (const remote of ['127.0.0.1:1', '127.0.0.1:2', '[::1]:3', '[::ffff:127.0.0.1]:4']) {
      const { link, far } = connect(remote);
      for (let i = 0; i < 5; i++) far.send(new Uint8Array(1));
      for (let i = 0; i < 5; i++) expect(await next(link)).toBe(1);
    }
  });

  it.each(['127.0.0.1', '[::1]', '[::ffff:127.0.0.1]'])(
    'that is of this machine only as a proxy reports it is counted: %s',
    async (remote) => {
      const { connect } = rig({ links: 1 });
      connect(remote);
      const { link, far } = connect(remote);
      far.send(new Uint8Array(1));
      expect(await next(link)).toBe('too_many_links');
    },
  );

  it('also counts for a token from the moment on at which that is known', async () => {
    const { traffic, connect } = rig({ frames: 2 });
    const { link, far } = connect('127.0.0.1:1');
    for (let i = 0; i < 5; i++) far.send(new Uint8Array(1));
    expect([await next(link), await next(link)]).toEqual([1, 1]);
    traffic.charges(link).push({ account: traffic.caps.account('token'), whose: 'this token' });
    expect([await next(link), await next(link)]).toEqual([1, 1]);
    await expect(link.receive()).rejects.toThrow('this token has sent more than 2 messages within a minute');
  });

  it('sends, drains and closes as the link itself does', async () => {
    const { connect } = rig();
    const { link, far } = connect('10.0.0.1:1');
    link.send(new Uint8Array(7));
    await link.drained(0);
    expect((await far.receive()).byteLength).toBe(7);
    expect([link.remote, link.bufferedBytes]).toEqual(['10.0.0.1:1', 0]);
    link.close('enough');
    expect(await far.closed).toMatchObject({ reason: 'enough' });
  });
});

describe('a socket', () => {
  const socket = (remoteAddress: string | undefined) => Object.assign(new EventEmitter(), { remoteAddress }) as unknown as Socket;

  it('counts for its address until it closes, whatever it is used for', () => {
    const accepts = createSocketCount(createCaps(TABLE), () => 0);
    const [one, two] = [socket('10.0.0.1'), socket('::ffff:10.0.0.1')];
    expect([one, two, socket('10.0.0.1')].map(accepts)).toEqual([true, true, false]);
    expect(accepts(socket('10.0.0.2'))).toBe(true);
    one.emit('close');
    expect([socket('10.0.0.1'), socket('10.0.0.1')].map(accepts)).toEqual([true, false]);
  });

  it('of this machine is not counted', () => {
    const accepts = createSocketCount(createCaps(TABLE), () => 0);
    for (const address of ['127.0.0.1', '127.0.0.1', '127.0.0.1', '::1', '::1', '::1'])
      expect(accepts(socket(address))).toBe(true);
  });
});

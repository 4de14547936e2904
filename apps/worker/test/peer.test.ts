import { createServer, type AddressInfo } from 'node:net';
import { createChannel, LIMITS, PROTOCOL_VERSION } from '@troupe/protocol';
import { connectWebSocket } from '@troupe/transport/websocket';
import { afterEach, describe, expect, it } from 'vitest';
import { openPeer, type Listen } from '../src/peer.js';

let stop = new AbortController();
afterEach(() => stop.abort(new Error('the test is over')));

function listen(options: Partial<Listen>) {
  stop = new AbortController();
  const where = { host: '127.0.0.1', port: 0, tls: undefined, ...options };
  return openPeer({ listen: where, log: () => undefined, signal: stop.signal });
}

describe('a worker that listens', () => {
  it.each([
    ['127.0.0.1', /^ws:\/\/127\.0\.0\.1:\d+$/],
    ['0.0.0.0', /^:\d+$/],
    ['203.0.113.7', /^ws:\/\/203\.0\.113\.7:\d+$/],
    [undefined, /^:\d+$/],
  ])('at %s is announced as %s', async (host, address) => {
    const { addresses } = await listen({ host });
    expect(addresses).toEqual([expect.stringMatching(address)]);
  });

  it('at an address of another machine is reached at its own', async () => {
    const {
      addresses: [address],
    } = await listen({ host: '203.0.113.7' });
    const link = await connectWebSocket(address.replace('203.0.113.7', '127.0.0.1'));
    link.close('done');
  });

  it('says which flag to change when its port is taken', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as AddressInfo;
    await expect(listen({ port })).rejects.toMatchObject({ code: 'port_in_use', remedy: expect.stringContaining('--listen') });
    other.close();
  });

  it.each(['/nowhere/cert.pem', import.meta.filename])('says which flags to check when %s is no certificate', async (file) => {
    const wrong = listen({ tls: { cert: file, key: file } });
    await expect(wrong).rejects.toMatchObject({ code: 'invalid_address', remedy: expect.stringContaining('--tls-cert') });
  });

  it('lets in nobody whom no service has introduced, and stops with its worker', async () => {
    const {
      addresses: [address],
    } = await listen({});
    const stranger = createChannel(await connectWebSocket(address), { accepts: ['refuse', 'joined'], bodyBytes: () => 0 });
    stranger.send({ type: 'join', versions: [PROTOCOL_VERSION], runId: 'r', workerId: 'w', ticket: 't' });
    expect((await stranger.receive()).message).toMatchObject({ type: 'refuse', code: 'run_over' });
    stop.abort(new Error('stopped'));
    await expect
      .poll(() =>
        connectWebSocket(address).then(
          () => 'open',
          ({ code }: { code: string }) => code,
        ),
      )
      .toBe('unreachable');
  });

  it('closes the oldest link of a stranger for one more', async () => {
    const {
      addresses: [address],
    } = await listen({});
    const open = async () => createChannel(await connectWebSocket(address), { accepts: ['refuse'], bodyBytes: () => 0 });
    const oldest = await open();
    const strangers = await Promise.all(Array.from({ length: LIMITS.unauthenticatedLinks }, open));
    expect((await oldest.receive()).message).toMatchObject({ code: 'run_full' });
    const next = await open();
    next.send({ type: 'join', versions: [PROTOCOL_VERSION], runId: 'r', workerId: 'w', ticket: 't' });
    expect((await next.receive()).message).toMatchObject({ code: 'run_over' });
    for (const stranger of strangers) stranger.close('done');
  });
});

/** The steps before a WebSocket, one by one. */
import { createServer, type AddressInfo, type Server } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { lookUpHost, measureConnection, type ReachOptions } from '../src/websocket/index.js';

const servers: Server[] = [];
afterEach(() => servers.splice(0).forEach((server) => server.close()));

async function listen(): Promise<number> {
  const server = createServer((socket) => socket.on('error', () => {}));
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

const options = (change: Partial<ReachOptions> = {}): ReachOptions => ({
  env: {},
  signal: new AbortController().signal,
  timeoutMs: 2_000,
  nowMs: () => performance.now(),
  ...change,
});

describe('a host', () => {
  it('is looked up, unless it is an address or a proxy does that', async () => {
    expect(await lookUpHost(new URL('ws://localhost:1'), options())).toMatchObject({
      addresses: expect.arrayContaining([expect.any(String)]),
    });
    expect(await lookUpHost(new URL('ws://[::1]:1'), options())).toBeUndefined();
    expect(await lookUpHost(new URL('ws://lab.invalid'), options({ env: { HTTP_PROXY: 'http://squid:3128' } }))).toBeUndefined();
    await expect(lookUpHost(new URL('ws://lab.invalid'), options())).rejects.toMatchObject({
      code: 'unreachable',
      message: 'the host name lab.invalid cannot be resolved',
    });
  });
});

describe('a connection', () => {
  it('is measured', async () => {
    const { tcpMs, ...rest } = await measureConnection(new URL(`ws://127.0.0.1:${await listen()}`), options());
    expect(tcpMs).toBeGreaterThan(0);
    expect(rest).toEqual({});
  });

  it('goes to the proxy that the environment names, which a failure names too', async () => {
    const env = { HTTP_PROXY: `http://127.0.0.1:${await listen()}` };
    const reached = await measureConnection(new URL('ws://lab.invalid:7070'), options({ env }));
    expect(reached.proxy).toMatch(/^the proxy 127\.0\.0\.1:\d+ \(of HTTP_PROXY\)$/);
    servers.splice(0).forEach((server) => server.close());
    await expect(measureConnection(new URL('ws://lab.invalid:7070'), options({ env }))).rejects.toMatchObject({
      message: expect.stringMatching(/through the proxy .*ECONNREFUSED/),
      remedy: expect.stringContaining('NO_PROXY'),
    });
  });

  it('fails after some time when a server does not speak TLS, and at once when the caller gives up', async () => {
    const url = new URL(`wss://127.0.0.1:${await listen()}`);
    await expect(measureConnection(url, options({ timeoutMs: 100 }))).rejects.toMatchObject({
      code: 'timeout',
      message: expect.stringContaining('did not answer within 0.1 s'),
    });
    const stop = new AbortController();
    const measured = measureConnection(url, options({ signal: stop.signal }));
    stop.abort(new Error('enough'));
    await expect(measured).rejects.toThrow('enough');
  });
});

import { spawnSync } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { createServer as createHttpServer, type IncomingMessage, type Server as HttpServer } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { connect as connectTcp, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { DEFAULT_FRAME_BYTES, TransportError, type Connection, type Listener } from '../src/index.js';
import { attachWebSocket, connectWebSocket, listenHttp, listenWebSocket, type WebSocketOptions } from '../src/websocket/index.js';
import { createConnection } from '../src/websocket/connection.js';
import { describeTransport } from './conformance.js';

/** A TCP relay in front of `port`, whose links can be cut or made to hang. */
async function createRelay(port: number) {
  const sockets: Socket[] = [];
  const server = createTcpServer((inner) => {
    const outer = connectTcp(port, '127.0.0.1');
    for (const socket of [inner, outer]) {
      sockets.push(socket);
      socket.on('error', () => socket.destroy());
    }
    inner.pipe(outer).pipe(inner);
  });
  await listenTcp(server);
  return {
    url: `ws://127.0.0.1:${portOf(server)}`,
    cut: () => sockets.forEach((socket) => socket.destroy()),
    hang: () => sockets.forEach((socket) => socket.unpipe().pause()),
    close: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}

const listenTcp = (server: Server) => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
const portOf = (server: Server) => (server.address() as { port: number }).port;

async function openLink(options: WebSocketOptions = {}) {
  const listener = await listenWebSocket({ host: '127.0.0.1', port: 0, ...options });
  const relay = await createRelay(Number(new URL(listener.address).port));
  const near = await connectWebSocket(relay.url, options);
  const far = await listener.accept();
  const dispose = async () => {
    near.close('test over');
    far.close('test over');
    await listener.close('test over');
    await near.closed;
    relay.cut();
    await relay.close();
  };
  return { near, far, relay, dispose, frameBytes: options.frameBytes ?? DEFAULT_FRAME_BYTES, breakLink: () => relay.cut() };
}

describeTransport('websocket', () => openLink());

const disposals: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const dispose of disposals.splice(0)) await dispose();
});

async function openFor(options: WebSocketOptions = {}) {
  const link = await openLink(options);
  disposals.push(link.dispose);
  return link;
}

const listen = async () => {
  const listener = await listenWebSocket({ host: '127.0.0.1', port: 0 });
  disposals.push(() => listener.close('test over'));
  return listener;
};

describe('heartbeat and flow', () => {
  it('detects a silent link, from both sides', async () => {
    const { near, far, relay } = await openFor({ heartbeatMs: 20, heartbeatTimeoutMs: 60 });
    relay.hang();
    expect(await near.closed).toMatchObject({ kind: 'lost', reason: expect.stringContaining('no sign of life') });
    expect(await far.closed).toMatchObject({ kind: 'lost' });
  });

  it('leaves a quiet but healthy link open', async () => {
    const { near, far } = await openFor({ heartbeatMs: 10, heartbeatTimeoutMs: 500 });
    await new Promise((resolve) => setTimeout(resolve, 100));
    near.send(Uint8Array.of(1));
    expect(await far.receive()).toEqual(Uint8Array.of(1));
  });

  it('stops reading when its reader is too slow, and resumes when it catches up', async () => {
    const { near, far } = await openFor({ unreadBytes: 1 << 20, heartbeatMs: 500, heartbeatTimeoutMs: 1_000 });
    // ws ends a link after 64 pings whose pongs wait in its queue, so a busy machine needs rare pings.
    // 192 MiB, more than the kernel buffers: on two hops they may grow to 2 x (32 + 4) MiB and more.
    const frames = 768;
    for (let i = 0; i < frames; i++) near.send(new Uint8Array(DEFAULT_FRAME_BYTES).fill(i));
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    expect(near.bufferedBytes).toBeGreaterThan(0);
    for (let i = 0; i < frames; i++) {
      if ((await far.receive())[0] !== i % 256) expect.fail(`frame ${i} is out of order`);
    }
    await near.drained(0);
  });

  it('is drained when the sign of life behind the last frame has left', async () => {
    const sent: (() => void)[] = [];
    const socket = Object.assign(new EventEmitter(), {
      OPEN: 1,
      readyState: 1,
      isPaused: false,
      bufferedAmount: 0,
      ping: () => undefined,
      send(_data: unknown, ...rest: unknown[]) {
        socket.bufferedAmount++;
        sent.push(rest.at(-1) as () => void);
      },
    });
    const link = createConnection(socket as unknown as WebSocket, 'fake', { heartbeatMs: 1 });
    link.send(new Uint8Array(1));
    const drained = link.drained(0);
    await expect.poll(() => sent.length).toBeGreaterThan(1);
    for (const done of sent) {
      socket.bufferedAmount--;
      done();
    }
    await drained;
    socket.emit('close', 1000, Buffer.alloc(0));
  });

  it('terminates a closed link whose peer has stopped', async () => {
    const { near, relay } = await openFor({ closeTimeoutMs: 30 });
    relay.hang();
    near.close('leaving');
    expect(await near.closed).toEqual({ kind: 'clean', reason: 'leaving' });
  });

  it('cuts a close reason to what a close frame holds, between characters', async () => {
    const { near, far } = await openFor();
    near.close('ü'.repeat(100));
    expect(await far.closed).toEqual({ kind: 'clean', reason: 'ü'.repeat(61) });
  });

  it('leaves no timer or socket behind after close', async () => {
    const count = () => process.getActiveResourcesInfo().filter((name) => /Timeout|TCP/.test(name)).length;
    const before = count();
    const { dispose } = await openLink({ heartbeatMs: 10 });
    await dispose();
    await expect.poll(count).toBeLessThanOrEqual(before);
  });
});

describe('hostile peers', () => {
  async function rawPeer(listener: Listener): Promise<[WebSocket, Connection]> {
    const socket = new WebSocket(listener.address);
    socket.on('error', () => {});
    return [socket, await listener.accept()];
  }

  it('disconnects a peer that sends a frame over the limit', async () => {
    const [socket, connection] = await rawPeer(await listen());
    socket.once('open', () => socket.send(new Uint8Array(DEFAULT_FRAME_BYTES + 1)));
    expect(await connection.closed).toMatchObject({ kind: 'lost' });
    await expect(connection.receive()).rejects.toMatchObject({ code: 'lost' });
  });

  it('disconnects a peer that sends text', async () => {
    const [socket, connection] = await rawPeer(await listen());
    socket.once('open', () => socket.send('hello'));
    expect(await connection.closed).toMatchObject({ kind: 'lost', reason: expect.stringContaining('binary') });
  });

  it('accepts further peers after one broke the WebSocket rules', async () => {
    const listener = await listen();
    const [socket, connection] = await rawPeer(listener);
    socket.once('open', () => (socket as unknown as { _socket: Socket })._socket.write(Buffer.from([0xff, 0xff, 0xff, 0xff])));
    expect(await connection.closed).toMatchObject({ kind: 'lost' });
    const next = await connectWebSocket(listener.address);
    next.close('fine');
    expect(await (await listener.accept()).closed).toEqual({ kind: 'clean', reason: 'fine' });
  });
});

describe('connecting', () => {
  it('reports that nothing listens there', async () => {
    const free = createTcpServer();
    await listenTcp(free);
    const url = `ws://127.0.0.1:${portOf(free)}`;
    await new Promise((resolve) => free.close(resolve));
    await expect(connectWebSocket(url)).rejects.toMatchObject({
      code: 'unreachable',
      remedy: expect.stringContaining('Is the coordinator running at 127.0.0.1:'),
    });
  });

  it.each(['localhost:7070', 'http://localhost', 'ws://', '', 'ws://a#b'])('rejects the address "%s"', async (url) => {
    await expect(connectWebSocket(url)).rejects.toMatchObject({
      code: 'invalid_address',
      remedy: expect.stringContaining('ws://'),
    });
  });

  it('reports an unknown host name', async () => {
    await expect(connectWebSocket('ws://no-such-host.invalid:1')).rejects.toMatchObject({ code: 'unreachable' });
  });

  it('gives up at the deadline without an answer', async () => {
    const mute = createTcpServer((socket) => socket.on('error', () => {}).resume());
    await listenTcp(mute);
    disposals.push(() => new Promise((resolve) => mute.close(resolve)));
    const connecting = connectWebSocket(`ws://127.0.0.1:${portOf(mute)}`, { connectTimeoutMs: 50 });
    await expect(connecting).rejects.toMatchObject({ code: 'timeout' });
  });

  it('stops when the signal aborts, before and while connecting', async () => {
    const mute = createTcpServer((socket) => socket.on('error', () => {}).resume());
    await listenTcp(mute);
    disposals.push(() => new Promise((resolve) => mute.close(resolve)));
    const controller = new AbortController();
    const connecting = connectWebSocket(`ws://127.0.0.1:${portOf(mute)}`, { signal: controller.signal });
    controller.abort();
    await expect(connecting).rejects.toMatchObject({ code: 'aborted' });
    await expect(connectWebSocket('ws://127.0.0.1:1', { signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' });
  });

  it('distinguishes a web server and another protocol from a coordinator', async () => {
    const web = createHttpServer((_request, response) => response.end('hello'));
    const address = await listenHttp(web, '127.0.0.1', 0);
    const foreign = createTcpServer((socket) =>
      socket
        .on('error', () => {})
        .resume()
        .end('SSH-2.0-OpenSSH\r\n'),
    );
    await listenTcp(foreign);
    disposals.push(async () => {
      web.closeAllConnections();
      await new Promise((resolve) => web.close(resolve));
    });
    disposals.push(() => new Promise((resolve) => foreign.close(resolve)));
    await expect(connectWebSocket(`ws://${address}`)).rejects.toMatchObject({ code: 'refused' });
    await expect(connectWebSocket(`ws://127.0.0.1:${portOf(foreign)}`)).rejects.toMatchObject({ code: 'refused' });
    await expect(connectWebSocket(`wss://${address}`)).rejects.toMatchObject({
      code: 'refused',
      message: expect.stringContaining('secure'),
    });
  });
});

describe('listening', () => {
  it('reports that a port is in use, and how to use another', async () => {
    const { address } = await listen();
    const again = listenWebSocket({ host: '127.0.0.1', port: Number(new URL(address).port) });
    await expect(again).rejects.toMatchObject({ code: 'port_in_use', remedy: expect.stringContaining('--port') });
  });

  it('listens at an IPv6 address in brackets, as links have it', async () => {
    const listener = await listenWebSocket({ host: '[::1]', port: 0 });
    expect(listener.address).toMatch(/^ws:\/\/\[::1\]:\d+$/);
    await listener.close('the test ends');
  });

  it('rejects a host that is not this machine, and an invalid port', async () => {
    await expect(listenWebSocket({ host: '203.0.113.1', port: 0 })).rejects.toMatchObject({ code: 'invalid_address' });
    await expect(listenWebSocket({ host: '127.0.0.1', port: 70_000 })).rejects.toMatchObject({ code: 'invalid_address' });
  });

  it('closing rejects a waiting accept and closes every connection', async () => {
    const listener = await listen();
    const near = await connectWebSocket(listener.address);
    await listener.accept();
    const waiting = expect(listener.accept()).rejects.toMatchObject({ code: 'closed' });
    await listener.close('shutting down');
    await waiting;
    expect(await near.closed).toEqual({ kind: 'clean', reason: 'shutting down' });
    await expect(connectWebSocket(listener.address)).rejects.toMatchObject({ code: 'unreachable' });
  });

  it('serves pages and several paths on one port, each with its listener, and answers 404 elsewhere', async () => {
    const server: HttpServer = createHttpServer((_request, response) => response.end('a page'));
    const control = attachWebSocket(server, '/control');
    const reduce = attachWebSocket(server, '/reduce');
    expect(() => attachWebSocket(server, '/reduce')).toThrow(expect.objectContaining({ code: 'port_in_use' }));
    expect(control.address).toBe('/control');
    const address = await listenHttp(server, '127.0.0.1', 0);
    expect(reduce.address).toBe(`ws://${address}/reduce`);

    expect(await (await fetch(`http://${address}/`)).text()).toBe('a page');
    const toReduce = await connectWebSocket(`${reduce.address}?from=test`);
    const toControl = await connectWebSocket(control.address);
    (await reduce.accept()).send(Uint8Array.of(2));
    (await control.accept()).send(Uint8Array.of(1));
    expect([await toControl.receive(), await toReduce.receive()]).toEqual([Uint8Array.of(1), Uint8Array.of(2)]);
    await expect(connectWebSocket(`ws://${address}/elsewhere`)).rejects.toMatchObject({
      code: 'refused',
      message: expect.stringContaining('elsewhere'),
    });

    await reduce.close('done');
    await expect(connectWebSocket(`ws://${address}/reduce`)).rejects.toMatchObject({ code: 'refused' });
    toControl.send(Uint8Array.of(3));
    await control.close('done');
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });

  it('names a client by the address that a proxy reports, with no doubt about where the port begins', async () => {
    const server: HttpServer = createHttpServer();
    const told = (request: IncomingMessage) => request.headers['x-client'] as string | undefined;
    const listener = attachWebSocket(server, '/', { clientAddress: told });
    const address = await listenHttp(server, '127.0.0.1', 0);
    const remotes: string[] = [];
    for (const client of ['203.0.113.7', '2001:db8::7', undefined]) {
      const socket = new WebSocket(`ws://${address}`, { headers: client === undefined ? {} : { 'x-client': client } });
      disposals.push(async () => socket.terminate());
      remotes.push((await listener.accept()).remote);
    }
    expect(remotes).toEqual(['203.0.113.7', '[2001:db8::7]', expect.stringMatching(/^127\.0\.0\.1:\d+$/)]);
    await listener.close('done');
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
});

/** Self-signed, for lab.example; undefined without openssl. */
function makeCertificate(): { readonly cert: string; readonly key: string } | undefined {
  const what = ['req', '-x509', '-nodes', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-days', '2'];
  const made = spawnSync('openssl', [...what, '-subj', '/CN=lab', '-addext', 'subjectAltName=DNS:lab.example', '-keyout', '-'], {
    encoding: 'utf8',
  });
  if (made.status !== 0) return undefined;
  const part = (name: string) => new RegExp(`-----BEGIN ${name}-----[^]*?-----END ${name}-----`).exec(made.stdout)![0];
  return { cert: part('CERTIFICATE'), key: part('PRIVATE KEY') };
}

const pair = makeCertificate();
if (!pair) it.skip('secure links: SKIPPED, there is no openssl to make a certificate: apt install openssl', () => undefined);

describe.skipIf(!pair)('secure links', () => {
  const secure = async () => {
    const server = createHttpsServer(pair!);
    const listener = attachWebSocket(server, '/');
    await listenHttp(server, '127.0.0.1', 0);
    disposals.push(async () => {
      await listener.close('test over');
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    });
    return listener.address;
  };

  it('show in the address', async () => {
    expect(await secure()).toMatch(/^wss:\/\/127\.0\.0\.1:\d+$/);
  });

  it('fail with an unknown authority, and say how to trust it', async () => {
    await expect(connectWebSocket(await secure())).rejects.toMatchObject({
      code: 'refused',
      message: expect.stringContaining('no secure connection to 127.0.0.1:'),
      remedy: expect.stringContaining('NODE_EXTRA_CA_CERTS=FILE'),
    });
  });

  it('fail without TLS on the client, and say how the address begins', async () => {
    const plain = (await secure()).replace('wss', 'ws');
    await expect(connectWebSocket(plain)).rejects.toMatchObject({ code: 'refused', remedy: expect.stringContaining('wss://') });
  });

  it('fail without TLS on the server, and say how the address begins', async () => {
    const { address } = await listen();
    const connecting = connectWebSocket(address.replace('ws', 'wss'));
    await expect(connecting).rejects.toMatchObject({ code: 'refused', remedy: expect.stringContaining('ws://') });
  });
});

describe('the addresses of a host', () => {
  it('are chosen before a connection to one is opened', async () => {
    const listener = await listenWebSocket({ host: '127.0.0.1', port: 0 });
    const port = new URL(listener.address).port;
    const accepted: unknown[] = [];
    listener.accept().then(
      (link) => accepted.push(link),
      () => undefined,
    );
    const refuse = (addresses: readonly string[]): never => {
      throw new TransportError('refused', `not to ${addresses.join()}`, 'choose another');
    };
    for (const host of ['127.0.0.1', 'localhost'])
      await expect(connectWebSocket(`ws://${host}:${port}`, { admit: refuse })).rejects.toThrow(/^not to .*(127\.0\.0\.1|::1)/);
    expect(accepted).toEqual([]);
    const opened: unknown[] = [];
    const admit = (addresses: readonly string[]) => addresses.filter((one) => one === '127.0.0.1');
    const link = await connectWebSocket(`ws://localhost:${port}`, { admit, onOpen: (address) => opened.push(address) });
    expect(opened).toEqual(['127.0.0.1']);
    link.close('done');
    await listener.close('done');
  });
});

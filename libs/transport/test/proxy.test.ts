/** Links and downloads through a real proxy in this process. */
import { createServer, type Server } from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { connectWebSocket, createFetch, listenWebSocket, proxyFor } from '../src/websocket/index.js';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const portOf = (server: Server | net.Server): number => (server.address() as AddressInfo).port;

async function listen<S extends Server | net.Server>(server: S): Promise<S> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => new Promise((resolve) => server.close(resolve)));
  return server;
}

/** A proxy that connects every host name to `port` of this machine. */
async function createProxy(port: number, { password }: { readonly password?: string } = {}) {
  const requests: string[] = [];
  const sockets = new Set<net.Socket>();
  const server = createServer();
  server.on('connect', (request, socket: net.Socket) => {
    requests.push(request.url!);
    sockets.add(socket);
    const given = Buffer.from((request.headers['proxy-authorization'] ?? '').slice('Basic '.length), 'base64').toString();
    if (password !== undefined && given !== `name:${password}`) {
      socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n');
      return;
    }
    const target = net.connect(port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      target.pipe(socket).pipe(target);
    });
    target.on('error', () => socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n'));
    socket.on('error', () => target.destroy());
    sockets.add(target);
  });
  await listen(server);
  closers.push(() => sockets.forEach((socket) => socket.destroy()));
  return { requests, url: `http://127.0.0.1:${portOf(server)}`, host: `127.0.0.1:${portOf(server)}` };
}

describe('the proxy for an address', () => {
  const env = { HTTP_PROXY: 'http://plain:1', HTTPS_PROXY: 'http://secure:2', ALL_PROXY: 'socks5://all:3' };
  it.each([
    ['ws://lab:7070', env, 'http://plain:1/'],
    ['wss://lab', env, 'http://secure:2/'],
    ['https://lab/x', { https_proxy: 'small:1', HTTPS_PROXY: 'http://large:2' }, 'http://small:1/'],
    ['ws://lab', { ALL_PROXY: 'socks5://all:3' }, 'socks5://all:3'],
    ['ws://lab', { all_proxy: 'http://all:3' }, 'http://all:3/'],
    ['ws://lab', { HTTPS_PROXY: 'http://secure:2' }, undefined],
    ['ws://localhost:7070', env, undefined],
    ['ws://127.0.0.1:7070', env, undefined],
    ['ws://[::1]:7070', env, undefined],
    ['ws://lab', { ...env, NO_PROXY: 'x, lab' }, undefined],
    ['ws://lab.example.org', { ...env, no_proxy: '.example.org' }, undefined],
    ['ws://lab.example.org', { ...env, NO_PROXY: 'example.org' }, undefined],
    ['ws://labexample.org', { ...env, NO_PROXY: 'example.org' }, 'http://plain:1/'],
    ['ws://lab:7070', { ...env, NO_PROXY: 'lab:7071' }, 'http://plain:1/'],
    ['ws://lab:7071', { ...env, NO_PROXY: 'lab:7071' }, undefined],
    ['ws://[fd00::1]:7070', { ...env, NO_PROXY: 'fd00::1' }, undefined],
    ['ws://[fd00::1]:7070', { ...env, NO_PROXY: 'fd00:0:0::1' }, undefined],
    ['ws://10.1.2.3:7070', { ...env, NO_PROXY: 'lab,10.0.0.0/8' }, undefined],
    ['ws://11.1.2.3:7070', { ...env, NO_PROXY: '10.0.0.0/8' }, 'http://plain:1/'],
    ['ws://[fd00::1]:7070', { ...env, NO_PROXY: 'fd00::/8' }, undefined],
    ['ws://[fe00::1]:7070', { ...env, NO_PROXY: '[fd00::]/8' }, 'http://plain:1/'],
    ['ws://[fd00::1]:7070', { ...env, NO_PROXY: '10.0.0.0/8' }, 'http://plain:1/'],
    ['ws://10.1.2.3', { ...env, NO_PROXY: '10.0.0.0/33,10.0.0/8,fd00::/129,10.1.2.3/x,/,lab/8' }, 'http://plain:1/'],
    ['ws://lab', { ...env, NO_PROXY: '*' }, undefined],
    ['ws://lab', { HTTP_PROXY: '' }, undefined],
  ])('%s with %j is %s', (address, variables, proxy) => {
    expect(proxyFor(new URL(address), variables)?.url.href).toBe(proxy);
  });

  it('is refused with the variable if it is none', () => {
    expect(() => proxyFor(new URL('ws://lab'), { HTTP_PROXY: 'ftp://x' })).toThrow('HTTP_PROXY does not name a proxy');
  });
});

describe('a link through a proxy', () => {
  async function listener() {
    const listening = await listenWebSocket({ host: '127.0.0.1', port: 0 });
    closers.push(() => listening.close('the test ends'));
    return { listening, port: Number(new URL(listening.address).port) };
  }

  it.each(['HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'all_proxy'])('of %s carries frames', async (variable) => {
    const { listening, port } = await listener();
    const proxy = await createProxy(port);
    const link = await connectWebSocket('ws://coordinator.test:7070', { env: { [variable]: proxy.url } });
    const other = await listening.accept();
    link.send(Uint8Array.of(1, 2, 3));
    expect([...(await other.receive())]).toEqual([1, 2, 3]);
    expect(proxy.requests).toEqual(['coordinator.test:7070']);
  });

  it('authenticates with the name and the password of the variable', async () => {
    const { port } = await listener();
    const proxy = await createProxy(port, { password: 'secret' });
    const link = await connectWebSocket('ws://coordinator.test', { env: { HTTP_PROXY: `http://name:secret@${proxy.host}` } });
    link.close('done');
  });

  it('that refuses names the proxy and the variable, and no password', async () => {
    const { port } = await listener();
    const proxy = await createProxy(port, { password: 'secret' });
    const linking = connectWebSocket('ws://coordinator.test', { env: { HTTP_PROXY: `http://name:wrong@${proxy.host}` } });
    const error = await linking.catch((reason: unknown) => reason);
    expect(error).toMatchObject({
      code: 'unreachable',
      message: `no connection to coordinator.test through the proxy ${proxy.host} (of HTTP_PROXY): it answers with HTTP 407`,
      remedy: expect.stringContaining('add coordinator.test to NO_PROXY') as string,
    });
    expect(JSON.stringify(error)).not.toContain('wrong');
  });

  it('that is down names the proxy', async () => {
    const gone = await listen(net.createServer());
    const port = portOf(gone);
    await closers.pop()!();
    const linking = connectWebSocket('ws://coordinator.test', { env: { HTTP_PROXY: `http://127.0.0.1:${port}` } });
    await expect(linking).rejects.toMatchObject({ message: expect.stringContaining(`the proxy 127.0.0.1:${port}`) as string });
  });
});

describe('a download through a proxy', () => {
  it('follows redirects and arrives whole', async () => {
    const site = await listen(
      createServer((request, response) =>
        request.url === '/old' ? response.writeHead(302, { location: '/new' }).end() : response.end('text'),
      ),
    );
    const proxy = await createProxy(portOf(site));
    const response = await createFetch({ HTTP_PROXY: proxy.url })('http://texts.test/old');
    expect([response.status, await response.text()]).toEqual([200, 'text']);
    expect(proxy.requests).toEqual(['texts.test:80', 'texts.test:80']);
  });

  it('that is refused names the proxy', async () => {
    const proxy = await createProxy(1);
    await expect(createFetch({ HTTP_PROXY: proxy.url })('http://texts.test/')).rejects.toThrow(
      `the proxy ${proxy.host} (of HTTP_PROXY) answers with HTTP 502`,
    );
  });
});

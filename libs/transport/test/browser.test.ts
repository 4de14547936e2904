/** The browser transport with the WebSockets of Node: that of `ws`, and from Node 22 the built-in one. */
import { createServer as createTcpServer, connect as connectTcp, type AddressInfo, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { WebSocket as WsSocket } from 'ws';
import { connectBrowser, type BrowserOptions, type BrowserSocketConstructor } from '../src/browser/index.js';
import { DEFAULT_FRAME_BYTES } from '../src/index.js';
import { listenWebSocket } from '../src/websocket/index.js';
import { describeTransport } from './conformance.js';

const ofWs = WsSocket as unknown as BrowserSocketConstructor;
const { WebSocket: ofPlatform } = globalThis as unknown as { WebSocket?: BrowserSocketConstructor };

/** A relay in front of a listener, whose links can be cut silently. */
async function openLink(WebSocket: BrowserSocketConstructor, options: BrowserOptions = {}, heartbeatMs = 5_000) {
  const listener = await listenWebSocket({ host: '127.0.0.1', port: 0, heartbeatMs });
  const sockets: Socket[] = [];
  const relay = createTcpServer((inner) => {
    const outer = connectTcp(Number(new URL(listener.address).port), '127.0.0.1');
    for (const socket of [inner, outer]) {
      sockets.push(socket);
      socket.on('error', () => socket.destroy());
    }
    inner.pipe(outer).pipe(inner);
  });
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve));
  const address = `ws://127.0.0.1:${(relay.address() as AddressInfo).port}`;
  const near = await connectBrowser(address, { ...options, WebSocket });
  const far = await listener.accept();
  const cut = (): void => sockets.forEach((socket) => socket.destroy());
  const dispose = async (): Promise<void> => {
    near.close('test over');
    cut();
    await listener.close('test over');
    await near.closed;
    await new Promise<void>((resolve) => relay.close(() => resolve()));
  };
  const hang = (): void => sockets.forEach((socket) => socket.unpipe().pause());
  return { near, far, frameBytes: DEFAULT_FRAME_BYTES, breakLink: cut, hang, dispose };
}

describeTransport("the browser's WebSocket (ws)", () => openLink(ofWs));
if (ofPlatform) describeTransport("the browser's WebSocket (of this platform)", () => openLink(ofPlatform));
else it.skip("the browser's WebSocket of this platform: SKIPPED, Node before 22 has none");

const disposals: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const dispose of disposals.splice(0)) await dispose();
});
async function openFor(options: BrowserOptions = {}, heartbeatMs?: number) {
  const link = await openLink(ofWs, options, heartbeatMs);
  disposals.push(link.dispose);
  return link;
}

describe('a link of a browser', () => {
  it('closes when more arrives than is read', async () => {
    const { near, far } = await openFor({ unreadBytes: 1 << 20 });
    for (let i = 0; i < 8; i++) far.send(new Uint8Array(DEFAULT_FRAME_BYTES));
    expect(await near.closed).toMatchObject({ kind: 'lost', reason: expect.stringContaining('more came in') });
    expect((await near.receive()).byteLength).toBe(DEFAULT_FRAME_BYTES);
  });

  it('closes at a frame over its limit', async () => {
    const { near, far } = await openFor({ frameBytes: 100 });
    far.send(new Uint8Array(101));
    expect(await near.closed).toMatchObject({ kind: 'lost', reason: expect.stringContaining('100 bytes') });
    expect(await far.closed).toMatchObject({ kind: 'lost' });
  });

  it('does not wait for ever for a stopped peer', async () => {
    const { near, hang } = await openFor({ closeTimeoutMs: 30 });
    hang();
    near.close('leaving');
    expect(await near.closed).toEqual({ kind: 'clean', reason: 'leaving' });
  });

  it('is lost when the other side is silent', async () => {
    const { near, hang } = await openFor({ silenceMs: 80, closeTimeoutMs: 30 }, 10);
    hang();
    expect(await near.closed).toMatchObject({ kind: 'lost', reason: 'no sign of life for 0.08 s' });
  });

  it('stays open with signs of life alone, which are not frames', async () => {
    const { near, far } = await openFor({ silenceMs: 400 }, 10);
    await new Promise((resolve) => setTimeout(resolve, 1200));
    far.send(new Uint8Array([7]));
    expect(await near.receive()).toEqual(new Uint8Array([7]));
  });

  it('cuts a close reason to what a close frame holds, between characters', async () => {
    const { near, far } = await openFor();
    near.close('ü'.repeat(100));
    expect(await far.closed).toEqual({ kind: 'clean', reason: 'ü'.repeat(61) });
  });
});

describe('connecting from a browser', () => {
  const connect = (address: string, options: BrowserOptions = {}) => connectBrowser(address, { WebSocket: ofWs, ...options });

  it.each(['http://host/', 'ws://', 'host:7070', 'ws://host/#fragment'])('rejects %s', async (address) => {
    await expect(connect(address)).rejects.toMatchObject({ code: 'invalid_address', remedy: expect.stringMatching(/ws/) });
  });

  it('reports every cause as unreachable', async () => {
    const listener = await listenWebSocket({ host: '127.0.0.1', port: 0, path: '/here' });
    const elsewhere = listener.address.replace('/here', '/nowhere');
    await expect(connect(elsewhere)).rejects.toMatchObject({ code: 'unreachable', remedy: expect.stringMatching(/coordinator/) });
    await listener.close('test over');
    await expect(connect(listener.address)).rejects.toMatchObject({ code: 'unreachable' });
  });

  it('gives up on a host that does not answer, and when aborted', async () => {
    const mute = createTcpServer((socket) => socket.on('error', () => socket.destroy()).on('data', () => {}));
    await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
    const address = `ws://127.0.0.1:${(mute.address() as AddressInfo).port}`;
    await expect(connect(address, { connectTimeoutMs: 30 })).rejects.toMatchObject({ code: 'timeout' });
    const controller = new AbortController();
    const waiting = connect(address, { signal: controller.signal });
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'aborted' });
    await expect(connect(address, { signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' });
    await new Promise<void>((resolve) => mute.close(() => resolve()));
  });
});

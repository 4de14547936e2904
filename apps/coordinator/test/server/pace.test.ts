import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { pieces, sendPaced } from '../../src/server/pace.js';

/** More than the system buffers for a socket that nobody reads. */
const FILE = new Uint8Array(64 * 1024 ** 2);

let server: http.Server;
let sent: Promise<string>;
beforeEach(async () => {
  sent = new Promise((resolve) => {
    server = http.createServer((_request, response) => {
      response.writeHead(200, { 'content-length': FILE.length });
      void sendPaced(pieces(FILE), response, { bytes: 640 * 1024, windowMs: 300 }).then(() =>
        resolve(response.writableFinished ? 'sent' : 'cut off'),
      );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

/** Opens a download, and reads `bytes` of it every 20 ms. */
async function read(bytes: number): Promise<net.Socket> {
  const socket = net.connect((server.address() as AddressInfo).port, '127.0.0.1');
  socket.on('error', () => undefined);
  socket.pause();
  socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  const timer = setInterval(() => void socket.read(Math.min(bytes, socket.readableLength)), 20);
  socket.once('close', () => clearInterval(timer));
  return socket;
}

describe('a large file', () => {
  it('is sent whole to a reader that takes it', async () => {
    const answer = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    expect((await answer.arrayBuffer()).byteLength).toBe(FILE.length);
    expect(await sent).toBe('sent');
  });

  it.each([
    ['takes nothing', 0],
    // Some bytes in each window: it is never idle.
    ['takes a little all the time', 1_000],
  ])('is cut off when its reader %s', async (_name, bytes) => {
    const socket = await read(bytes);
    expect(await sent).toBe('cut off');
    socket.destroy();
  });

  it('is no longer sent when its reader leaves', async () => {
    const socket = await read(0);
    setTimeout(() => socket.destroy(), 50);
    expect(await sent).toBe('cut off');
  });
});

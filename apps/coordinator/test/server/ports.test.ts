import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import os from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { LIMITS } from '@troupe/protocol';
import { afterEach, describe, expect, it } from 'vitest';
import { createWebServer, type WebServer } from '../../src/server/server.js';
import { readCertificate } from '../../src/server/certificate.js';
import { scratch } from '../running.js';
import { hasOpenssl, makeCertificate } from './certificates.js';

/** Of this machine, and not of its loopback. */
const outside = Object.values(os.networkInterfaces())
  .flatMap((found) => found ?? [])
  .find(({ family, internal }) => family === 'IPv4' && !internal)?.address;

let server: WebServer | undefined;
const sockets: Socket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  server?.close();
});

/** Opens sockets that send nothing. @returns how many are still open */
async function silent(count: number, options: Partial<Parameters<typeof createWebServer>[0]>): Promise<() => number> {
  // 4 links for each address, and 2 sockets for each link.
  server = createWebServer({ allowedHosts: [], behindProxy: false, capScale: 4 / LIMITS.cappedLinks, ...options });
  const mount = server.mount('');
  await server.listen({ host: '0.0.0.0', port: 0, local: false, onFailed: () => undefined });
  const port = Number(new URL(mount.addresses().address).port);
  for (let i = 0; i < count; i++) {
    const socket = connect(port, outside);
    sockets.push(socket.on('error', () => socket.destroy()));
    // In the order in which the server counts them.
    await once(socket, 'connect');
    socket.resume();
  }
  return () => sockets.filter(({ closed }) => !closed).length;
}

describe.skipIf(outside === undefined)('sockets that send nothing [needs an address besides the loopback]', () => {
  it('count for their address: those above its cap are closed', async () => {
    const left = await silent(12, {});
    await expect.poll(left, { timeout: 10_000 }).toBe(8);
    expect(sockets.map(({ closed }) => closed)).toEqual([...Array(8).fill(false), ...Array(4).fill(true)]);
  });

  it.skipIf(!hasOpenssl())('count before their TLS handshake [needs openssl]', async () => {
    const folder = await scratch();
    const certificate = await readCertificate(makeCertificate(folder, 'own', 'DNS:lab.example'));
    await rm(folder, { recursive: true });
    const left = await silent(12, { certificate });
    await expect.poll(left, { timeout: 10_000 }).toBe(8);
  });

  it('all come from the proxy if there is one, and are not counted', async () => {
    const left = await silent(12, { behindProxy: true });
    await delay(300);
    expect(left()).toBe(12);
  });
});

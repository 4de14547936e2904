import fs from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadSite } from '../../src/server/static-site.js';

let folder: string;
let server: Server;
let origin: string;
const SCRIPT = 'export const answer = 42;\n'.repeat(100);

beforeAll(async () => {
  folder = await fs.mkdtemp(path.join(os.tmpdir(), 'troupe-site-'));
  await fs.mkdir(path.join(folder, 'assets'));
  const files = {
    'index.html': '<!doctype html><title>x</title>',
    'assets/main-K3JX9Q2A.js': SCRIPT,
    'engine-threaded.js': SCRIPT,
    'shared.html': '<meta content="%BASE%/share.png">',
    'style.css': 'a{}',
    'headers.json': `{"content-security-policy":"default-src none; connect-src 'self'","x-own":"yes"}`,
    'notes.secret': 'of no type that is served',
  };
  for (const [name, text] of Object.entries(files)) await fs.writeFile(path.join(folder, name), text);
  const site = (await loadSite(folder))!;
  server = createServer((request, response) => {
    const base = `http://${request.headers.host}/a&b"`;
    const connects = request.headers['x-far'] === undefined ? [] : ['ws://10.0.0.2:7071', 'wss://far.example'];
    if (!site.answer(request.url!, request, response, { base, connects })) response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await fs.rm(folder, { recursive: true });
});

describe('a folder of built pages', () => {
  it('is served with content types and with the headers of its build', async () => {
    const page = await fetch(`${origin}/`);
    expect(await page.text()).toMatch(/^<!doctype html>/);
    expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(page.headers.get('content-security-policy')).toBe("default-src none; connect-src 'self'");
    expect(page.headers.get('x-own')).toBe('yes');
    expect(page.headers.get('x-content-type-options')).toBe('nosniff');
    expect((await fetch(`${origin}/style.css`)).headers.get('content-type')).toBe('text/css; charset=utf-8');
  });

  it('names its whole address where a page asks for it, as text', async () => {
    const page = await fetch(`${origin}/shared.html`);
    expect(await page.text()).toBe(`<meta content="${origin}/a&#38;b&#34;/share.png">`);
    expect(page.headers.get('cache-control')).toBe('no-cache');
    const etag = page.headers.get('etag')!;
    expect((await fetch(`${origin}/shared.html`, { headers: { 'if-none-match': etag } })).status).toBe(304);
  });

  it('may connect to the servers that are named, and to no others', async () => {
    const page = await fetch(`${origin}/engine-threaded.js`, { headers: { 'x-far': 'yes' } });
    expect(page.headers.get('content-security-policy')).toBe(
      "default-src none; connect-src 'self' ws://10.0.0.2:7071 wss://far.example",
    );
  });

  it('is cached for ever if the name contains a hash, and revalidated otherwise', async () => {
    const caching = async (name: string) => (await fetch(`${origin}/${name}`)).headers.get('cache-control');
    expect(await caching('assets/main-K3JX9Q2A.js')).toMatch(/immutable/);
    expect(await caching('engine-threaded.js')).toBe('no-cache');
    const etag = (await fetch(`${origin}/`)).headers.get('etag')!;
    const again = await fetch(`${origin}/`, { headers: { 'if-none-match': etag } });
    expect([again.status, await again.text()]).toEqual([304, '']);
    expect((await fetch(`${origin}/`, { headers: { 'if-none-match': '"other"' } })).status).toBe(200);
  });

  it('is sent compressed to clients that accept that', async () => {
    const script = await fetch(`${origin}/engine-threaded.js`, { headers: { 'accept-encoding': 'gzip' } });
    expect(script.headers.get('content-encoding')).toBe('gzip');
    expect(Number(script.headers.get('content-length'))).toBeLessThan(SCRIPT.length / 4);
    expect(await script.text()).toBe(SCRIPT);
    const plain = await fetch(`${origin}/engine-threaded.js`, { headers: { 'accept-encoding': 'identity' } });
    expect(plain.headers.get('content-encoding')).toBeNull();
    expect(await plain.text()).toBe(SCRIPT);
  });

  it('serves nothing else', async () => {
    for (const name of ['headers.json', 'notes.secret', 'assets', 'assets/', 'nothing.js']) {
      expect((await fetch(`${origin}/${name}`)).status).toBe(404);
    }
  });

  it('is not a site if nothing was built', async () => {
    expect(await loadSite(path.join(folder, 'not there'))).toBeUndefined();
    expect(await loadSite(path.join(folder, 'assets'))).toBeUndefined();
  });
});

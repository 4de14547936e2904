/** A coordinator that a proxy serves under a path, and proxies that do not forward WebSockets. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { connectWebSocket } from '@troupe/transport/websocket';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startReverseProxy, type ProxyOptions, type ReverseProxy } from './reverse-proxy.js';
import {
  ADMIN,
  askHttp,
  openViewer,
  scratch,
  startCoordinator,
  startWorker,
  TOKEN,
  type Answer,
  type Asking,
  type RunningCoordinator,
  volunteersOf,
} from './running.js';

let cwd = '';
let run: RunningCoordinator;
let proxy: ReverseProxy | undefined;

beforeAll(async () => {
  cwd = await scratch();
  run = await startCoordinator(
    `--out=${path.join(cwd, 'run')}`,
    '--rounds=100000000',
    '--behind-proxy',
    '--path-prefix=/troupe/',
  );
});
afterEach(() => proxy?.close());
afterAll(async () => {
  await run.stop();
  await fs.rm(cwd, { recursive: true, force: true });
});

async function open(
  options: Omit<ProxyOptions, 'target' | 'path'>,
): Promise<(where: string, asking?: Asking) => Promise<Answer>> {
  const opened = await startReverseProxy({ ...options, target: run.host, path: '/troupe' });
  proxy = opened;
  return (where, asking = {}) => askHttp(opened.host, where, asking);
}

describe.each([{ strips: true }, { strips: false }])('under a path, behind a proxy with %o', (kind) => {
  it('the pages, the API and the live link work', async () => {
    const ask = await open(kind);
    for (const where of ['/troupe/', '/troupe/join/', '/troupe/healthz']) expect((await ask(where)).status).toBe(200);
    expect(await ask('/troupe/join')).toMatchObject({ status: 308, headers: { location: '/troupe/join/' } });
    expect((await ask('/troupe/api/openapi.json')).json.servers).toEqual([{ url: '/troupe' }]);
    const { json } = await ask('/troupe/api/run', { token: ADMIN });
    expect(json.joinLink).toBe(`http://${proxy!.host}/troupe/join/#token=${volunteersOf(TOKEN)}`);
    // Programs that show a link take only whole addresses.
    const image = `http://${proxy!.host}/troupe/join/share.png`;
    expect((await ask('/troupe/join/')).text).toContain(`<meta property="og:image" content="${image}" />`);
    expect((await ask('/troupe/join/share.png')).headers['content-type']).toBe('image/png');
    const viewer = openViewer(`ws://${proxy!.host}/troupe/live`, { token: ADMIN });
    expect(await viewer.message(({ type }) => type === 'hello')).toMatchObject({ view: { joinLink: json.joinLink } });
    viewer.socket.terminate();
  });

  it('workers join and compute through the proxy', async () => {
    await open(kind);
    const worker = startWorker(`ws://${proxy!.host}/troupe/control`, TOKEN, 'through the proxy');
    const rounds = (): number => run.events.filter(({ event }) => event === 'round').length;
    const before = rounds();
    await expect.poll(rounds, { timeout: 10_000 }).toBeGreaterThan(before + 3);
    worker.leave();
    await worker.done;
  });

  it('errors name the paths that clients see', async () => {
    const ask = await open(kind);
    const { json } = await ask('/troupe/api/nothing');
    expect(json.message).toBe('there is nothing at /troupe/api/nothing');
    expect(json.remedy).toBe('See the API description, /troupe/api/openapi.json.');
    const { json: refused } = await ask('/troupe/api/control', { token: ADMIN, body: { action: 'dance' } });
    expect(refused.remedy).toMatch(/ \/troupe\/api\/openapi\.json/);
    expect((await ask('/troupe/nothing')).text).toMatch(/dashboard is at \/troupe\/, .* \/troupe\/join\//);
  });
});

it('a path is in the printed links, and direct connections work without it', async () => {
  expect(await run.event('listening')).toMatchObject({
    address: `ws://${run.host}/troupe/control`,
    joinCommand: `TROUPE_TOKEN=${TOKEN} npm run troupe -- worker ws://${run.host}/troupe/control`,
    dashboard: `http://${run.host}/troupe/#admin=${ADMIN}`,
    volunteer: `http://${run.host}/troupe/join/#token=${volunteersOf(TOKEN)}`,
  });
  expect((await run.ask('/healthz')).status).toBe(200);
  expect(await run.ask('/troupe?a=b')).toMatchObject({ status: 308, headers: { location: '/troupe/?a=b' } });
  expect((await run.ask('/trouper/healthz')).status).toBe(404);
});

describe('a proxy that removes the header Upgrade', () => {
  it.each(['/control', '/reduce', '/live'])(
    'is answered with 426, its name and the settings that it lacks: %s',
    async (where) => {
      await open({ dropsUpgrade: true });
      const headers = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-key': 'x', 'sec-websocket-version': '13' };
      const answer = await askHttp(proxy!.host, `/troupe${where}`, { headers });
      expect(answer).toMatchObject({ status: 426, headers: { upgrade: 'websocket' } });
      expect(answer.json).toMatchObject({
        code: 'upgrade_required',
        message: 'a proxy (Via: 1.1 a-proxy) has removed the header Upgrade of a WebSocket request',
        remedy: expect.stringMatching(/proxy_set_header Upgrade \$http_upgrade/),
      });
      expect(run.events).toContainEqual(expect.objectContaining({ event: 'note', level: 'warn', text: answer.json.message }));
    },
  );

  it('is named to workers', async () => {
    await open({ dropsUpgrade: true });
    await expect(connectWebSocket(`ws://${proxy!.host}/troupe/control`)).rejects.toMatchObject({
      code: 'refused',
      message: expect.stringMatching(/proxy in front of it has removed the header Upgrade/),
    });
  });

  it('is not blamed for a client that asks for a page', async () => {
    const { status, json } = await run.ask('/live');
    expect([status, json.message]).toEqual([426, 'this path accepts only WebSockets']);
  });
});

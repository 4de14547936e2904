/** Two independent runs on one server, in one process. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { createSendBudget } from '@troupe/protocol';
import type { RunEvent } from '@troupe/run';
import { connectWebSocket } from '@troupe/transport/websocket';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRunHost, mountRun, type RunHost } from '../src/run-host.js';
import { loadPages } from '../src/server/pages.js';
import { createWebServer, type WebServer } from '../src/server/server.js';
import {
  askHttp,
  openViewer,
  scratch,
  smallRun,
  startCoordinator,
  startWorker,
  volunteersOf,
  type Answer,
  type Asking,
} from './running.js';

const ROUNDS = 12;
/** The checkpoints of a reproducible run depend only on its config. */
const FLAGS = ['--reproducible', `--rounds=${ROUNDS}`, '--eval-every=6', '--checkpoint-every=6', '--sample-every=0'];
const SEEDS = { one: '--seed=1', two: '--seed=2' };
type Name = keyof typeof SEEDS;

interface HostedRun {
  readonly host: RunHost;
  readonly events: readonly RunEvent[];
  readonly token: string;
  readonly adminToken: string;
  ask(path: string, asking?: Asking): Promise<Answer>;
  work(token?: string): { done: Promise<unknown>; leave(): void };
}

let cwd = '';
let server: WebServer;
let address = '';
const runs = new Map<Name, HostedRun>();
const stop = new AbortController();

beforeAll(async () => {
  cwd = await scratch();
  server = createWebServer({ allowedHosts: [], behindProxy: false });
  const mounted = [...(['one', 'two'] as const)].map((name) => ({ name, mount: server.mount(`/${name}`) }));
  await server.listen({ host: '127.0.0.1', port: 0, local: false, onFailed: () => undefined });
  address = new URL(mounted[0].mount.addresses().here).host;
  expect(await askHttp(address, '/one/', {})).toMatchObject({ status: 503, headers: { 'retry-after': '1' } });
  for (const { name, mount } of mounted) runs.set(name, await hostRun(name, mount));
});
afterAll(async () => {
  stop.abort(new Error('the tests are over'));
  for (const { host } of runs.values()) await host.close();
  server.close();
  await fs.rm(cwd, { recursive: true, force: true });
});

async function hostRun(name: Name, mount: ReturnType<WebServer['mount']>): Promise<HostedRun> {
  const [token, adminToken] = [`workers-of-${name}`, `admins-of-${name}`];
  const events: RunEvent[] = [];
  const settings = smallRun([...FLAGS, SEEDS[name], `--out=${path.join(cwd, name)}`], token, adminToken);
  const report = (event: RunEvent): void => void events.push(event);
  const host = await createRunHost({
    settings,
    budget: createSendBudget({ onEvicted: () => undefined }),
    reducerPlaces: 1,
    env: {},
    mount,
    pages: await loadPages(),
    report,
    signal: stop.signal,
  });
  mountRun(mount, host);
  host.announce();
  host.start();
  return {
    host,
    events,
    token,
    adminToken,
    ask: (where, asking = {}) => askHttp(address, `/${name}${where}`, asking),
    work: (shown = token) => startWorker(`ws://${address}/${name}/control`, shown, `worker of ${name}`),
  };
}

const one = (): HostedRun => runs.get('one')!;
const two = (): HostedRun => runs.get('two')!;
const changes = ({ events }: HostedRun): string[] => events.flatMap((event) => (event.event === 'worker' ? [event.change] : []));
const until = async (test: () => boolean | Promise<boolean>): Promise<void> => {
  while (!(await test())) await delay(10);
};
/** The last checkpoint of a run with the same flags that is alone at the root of a coordinator. */
async function aloneCheckpoint(name: Name): Promise<Buffer> {
  const out = path.join(cwd, `${name}-alone`);
  const alone = await startCoordinator(...FLAGS, SEEDS[name], `--out=${out}`);
  alone.join('the only worker');
  await alone.ended;
  return lastCheckpoint(out);
}
const lastCheckpoint = (out: string): Promise<Buffer> =>
  fs.readFile(path.join(out, `round-${String(ROUNDS).padStart(8, '0')}.safetensors`));

describe('two runs on one server', () => {
  it('print links to their own mount', async () => {
    const { token, adminToken, events } = one();
    expect(events.find(({ event }) => event === 'listening')).toMatchObject({
      address: `ws://${address}/one/control`,
      joinCommand: `TROUPE_TOKEN=${token} npm run troupe -- worker ws://${address}/one/control`,
      dashboard: `http://${address}/one/#admin=${adminToken}`,
      volunteer: `http://${address}/one/join/#token=${volunteersOf(token)}`,
    });
    const { json } = await two().ask('/api/run', { token: two().adminToken });
    expect(json.joinLink).toBe(`http://${address}/two/join/#token=${volunteersOf(two().token)}`);
    expect((await one().ask('/api/openapi.json')).json.servers).toEqual([{ url: '/one' }]);
  });

  it('redirect a browser to the path with a slash, to which file names are relative', async () => {
    expect(await one().ask('')).toMatchObject({ status: 308, headers: { location: '/one/' } });
    expect(await one().ask('?a=b')).toMatchObject({ status: 308, headers: { location: '/one/?a=b' } });
    expect(await two().ask('/join')).toMatchObject({ status: 308, headers: { location: '/two/join/' } });
  });

  it('answer only within their mounts', async () => {
    for (const where of ['/', '/api/run', '/onetwo/', '/three/api/run'])
      expect((await askHttp(address, where, {})).status).toBe(404);
    for (const where of ['/control', '/reduce', '/three/control']) {
      await expect(connectWebSocket(`ws://${address}${where}`)).rejects.toMatchObject({ code: 'refused' });
    }
    expect(() => server.mount('/one')).toThrow(RangeError);
    expect(() => server.mount('one/')).toThrow(RangeError);
  });

  it('accept only their own tokens', async () => {
    for (const token of [one().token, one().adminToken]) {
      expect((await two().ask('/api/run', { token })).json).toMatchObject({ code: 'wrong_token' });
    }
    const viewer = openViewer(`ws://${address}/two/live`, { token: one().adminToken });
    expect(await viewer.closed).toBe(4401);
    expect(await two().work(one().token).done).toMatchObject({ name: 'WorkerRefused', code: 'wrong_token' });
    expect(changes(two())).toEqual(['refused']);
    expect(changes(one())).toEqual([]);
  });

  it('end with the same bits as a run alone, and the end of one leaves the links of the other open', async () => {
    const steer = (action: string) => two().ask('/api/control', { token: two().adminToken, body: { action } });
    await steer('pause');
    const others = two().work();
    const viewer = openViewer(`ws://${address}/two/live`, { token: two().adminToken });
    await until(() => changes(two()).includes('ready'));

    expect(await one().work().done).toBe('ended');
    await one().host.done;
    expect((await one().ask('/healthz')).status).toBe(404);
    await expect(connectWebSocket(`ws://${address}/one/control`)).rejects.toMatchObject({ code: 'refused' });

    const { json } = await two().ask('/api/run', { token: two().adminToken });
    expect(json).toMatchObject({ phase: 'paused', round: 0, workerCount: 1 });
    expect(viewer.socket.readyState).toBe(viewer.socket.OPEN);
    await steer('resume');
    expect(await others.done).toBe('ended');
    await two().host.done;
    expect(changes(two())).toEqual(['refused', 'joined', 'ready']);
    expect(await viewer.closed).toBe(1001);

    for (const name of ['one', 'two'] as const) {
      expect((await lastCheckpoint(path.join(cwd, name))).equals(await aloneCheckpoint(name))).toBe(true);
    }
    const [first, second] = await Promise.all((['one', 'two'] as const).map((name) => lastCheckpoint(path.join(cwd, name))));
    expect(first.equals(second)).toBe(false);
  });
});

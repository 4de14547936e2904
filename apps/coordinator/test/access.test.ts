/** Signed tokens against the routes and links of a real coordinator. */
import { once, setMaxListeners } from 'node:events';
import fs from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { changeAccess, createToken, revokeTokens, type Scope } from '@troupe/access';
import { createChannel, encodeFrames, PROTOCOL_VERSION } from '@troupe/protocol';
import { connectWebSocket } from '@troupe/transport/websocket';
import type { RunView } from '@troupe/run';
import { WebSocket } from 'ws';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openapi } from '../src/web/openapi.js';
import { ADMIN, openViewer, scratch, startCoordinator, startWorker, TOKEN, type RunningCoordinator } from './running.js';

// As in the process of a coordinator: every link listens for the end of the run.
setMaxListeners(0);

let cwd = '';
let file = '';
let run: RunningCoordinator;

beforeAll(async () => {
  cwd = await scratch();
  file = path.join(cwd, 'access.json');
  const flags = ['--behind-proxy', '--allow-host=*', '--cap-scale=0.002', '--rounds=1000000', '--sample-every=0'];
  run = await startCoordinator(...flags, `--access-file=${file}`, `--out=${path.join(cwd, 'run')}`);
});
afterAll(async () => {
  await run.stop();
  await fs.rm(cwd, { recursive: true, force: true });
});

const random = (bytes: number) => crypto.getRandomValues(new Uint8Array(bytes));
/** A token that the coordinator knows already. */
async function make(scope: Scope, { maxLinks, lifetimeMs = 3_600_000 }: { maxLinks?: number; lifetimeMs?: number } = {}) {
  const request = { scope, label: '', lifetimeMs, maxLinks };
  const { token, entry } = await changeAccess(file, (before) => createToken(before, request, { nowMs: Date.now(), random }));
  // It is refused as wrong until the file has been read.
  await expect.poll(() => codeOf('/api/run', token), { timeout: 10_000 }).not.toBe('wrong_token');
  return { token, id: entry.id };
}
async function revoke(id: string): Promise<void> {
  await changeAccess(file, (before) => ({ state: revokeTokens(before, [id], Date.now()) }));
}
const codeOf = async (where: string, token: string, method = 'GET'): Promise<string> => {
  const { status, json } = await run.ask(where, { token, ...(method === 'POST' ? { body: {} } : { method: 'HEAD' }) });
  if (method === 'POST') return json?.code as string;
  return status < 400 ? 'ok' : ((await run.ask(where, { token })).json.code as string);
};
/** What a control link receives first when it says hello. */
async function hello(token: string, kind: 'node' | 'browser', from = '198.51.100.1') {
  const link = await connectWebSocket(`ws://${run.host}/control`);
  const channel = createChannel(link, { accepts: ['welcome', 'refuse'], bodyBytes: () => 0 });
  channel.send({ type: 'hello', versions: [PROTOCOL_VERSION], token, name: from, kind, credited: false, team: '' });
  const { message } = await channel.receive();
  return { channel, message };
}

/** Every operation, and what it needs. */
const NEEDS = {
  '/metrics': 'metrics',
  '/api/run': 'worker',
  '/api/credits': 'worker',
  '/api/model/web': 'worker',
  '/api/network': 'join',
} as Readonly<Record<string, string>>;
const operations = Object.entries(openapi.paths).flatMap(([where, item]) => {
  const [method, { security }] = Object.entries(item)[0] as [string, { security?: readonly object[] }];
  if (security?.length === 0) return [];
  const isAdmin = security?.every((one) => Object.keys(one)[0] === 'adminToken') === true;
  return [{ where, method: method.toUpperCase(), need: NEEDS[where] ?? (isAdmin ? 'admin' : 'read') }];
});
const GRANTS: Readonly<Record<Scope, readonly string[]>> = {
  worker: ['worker', 'join'],
  volunteer: ['worker'],
  viewer: ['worker', 'metrics', 'read'],
  admin: ['worker', 'join', 'metrics', 'read', 'admin'],
};
const scopes = Object.keys(GRANTS) as Scope[];

describe('the routes', () => {
  it('are those of the API, and some need each of the rights', () => {
    expect(new Set(operations.map(({ need }) => need))).toEqual(new Set(GRANTS.admin));
  });

  it.each(scopes)(
    'allow a %s what its scope says, and refuse everything else with the command for another token',
    async (scope) => {
      const { token } = await make(scope);
      for (const { where, method, need } of operations) {
        const code = await codeOf(where, token, method);
        const isAllowed = GRANTS[scope].includes(need);
        // There is no checkpoint yet, and an empty body is no order.
        if (isAllowed) expect(`${where}: ${code}`).toMatch(/: (ok|no_checkpoint|bad_request|undefined)$/);
        else expect(`${where}: ${code}`).toBe(`${where}: wrong_scope`);
      }
      const refused = await run.ask('/api/control', { token, body: { action: 'pause' } });
      if (scope === 'admin') await run.steer({ action: 'resume' });
      else expect(refused).toMatchObject({ status: 403, json: { remedy: expect.stringMatching(/token create --scope admin$/) } });
    },
  );

  it('show a viewer no addresses of machines, and no link to join', async () => {
    const { token } = await make('viewer');
    const { json } = await run.ask('/api/run', { token });
    expect(json.access).toEqual(['read']);
    expect(json.joinLink).toBeUndefined();
  });

  it('show the permanent link for volunteers only to whom the coordinator has given the admin token of the run', async () => {
    const { token } = await make('admin');
    const views = async (shown: string) => {
      const viewer = run.live({ token: shown });
      const hello = await viewer.message(({ type }) => type === 'hello');
      // Views are shared by those who see the same, and this comes from there.
      const later = await viewer.message((one) => one.type === 'update' && one.view !== undefined);
      viewer.socket.close();
      return [
        (await run.ask('/api/run', { token: shown })).json,
        (hello as { view: RunView }).view,
        (later as { view: RunView }).view,
      ];
    };
    const [own, signed] = await Promise.all([views(ADMIN), views(token)]);
    for (const view of own) {
      expect(view.joinLink).toContain(`#token=`);
      expect(view.inviteCommand).toBeUndefined();
    }
    for (const view of signed) {
      expect(view.access).toEqual(['read', 'admin']);
      expect(JSON.stringify(view)).not.toContain(TOKEN);
      expect(view.inviteCommand).toMatch(new RegExp(`token create --scope volunteer --access-file ${file}$`));
    }
  });

  it('refuse a token that is revoked', async () => {
    const { token, id } = await make('admin');
    await revoke(id);
    await expect.poll(() => codeOf('/api/run', token), { timeout: 10_000 }).toBe('token_revoked');
    expect((await run.ask('/api/control', { token, body: { action: 'pause' } })).status).toBe(401);
    expect(await codeOf('/api/run', TOKEN)).toBe('ok');
    expect(await codeOf('/api/run', ADMIN)).toBe('ok');
  });

  it('answer without a token as before', async () => {
    expect((await run.ask('/api/run')).json).toMatchObject({ code: 'no_token' });
    for (const token of ['guess', 'troupe_v1.guess', `${TOKEN}.`]) expect(await codeOf('/api/run', token)).toBe('wrong_token');
  });
});

describe('the live link', () => {
  it.each(scopes)('admits a %s if it may read', async (scope) => {
    const { token } = await make(scope);
    const viewer = run.live({ token });
    if (GRANTS[scope].includes('read')) {
      expect(await viewer.message(({ type }) => type === 'hello')).toMatchObject({
        view: { access: scope === 'admin' ? ['read', 'admin'] : ['read'] },
      });
      viewer.socket.close();
    } else {
      expect(await viewer.closed).toBe(4401);
      expect(viewer.messages).toMatchObject([{ type: 'refused', code: 'wrong_scope' }]);
    }
  });

  it('ends when the token of a viewer is revoked or expires, and says so; others stay', async () => {
    const [one, two] = [await make('viewer'), await make('viewer', { lifetimeMs: 3_000 })];
    const [revoked, expired, other] = [one.token, two.token, ADMIN].map((token) => run.live({ token }));
    for (const viewer of [revoked, expired, other]) await viewer.message(({ type }) => type === 'hello');
    await revoke(one.id);
    expect(await Promise.all([revoked.closed, expired.closed])).toEqual([4401, 4401]);
    expect(revoked.messages.at(-1)).toMatchObject({ code: 'token_revoked', remedy: expect.stringMatching(/--scope viewer$/) });
    expect(expired.messages.at(-1)).toMatchObject({ code: 'token_expired' });
    expect(other.socket.readyState).toBe(WebSocket.OPEN);
    other.socket.close();
  });

  it('counts for the quota of a token', async () => {
    const { token } = await make('viewer', { maxLinks: 1 });
    const first = run.live({ token });
    await first.message(({ type }) => type === 'hello');
    const second = run.live({ token });
    expect(await second.closed).toBe(4401);
    expect(second.messages).toMatchObject([{ code: 'too_many_links' }]);
    first.socket.close();
    await first.closed;
    await run.live({ token }).message(({ type }) => type === 'hello');
  });
});

describe('a control link', () => {
  it.each(scopes)('welcomes a %s from where its scope may join', async (scope) => {
    const { token } = await make(scope);
    const answers = [];
    for (const kind of ['node', 'browser'] as const) {
      const { channel, message } = await hello(token, kind);
      answers.push(message.type === 'refuse' ? message.code : message.type);
      channel.close('enough');
    }
    const wrong = 'wrong_scope';
    const expected = {
      worker: ['welcome', 'welcome'],
      volunteer: [wrong, 'welcome'],
      viewer: [wrong, wrong],
      admin: ['welcome', 'welcome'],
    };
    expect(answers).toEqual(expected[scope]);
  });

  it('of the token of the run is welcomed as before, and no empty one is', async () => {
    for (const [token, type] of [
      [TOKEN, 'welcome'],
      ['', 'refuse'],
      [ADMIN, 'refuse'],
    ] as const) {
      const { channel, message } = await hello(token, 'node');
      expect(message).toMatchObject({ type });
      channel.close('enough');
    }
  });

  it('of a worker whose token is revoked ends it for good, and the others compute on', async () => {
    const { token, id } = await make('worker');
    const guest = startWorker(`ws://${run.host}/control`, token, 'guest');
    const other = run.join('other');
    const round = async (): Promise<number> => (await run.ask('/api/run', { token: ADMIN })).json.round as number;
    const states = async () =>
      ((await run.ask('/api/run', { token: ADMIN })).json.workers as { name: string; state: string; rounds: number }[])
        .filter(({ state, rounds }) => state !== 'left' && rounds > 0)
        .map(({ name }) => name)
        .sort();
    await expect.poll(states, { timeout: 20_000 }).toEqual(['guest', 'other']);
    await revoke(id);
    expect(await guest.done).toMatchObject({
      name: 'WorkerRefused',
      code: 'token_revoked',
      remedy: expect.stringMatching(/token create --scope worker$/),
    });
    const after = await round();
    await run.round(after + 20);
    expect(await states()).toEqual(['other']);
    const { events } = (await run.ask('/api/events', { token: ADMIN })).json;
    expect(JSON.stringify(events)).toContain(`the token ${id} was revoked`);
    expect(JSON.stringify(events)).not.toContain(token.split('.')[2]);
    other.leave();
    await other.done;
  });
});

describe('caps', () => {
  // 0.002 of 4,096 links are 8.
  const MOST = 8;
  const from = (address: string) => ({ 'x-forwarded-for': address });
  const open = async (address: string, path = '/control') => {
    const socket = new WebSocket(`ws://${run.host}${path}`, { headers: from(address) });
    const received: string[] = [];
    socket.on('message', (data: Buffer, isBinary) => isBinary && received.push(data.toString('latin1')));
    await once(socket, 'open');
    return { socket, received };
  };

  /** Whether a link is not refused at once. */
  const tryOpen = async (address: string): Promise<boolean> => {
    const { socket, received } = await open(address);
    await delay(100);
    socket.terminate();
    return received.length === 0;
  };

  it.each(['/control', '/reduce'])(
    'refuse more links at %s from one address with a reason, and not those of others',
    async (path) => {
      const sockets = [];
      for (let i = 0; i < MOST; i++) sockets.push((await open(`2001:db8::${i + 1}`)).socket);
      const ninth = await open('2001:db8::ffff', path);
      await once(ninth.socket, 'close');
      expect(ninth.received.join()).toMatch(/too_many_links.*this address already has 8 links.*--cap-scale/s);
      // A dashboard from there is a link too.
      await expect(openViewer(`ws://${run.host}/live`, { token: ADMIN }, from('2001:db8::7')).closed).rejects.toThrow(/429/);
      const other = openViewer(`ws://${run.host}/live`, { token: ADMIN }, from('2001:db8:0:1::1'));
      await other.message(({ type }) => type === 'hello');
      for (const socket of [...sockets, other.socket]) socket.terminate();
      await expect.poll(() => tryOpen('2001:db8::8')).toBe(true);
    },
  );
});

it('counts wrong tokens wherever they are shown, and goes on to admit right ones', async () => {
  const headers = { 'x-forwarded-for': '203.0.113.77' };
  const counted = () =>
    run.events.filter((one) => one.event === 'note' && one.text.endsWith('wrong tokens came from 203.0.113.77'));
  for (let i = 0; i < 4; i++) expect((await run.ask('/api/run', { token: 'wrong', headers })).status).toBe(401);
  for (let i = 0; i < 3; i++)
    await openViewer(`ws://${run.host}/live`, { token: 'wrong' }, headers).closed.catch(() => undefined);
  expect(counted()).toEqual([]);
  for (let i = 0; i < 3; i++) {
    const socket = new WebSocket(`ws://${run.host}/control`, { headers });
    await once(socket, 'open');
    for (const frame of encodeFrames({
      type: 'hello',
      versions: [PROTOCOL_VERSION],
      token: 'wrong',
      name: 'x',
      kind: 'node',
      credited: false,
      team: '',
    }))
      socket.send(frame);
    await once(socket, 'close');
  }
  await expect.poll(counted).toHaveLength(1);
  expect((await run.ask('/api/run', { token: TOKEN, headers })).status).toBe(200);
});

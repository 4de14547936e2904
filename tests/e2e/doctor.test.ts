/** `troupe doctor --network` against a real coordinator, the real coturn, and networks that block something. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs/promises';
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { findNodeRtc } from '@troupe/transport/webrtc-node';
import { hasCoturn, HOW_TO_GET_COTURN, startCoturn, type Coturn } from './coturn.js';
import { end, named, root, run, scratch, SMALL, start, type Running } from './troupe.js';

const TOKEN = 'token-of-the-run';
const SECRET = 'secret-of-the-relay';

interface Report {
  readonly findings: readonly {
    readonly check: string;
    readonly level: string;
    readonly text: string;
    readonly remedy?: string;
  }[];
  readonly verdict: { readonly canJoin: boolean; readonly direct?: string; readonly text: string; readonly remedy?: string };
}

const rtc = await findNodeRtc();
rtc?.close();
const lacking = [...(rtc ? [] : ['npm install node-datachannel']), ...(hasCoturn ? [] : [HOW_TO_GET_COTURN])];
const skipped = (what: readonly string[]): string => (what.length > 0 ? ` (SKIPPED: needs ${what.join(', ')})` : '');

let folder = '';
const running: Running[] = [];
beforeAll(async () => {
  folder = await scratch();
});
afterAll(async () => {
  for (const each of running) await end(each);
  await fs.rm(folder, { recursive: true, force: true });
});

/** @returns the coordinator and its port */
async function startCoordinator(
  name: string,
  ice?: { readonly servers: string; readonly secret: string },
): Promise<[Running, number]> {
  const flags = ['--host', '0.0.0.0', '--port', '0', '--out', path.join(folder, name), '--json', ...SMALL];
  const coordinator = start(['coordinator', ...flags, ...(ice ? ['--ice-servers', ice.servers] : [])], {
    cwd: folder,
    env: { TROUPE_TOKEN: TOKEN, ...(ice && { TROUPE_TURN_SECRET: ice.secret }) },
  });
  running.push(coordinator);
  const { address } = await coordinator.line(named('listening'));
  return [coordinator, Number(new URL(address as string).port)];
}

async function doctor(address: string, token = TOKEN): Promise<Report & { code: number | null }> {
  const { code, stdout } = await run(['doctor', '--network', address, '--json'], { cwd: folder, env: { TROUPE_TOKEN: token } });
  return { code, ...(JSON.parse(stdout) as Report) };
}

const levels = ({ findings }: Report): Record<string, string> =>
  Object.fromEntries(findings.map(({ check, level }) => [check, level]));

describe('the way to a coordinator', () => {
  let coordinator: Running;
  let port = 0;
  let proxy: Server | undefined;
  beforeAll(async () => {
    [coordinator, port] = await startCoordinator('open');
  });
  afterEach(() => proxy?.close());

  it('is good, step by step, and nobody joins', async () => {
    const link = `http://localhost:${port}/join/#token=${TOKEN}`;
    const { code, stdout, stderr } = await run(['doctor', '--network', link], { cwd: folder });
    expect(stderr).toBe('');
    const steps = ['name', 'connection', 'WebSocket', 'token', 'all-reduce', 'latency'].map((step) => `\\n\\+ ${step} +\\S.*`);
    expect(stdout).toMatch(new RegExp(steps.join('')));
    expect(stdout).toMatch(/latency +[\d.]+ ms for a request/);
    expect(stdout).toMatch(/\n\nA worker on this machine can join\. /);
    expect(stdout).toContain(rtc ? '--ice-servers stun:HOST:3478' : 'node-datachannel');
    // The token is a secret.
    expect(stdout).not.toContain(TOKEN);
    expect(code).toBe(0);
    expect(coordinator.lines.filter(({ event }) => event === 'joined' || event === 'refused')).toEqual([]);
  });

  it('ends at a wrong token, and at a port where nothing listens', async () => {
    const [wrong, nobody] = await Promise.all([doctor(`ws://127.0.0.1:${port}`, 'guessed'), doctor('ws://127.0.0.1:1')]);
    expect(wrong).toMatchObject({ code: 1, verdict: { canJoin: false, text: expect.stringContaining('refuses the token') } });
    expect(levels(wrong)).toMatchObject({ WebSocket: 'ok', token: 'fault' });
    expect(nobody).toMatchObject({ code: 1, verdict: { canJoin: false, text: expect.stringContaining('nothing listens at') } });
    expect(levels(nobody)).toEqual({ connection: 'fault' });
  });

  it('ends at a proxy that removes the header Upgrade, which is named', async () => {
    proxy = createServer(({ url, headers: { upgrade: _, connection: __, ...headers } }, response) => {
      request({ port, path: url, headers }, (answer) => {
        response.writeHead(answer.statusCode!, answer.headers);
        answer.pipe(response);
      }).end();
    });
    await new Promise<void>((resolve) => proxy!.listen(0, '127.0.0.1', resolve));
    const report = await doctor(`ws://127.0.0.1:${(proxy.address() as AddressInfo).port}`);
    expect(report).toMatchObject({ code: 1, verdict: { remedy: expect.stringContaining('forward WebSockets') } });
    expect(levels(report)).toMatchObject({ connection: 'ok', WebSocket: 'fault' });
  });
});

/** Which block UDP: this machine - a router - the doctor. */
const [ROUTER, INSIDE] = [`troupe-r${process.pid}`, `troupe-i${process.pid}`];
const HERE = '10.214.1.1';

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

function connect(outside: readonly string[], inside: readonly string[], number: number): void {
  const [near, far] = [`trp${process.pid}${number}o`, `trp${process.pid}${number}i`];
  ip('link', 'add', near, 'type', 'veth', 'peer', 'name', far);
  ip('link', 'set', far, 'netns', inside[1]);
  if (outside.length > 0) ip('link', 'set', near, 'netns', outside[1]);
  ip(...outside, 'addr', 'add', `10.214.${number}.1/24`, 'dev', near);
  ip(...outside, 'link', 'set', near, 'up');
  ip(...inside, 'addr', 'add', `10.214.${number}.2/24`, 'dev', far);
  ip(...inside, 'link', 'set', far, 'up');
}

function removeNetworks(): void {
  for (const name of [ROUTER, INSIDE]) spawnSync('ip', ['netns', 'delete', name]);
}

/** @returns whether this process may make networks */
function makeNetworks(): boolean {
  try {
    for (const name of [ROUTER, INSIDE]) ip('netns', 'add', name);
    connect([], ['-n', ROUTER], 1);
    connect(['-n', ROUTER], ['-n', INSIDE], 2);
    ip('-n', INSIDE, 'link', 'set', 'lo', 'up');
    ip('-n', INSIDE, 'route', 'add', 'default', 'via', '10.214.2.1');
    ip('route', 'add', '10.214.2.0/24', 'via', '10.214.1.2');
    ip('netns', 'exec', ROUTER, 'sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward');
    ip('-n', ROUTER, 'rule', 'add', 'ipproto', 'udp', 'blackhole');
    return true;
  } catch {
    removeNetworks();
    return false;
  }
}

const networks = lacking.length === 0 && makeNetworks();
removeNetworks();
const lackingNetworks = networks ? [] : lacking.length > 0 ? lacking : ['root and ip netns'];

describe.skipIf(lacking.length > 0)(`the way to other workers${skipped(lacking)}`, () => {
  let relay: Coturn;
  const ports: Record<string, number> = {};
  beforeAll(async () => {
    if (networks) expect(makeNetworks()).toBe(true);
    const host = networks ? HERE : '127.0.0.1';
    relay = await startCoturn({ folder, secret: SECRET, listen: host, relay: host });
    const servers = `stun:${host}:${relay.port},turn:${host}:${relay.port}`;
    const begin = async (name: string, secret: string): Promise<void> => {
      [, ports[name]] = await startCoordinator(name, { servers, secret });
    };
    await Promise.all([begin('right', SECRET), begin('wrong', 'another secret')]);
  });
  afterAll(async () => {
    await relay.stop();
    removeNetworks();
  });

  it('is open, with a relay', async () => {
    const report = await doctor(`ws://127.0.0.1:${ports.right}`);
    expect(report).toMatchObject({ code: 0, verdict: { canJoin: true, direct: 'relayed' } });
    expect(new Set(Object.values(levels(report)))).toEqual(new Set(['ok']));
    expect(report.findings.at(-1)!.text).toMatch(/it sees this machine as \S+:\d+; it relays from \S+:\d+$/);
  });

  it('is open without a relay when coordinator and coturn have different secrets, which the organizer is told', async () => {
    const report = await doctor(`ws://127.0.0.1:${ports.wrong}`);
    expect(report).toMatchObject({
      code: 0,
      verdict: { direct: 'direct', remedy: expect.stringContaining('TROUPE_TURN_SECRET') },
    });
    expect(report.findings.at(-1)).toMatchObject({
      level: 'limit',
      text: expect.stringContaining('refuses the credentials (401)'),
    });
  });

  it.skipIf(!networks)(
    `is closed where the network blocks UDP, and a worker could join all the same${skipped(lackingNetworks)}`,
    async () => {
      const cli = path.join(root, 'apps/cli/bin/troupe.mjs');
      const args = [
        'netns',
        'exec',
        INSIDE,
        process.execPath,
        cli,
        'doctor',
        '--network',
        `ws://${HERE}:${ports.right}`,
        '--json',
      ];
      const child = spawn('ip', args, {
        cwd: folder,
        env: { ...process.env, TROUPE_TOKEN: TOKEN },
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let text = '';
      child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
      const code = await new Promise((resolve) => child.on('close', resolve));
      const { verdict, findings } = JSON.parse(text) as Report;
      expect(code).toBe(0);
      expect(verdict).toMatchObject({ canJoin: true, direct: 'udpBlocked', remedy: expect.stringContaining('turn:HOST:443') });
      expect(verdict.text).toMatch(/UDP does not pass between this machine and 10\.214\.1\.1.*nothing is lost/);
      expect(findings.at(-1)).toMatchObject({ level: 'limit', text: 'does not answer; over TCP it answers' });
    },
  );
});

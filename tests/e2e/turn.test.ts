/** WebRTC through the real coturn with the published settings, within this machine and between networks that reach only the relay. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { hmacSha1 } from '@troupe/collective/node';
import { turnCredentials, type IceServer } from '@troupe/transport/webrtc';
import { findNodeRtc } from '@troupe/transport/webrtc-node';
import { hasCoturn, HOW_TO_GET_COTURN, startCoturn, type Coturn, type CoturnOptions } from './coturn.js';
import { root, scratch } from './troupe.js';

const SECRET = 'a-secret-of-the-relay';
const [TEN_MINUTES, NOW] = [600, Date.now()];

/** An address of this machine that is not loopback, to which the server relays nothing. */
const own = Object.values(os.networkInterfaces())
  .flatMap((addresses) => addresses ?? [])
  .find(({ family, internal }) => family === 'IPv4' && !internal)?.address;

const rtc = await findNodeRtc();
rtc?.close();

let folder = '';
const servers: Coturn[] = [];
beforeAll(async () => {
  folder = await scratch();
});
afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop();
});
afterAll(() => fs.rm(folder, { recursive: true, force: true }));

async function start(options: Pick<CoturnOptions, 'listen' | 'relay' | 'lines'>): Promise<Coturn> {
  const server = await startCoturn({ folder, secret: SECRET, ...options });
  servers.push(server);
  return server;
}

interface Result {
  readonly digest?: string;
  readonly closed?: unknown;
  readonly code?: string;
  readonly message?: string;
  readonly remedy?: string;
}

interface End {
  readonly options: {
    readonly iceServers: readonly IceServer[];
    readonly iceTransportPolicy?: 'relay';
    readonly connectTimeoutMs?: number;
  };
  /** The network namespace to run in. */
  readonly namespace?: string;
}

/** Opens a link between two processes. @returns what becomes of it at both ends, and the candidates of both */
async function connect(near: End, far: End): Promise<{ readonly results: Result[]; readonly candidates: string[] }> {
  const candidates: string[] = [];
  const script = path.join(root, 'tests/e2e/rtc-peer.mjs');
  const children = [near, far].map(({ namespace }) => {
    const command = [...(namespace === undefined ? [] : ['ip', 'netns', 'exec', namespace]), process.execPath, script];
    return spawn(command[0], command.slice(1), { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  });
  const results = children.map(
    (child, i) =>
      new Promise<Result>((resolve, reject) => {
        const other = children[1 - i];
        child.on('message', ({ signal, result }: { signal?: { candidate?: string }; result?: Result }) => {
          if (signal?.candidate !== undefined) candidates.push(signal.candidate);
          if (signal && other.connected) other.send({ ...signal });
          if (result) resolve(result);
        });
        child.on('error', reject);
        child.on('exit', () => reject(new Error('an end of the link ended early')));
      }),
  );
  children[0].send({ role: 'offer', options: near.options });
  children[1].send({ role: 'answer', options: far.options });
  try {
    return { results: await Promise.all(results), candidates };
  } finally {
    for (const child of children) child.kill('SIGKILL');
  }
}

const relayed = { digest: expect.stringMatching(/^[0-9a-f]{64}$/), closed: { kind: 'clean', reason: 'done' } };
const absent = [...(rtc ? [] : ['npm install node-datachannel']), ...(hasCoturn ? [] : [HOW_TO_GET_COTURN])];

function serversAt(host: string, port: number, { secret = SECRET, nowMs = NOW } = {}): IceServer[] {
  const credentials = turnCredentials({ secret, user: 'worker-3', ttlS: TEN_MINUTES, nowMs }, hmacSha1);
  return [{ urls: `turn:${host}:${port}?transport=udp`, ...credentials }];
}

const skipped = own === undefined ? [...absent, 'a network interface'] : absent;

describe.skipIf(skipped.length > 0)(
  `WebRTC through coturn${skipped.length > 0 ? ` (SKIPPED: needs ${skipped.join(', ')})` : ''}`,
  () => {
    const through = async (credentials: { secret?: string; nowMs?: number } = {}) => {
      const server = await start({ listen: own!, relay: own!, lines: [`allowed-peer-ip=${own}`] });
      const end: End = { options: { iceServers: serversAt(own!, server.port, credentials), iceTransportPolicy: 'relay' } };
      return connect(end, end);
    };

    it('carries data when both ends allow no other path', async () => {
      const { results, candidates } = await through();
      expect(results).toEqual([relayed, relayed]);
      expect(results[0].digest).toBe(results[1].digest);
      expect(candidates.length).toBeGreaterThanOrEqual(2);
      expect(candidates.filter((candidate) => !candidate.includes(' typ relay'))).toEqual([]);
    });

    it.each([
      ['of another secret', { secret: 'another' }],
      ['that have expired', { nowMs: NOW - 2 * TEN_MINUTES * 1000 }],
    ])('says so when the server refuses credentials %s', async (_, credentials) => {
      const refused = {
        code: 'unreachable',
        message: expect.stringMatching(/no TURN server gave this machine an address.*credentials/),
        remedy: expect.stringMatching(/secret and agreeing clocks/),
      };
      expect((await through(credentials)).results).toEqual([refused, refused]);
    });
  },
);

/** A public address, as the settings see it (RFC 5737). */
const PUBLIC = '203.0.113.213';
/** Two networks that reach this machine and, because it forwards nothing, not each other. */
const NETWORKS = [1, 2].map((i) => ({ name: `troupe-${process.pid}-${i}`, here: `10.213.${i}.1`, there: `10.213.${i}.2` }));

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

function removeNetworks(): void {
  for (const { name } of NETWORKS) spawnSync('ip', ['netns', 'delete', name]);
}

/** @returns whether this process may make networks */
function makeNetworks(): boolean {
  try {
    for (const [i, { name, here, there }] of NETWORKS.entries()) {
      const [outside, inside] = [`troupe${i}out`, `troupe${i}in`];
      ip('netns', 'add', name);
      ip('link', 'add', outside, 'type', 'veth', 'peer', 'name', inside);
      ip('link', 'set', inside, 'netns', name);
      ip('addr', 'add', `${here}/24`, 'dev', outside);
      ip('link', 'set', outside, 'up');
      ip('-n', name, 'addr', 'add', `${there}/24`, 'dev', inside);
      ip('-n', name, 'link', 'set', inside, 'up');
      ip('-n', name, 'link', 'set', 'lo', 'up');
      ip('-n', name, 'route', 'add', 'default', 'via', here);
    }
    ip('addr', 'add', `${PUBLIC}/32`, 'dev', 'troupe0out');
    return true;
  } catch {
    removeNetworks();
    return false;
  }
}

const networks = absent.length === 0 && makeNetworks();
removeNetworks();
const lacking = networks ? '' : ` (SKIPPED: needs ${(absent.length > 0 ? absent : ['root and ip netns']).join(', ')})`;

describe.skipIf(!networks)(`WebRTC between networks that reach only the relay${lacking}`, () => {
  beforeAll(() => expect(makeNetworks()).toBe(true));
  afterAll(removeNetworks);
  const [near, far] = NETWORKS;
  const between = (nearServers: IceServer[], farServers: IceServer[]) => {
    const end = (namespace: string, iceServers: IceServer[]): End => ({
      namespace,
      options: { iceServers, connectTimeoutMs: 12_000 },
    });
    return connect(end(near.name, nearServers), end(far.name, farServers));
  };

  it('finds no path without a relay, and says what the organizer can do', async () => {
    const blocked = {
      code: 'unreachable',
      message: expect.stringMatching(/blocks UDP/),
      remedy: expect.stringMatching(/TURN server/),
    };
    expect((await between([], [])).results).toEqual([blocked, blocked].map((error) => expect.objectContaining(error)));
  });

  const denied = { code: 'unreachable', message: expect.anything(), remedy: expect.stringMatching(/denied-peer-ip/) };
  it.each([
    ['passes through a relay with a public address and the published settings', PUBLIC, [], relayed],
    ['does not pass through one with a private address, which the published settings deny', near.here, [], denied],
    ['passes through one with a private address that the settings allow', near.here, [`allowed-peer-ip=${near.here}`], relayed],
  ])('%s', async (_, relay, lines, expected) => {
    const server = await start({ listen: '0.0.0.0', relay, lines });
    const { results } = await between(serversAt(near.here, server.port), serversAt(far.here, server.port));
    expect(results).toEqual([expected, expected]);
  });
});

/** The proxies for which deploy/proxy has settings, if installed, in front of a coordinator. */
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import fs from 'node:fs/promises';
import type { IncomingHttpHeaders } from 'node:http';
import { request } from 'node:https';
import { createServer, type AddressInfo } from 'node:net';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { at, end, named, root, scratch, SMALL, start, type Running } from './troupe.js';

const [TOKEN, ADMIN] = ['a-token-of-workers', 'a-token-of-admins'];

interface Proxy {
  readonly program: string;
  readonly settings: string;
  /**
   * @param text the published settings, for the name localhost; returns the text of a file for
   * `folder` and `port`
   */
  adapt(text: string, folder: string, port: number, unused: number): string;
  readonly args: readonly string[];
}

const PROXIES: readonly Proxy[] = [
  {
    program: 'nginx',
    settings: 'nginx.conf',
    adapt: (text, folder, port, unused) => {
      const places = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`);
      const server = text
        .replace('listen 80;', `listen 127.0.0.1:${unused};`)
        .replace('listen 443 ssl;', `listen 127.0.0.1:${port} ssl;`)
        .replace(/ssl_certificate .*/, `ssl_certificate ${folder}/proxy.pem;`)
        .replace(/ssl_certificate_key .*/, `ssl_certificate_key ${folder}/proxy.key;`);
      return `pid ${folder}/pid; daemon off; error_log stderr;\nevents {}\nhttp { access_log off; ${places.join(' ')}\n${server}\n}\n`;
    },
    args: ['-e', 'stderr', '-c'],
  },
  {
    program: 'caddy',
    settings: 'Caddyfile',
    adapt: (text, folder, port) =>
      `{\n\tadmin off\n\tauto_https disable_redirects\n}\n${text.replace(
        'localhost {',
        `https://localhost:${port} {\n\tbind 127.0.0.1\n\ttls ${folder}/proxy.pem ${folder}/proxy.key`,
      )}`,
    args: ['run', '--adapter', 'caddyfile', '--config'],
  },
];

let cwd = '';
const started: Running[] = [];
const proxies: ChildProcess[] = [];

beforeAll(async () => {
  cwd = await scratch();
});
afterEach(async () => {
  await Promise.all(started.splice(0).map(end));
  for (const proxy of proxies.splice(0)) proxy.kill();
});
afterAll(() => fs.rm(cwd, { recursive: true, force: true }));

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

async function ask(port: number, where: string, headers: Record<string, string> = {}, body?: unknown): Promise<Answer> {
  const ca = await fs.readFile(path.join(cwd, 'proxy.pem'));
  return new Promise((resolve, reject) => {
    const options = { host: 'localhost', port, path: where, ca, method: body === undefined ? 'GET' : 'POST', family: 4 };
    const json = body === undefined ? {} : { 'content-type': 'application/json' };
    const sent = request({ ...options, headers: { ...json, ...headers } }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString()));
      response.on('end', () => resolve({ status: response.statusCode!, headers: response.headers, text }));
      response.on('error', reject);
    });
    sent.on('error', reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

function launch(args: readonly string[], env: Record<string, string>): Running {
  const running = start(args, { cwd, env });
  started.push(running);
  return running;
}

/** @returns the coordinator, and the port of the proxy in front of it */
async function open({ program, settings, adapt, args }: Proxy, prefix: string): Promise<{ coordinator: Running; port: number }> {
  const out = `${program}${prefix.replace('/', '-')}`;
  const flags = ['--port', '0', '--rounds', '1000000', '--out', out, '--json', '--behind-proxy', '--allow-host', 'localhost'];
  if (prefix !== '') flags.push('--path-prefix', prefix);
  const coordinator = launch(['coordinator', ...SMALL, ...flags], { TROUPE_TOKEN: TOKEN, TROUPE_ADMIN_TOKEN: ADMIN });
  const { address } = await coordinator.line(named('listening'));
  const names = ['-subj', '/CN=a test', '-addext', 'subjectAltName=DNS:localhost', '-keyout', `${cwd}/proxy.key`];
  const kind = ['-nodes', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-days', '2'];
  execFileSync('openssl', ['req', '-x509', ...kind, ...names, '-out', `${cwd}/proxy.pem`], { stdio: 'ignore' });
  const given = await fs.readFile(path.join(root, 'deploy/proxy', settings), 'utf8');
  const text = under(given, prefix)
    .replaceAll('train.example.org', 'localhost')
    .replaceAll('127.0.0.1:7070', new URL(address as string).host);
  const [port, unused] = [await freePort(), await freePort()];
  const file = path.join(cwd, settings);
  await fs.writeFile(file, adapt(text, cwd, port, unused));
  let complaints = '';
  const proxy = spawn(program, [...args, file], { env: { ...process.env, HOME: cwd }, stdio: ['ignore', 'ignore', 'pipe'] });
  proxy.stderr.on('data', (chunk: Buffer) => (complaints += chunk.toString()));
  proxies.push(proxy);
  await expect
    .poll(
      () =>
        ask(port, `${prefix}/healthz`).then(
          ({ status }) => status,
          () => complaints,
        ),
      { timeout: 15_000 },
    )
    .toBe(200);
  return { coordinator, port };
}

/** Makes the change that the comment of the settings describes. */
function under(settings: string, prefix: string): string {
  if (prefix === '') return settings;
  const line = /write "(.* \{)"/.exec(settings)![1];
  expect(line).toContain(prefix);
  const [directive] = line.split(' ');
  return settings.replace(new RegExp(`^(\\s*)${directive} .*\\{$`, 'm'), `$1${line}`);
}

const isHere = (program: string): boolean => spawnSync(program, ['-h']).error === undefined;

describe.each(PROXIES)('behind $program', (proxy) => {
  const missing = [proxy.program, 'openssl'].filter((program) => !isHere(program));
  if (missing.length > 0) {
    it.skip(`SKIPPED, not installed: ${missing.join(', ')}`, () => undefined);
    return;
  }

  it.each([
    ['at the root', ''],
    ['under a path', '/troupe'],
  ])('%s, workers join with their own addresses; pages, texts and limits are those of the coordinator', async (_, prefix) => {
    const { coordinator, port } = await open(proxy, prefix);
    const flags = ['--token', TOKEN, '--name', 'far', '--engine', 'wasm'];
    launch(['worker', `wss://localhost:${port}${prefix && `${prefix}/control`}`, ...flags], {
      NODE_EXTRA_CA_CERTS: path.join(cwd, 'proxy.pem'),
    });
    const joined = await coordinator.line((line) => line.event === 'worker' && line.change === 'joined');
    expect(joined.reason).toBe('from 127.0.0.1');
    await coordinator.line(at(20));

    const page = await ask(port, `${prefix}/join/`);
    expect(page.headers).toMatchObject({
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-embedder-policy': 'require-corp',
    });
    const asAdmin = { authorization: `Bearer ${ADMIN}`, origin: `https://localhost:${port}` };
    const claims = { 'x-forwarded-for': '9.9.9.9', 'x-forwarded-proto': 'http', 'x-forwarded-host': 'evil.example' };
    const { joinLink } = JSON.parse((await ask(port, `${prefix}/api/run`, { ...asAdmin, ...claims })).text) as {
      joinLink: string;
    };
    expect(joinLink).toBe(`https://localhost:${port}${prefix}/join/#token=${TOKEN}`);
    const written = await ask(port, `${prefix}/api/sample`, asAdmin, { prime: 'Shall I', length: 200 });
    expect(written.headers['content-type']).toContain('text/event-stream');
    expect(written.text.match(/^data: /gm)!.length).toBeGreaterThan(1);
    expect((await ask(port, `${prefix}/api/control`, asAdmin, { action: 'kick', workerId: 'x'.repeat(20_000) })).status).toBe(
      413,
    );
  });
});

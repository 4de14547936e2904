/**
 * A coordinator with a certificate; browsers and workers reach it by a name other than localhost,
 * as from another machine.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs/promises';
import path from 'node:path';
import { connect } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Tab } from './chromium.js';
import { setStage, startHelping, TOKEN, type Run } from './stage.js';
import { at, end, named, root, run as runToEnd, scratch, SMALL, start, type Line, type Running } from './troupe.js';

const NAME = 'lab.example';
const stage = setStage('volunteer', ['--ignore-certificate-errors', `--host-resolver-rules=MAP ${NAME} 127.0.0.1`]);
const able = spawnSync('openssl', ['version']).status === 0;
if (!able) it.skip('https: SKIPPED, openssl is missing: apt install openssl', () => undefined);

interface Pair {
  readonly cert: string;
  readonly key: string;
}

let cwd = '';
let lab: Pair;
const started: Running[] = [];

beforeAll(async () => {
  cwd = await scratch();
  if (able) lab = makeCertificate('lab', `DNS:${NAME},IP:127.0.0.1`);
});
afterEach(() => Promise.all(started.splice(0).map(end)));
afterAll(() => fs.rm(cwd, { recursive: true, force: true }));

/** Self-signed. */
function makeCertificate(name: string, names: string): Pair {
  const pair = { cert: path.join(cwd, `${name}.pem`), key: path.join(cwd, `${name}.key`) };
  const kind = ['-nodes', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-days', '2'];
  const what = ['-subj', '/CN=a test', '-addext', `subjectAltName=${names}`, '-keyout', pair.key, '-out', pair.cert];
  execFileSync('openssl', ['req', '-x509', ...kind, ...what], { stdio: 'ignore' });
  return pair;
}

const flagsOf = ({ cert, key }: Pair): string[] => ['--tls-cert', cert, '--tls-key', key];

function work(address: string, env: Record<string, string> = {}, ...more: readonly string[]): Running {
  const flags = ['--token', TOKEN, '--name', 'far', '--engine', 'wasm', '--json', ...more];
  const worker = start(['worker', address, ...flags], { cwd, env });
  started.push(worker);
  return worker;
}

/** Features that a browser grants only to secure pages. */
interface Privileges {
  readonly secure: boolean;
  readonly isolated: boolean;
  readonly sharedMemory: boolean;
  readonly wakeLock: boolean;
}

async function privileges(tab: Tab): Promise<Privileges> {
  return tab.evaluate<Privileges>(`({ secure: isSecureContext, isolated: crossOriginIsolated,
    sharedMemory: typeof SharedArrayBuffer === 'function', wakeLock: 'wakeLock' in navigator })`);
}

async function contribute(tab: Tab, { running }: Run): Promise<string> {
  await startHelping(tab);
  await running.line(at(5));
  await tab.until(`document.querySelector('#state').textContent.startsWith('Computing')`);
  return tab.text('#engine-name');
}

describe.skipIf(stage.missing !== undefined || !able)('a browser on another machine', () => {
  it('has over https the features of secure pages, and contributes with several cores', async () => {
    const run = await stage.coordinate('browser', ...flagsOf(lab));
    const listening = await run.running.line(named('listening'));
    expect(listening.address).toBe(`wss://${run.host}`);
    const tab = await stage.visit(`https://${NAME}:${run.port}/join/#token=${TOKEN}&engine=wasm-threads`);
    expect(await privileges(tab)).toEqual({ secure: true, isolated: true, sharedMemory: true, wakeLock: true });
    const cores = await tab.evaluate<number>('navigator.hardwareConcurrency');
    expect(await contribute(tab, run)).toContain(cores > 1 ? 'several CPU cores' : 'one CPU core');
    expect(tab.complaints.filter((text) => /Security Policy|Mixed Content|exception/i.test(text))).toEqual([]);
  });

  it('has none of them over http, and still contributes with one core', async () => {
    const run = await stage.coordinate('plain', '--allow-host', NAME);
    const tab = await stage.visit(`http://${NAME}:${run.port}/join/#token=${TOKEN}`);
    expect(await privileges(tab)).toEqual({ secure: false, isolated: false, sharedMemory: false, wakeLock: false });
    expect(await contribute(tab, run)).toContain('one CPU core');
  });

  it('is accepted under the names of the certificate, and under no other', async () => {
    const run = await stage.coordinate('names', ...flagsOf(makeCertificate('other', 'DNS:other.example')));
    const tab = await stage.visit(`https://${NAME}:${run.port}/join/`);
    expect(await tab.evaluate('document.body.innerText')).toContain('not a host name of this coordinator');
  });
});

describe.skipIf(!able)('a coordinator with a certificate', () => {
  /** Flags of a run that does not end by itself. */
  async function coordinate(
    out: string,
    pair: Pair,
    ...more: readonly string[]
  ): Promise<{ running: Running; listening: Line; address: string; port: number }> {
    const flags = ['--port', '0', '--rounds', '1000000', '--token', TOKEN, '--out', out, '--json', ...flagsOf(pair), ...more];
    const running = start(['coordinator', ...SMALL, ...flags], { cwd });
    started.push(running);
    const listening = await running.line(named('listening'));
    const address = listening.address as string;
    return { running, listening, address, port: Number(new URL(address).port) };
  }

  it('prints links and a command that lead to it safely', async () => {
    const { listening, port } = await coordinate('links', lab);
    expect(listening).toMatchObject({
      address: `wss://127.0.0.1:${port}`,
      volunteer: expect.stringMatching(new RegExp(`^https://127\\.0\\.0\\.1:${port}/join/#token=.{12,}$`)),
      joinCommand: `TROUPE_TOKEN=${TOKEN} npm run troupe -- worker wss://127.0.0.1:${port}`,
    });
    expect(listening).not.toHaveProperty('localAddress');
    expect(listening.dashboard).toMatch(`https://127.0.0.1:${port}/#admin=`);
  });

  it('accepts a worker that trusts it; a worker that does not trust it says what to do', async () => {
    const { running, address } = await coordinate('worker', lab);
    const stranger = work(address);
    const lost = await stranger.line(({ kind }) => kind === 'lost');
    expect(lost.reason).toMatch(/no secure connection .* self-signed/);
    expect(lost.remedy).toContain('NODE_EXTRA_CA_CERTS=FILE');
    expect(running.lines.filter(named('worker'))).toEqual([]);
    work(address, { NODE_EXTRA_CA_CERTS: lab.cert });
    await running.line(at(5));
  });

  it('lets workers sum for each other over links with a certificate', async () => {
    const { running, address } = await coordinate('peers', lab, '--topology', 'peers');
    const listen = ['--listen', '127.0.0.1:0', ...flagsOf(lab)];
    for (let k = 0; k < 2; k++) work(address, { NODE_EXTRA_CA_CERTS: lab.cert }, ...listen);
    const chosen = await running.line((line) => JSON.stringify(line).includes('"topology"'));
    expect(chosen.text).toBe('far, far sum the gradients, each a part of the parameters');
    const { length } = running.lines.filter(named('round'));
    await running.line(at(length + 5));
  });

  it('serves a renewed certificate without a restart, and continues', async () => {
    const pair = makeCertificate('renewed', `DNS:${NAME},IP:127.0.0.1`);
    const { running, port } = await coordinate('renewal', pair);
    const shown = (): Promise<string> =>
      new Promise((resolve, reject) => {
        const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false }, () => {
          resolve(socket.getPeerCertificate().fingerprint256);
          socket.destroy();
        });
        socket.on('error', reject);
      });
    const before = await shown();
    await fs.writeFile(pair.cert, 'half a certificate');
    const broken = await running.line((line) => /previous certificate stays in use/.test(String(line.text)));
    expect(broken.remedy).toMatch(/BEGIN CERTIFICATE/);
    expect(await shown()).toBe(before);
    makeCertificate('renewed', `DNS:${NAME},IP:127.0.0.1`);
    await running.line((line) => /certificate was renewed/.test(String(line.text)));
    expect(await shown()).not.toBe(before);
  });

  it('trains with its own workers, whatever name the certificate has', async () => {
    const foreign = makeCertificate('foreign', 'DNS:somewhere.else.example');
    const flags = ['--rounds', '10', '--workers', '1', '--engine', 'wasm', '--out', 'train', '--json', ...flagsOf(foreign)];
    const { code, stdout } = await runToEnd(['train', ...SMALL, ...flags], { cwd });
    expect(stdout).toMatch(/"localAddress":"ws:\/\/127\.0\.0\.1:\d+"/);
    expect(stdout).toContain('"reason":"completed"');
    expect(code).toBe(0);
  });

  it.each([
    ['a file is missing', ['--tls-cert', 'nowhere.pem', '--tls-key', 'nowhere.key'], 'no_certificate', /path/],
    ['it is none', ['--tls-cert', path.join(root, 'package.json'), '--tls-key', 'KEY'], 'bad_certificate', /PEM/],
    ['the key is of another', ['--tls-cert', 'CERT', '--tls-key', 'OTHER'], 'key_mismatch', /created together/],
    ['one is given alone', ['--tls-cert', 'CERT'], 'bad_flag', /--tls-key FILE/],
  ])('does not start when %s, and says what to do', async (_, flags, code, remedy) => {
    const files: Record<string, string> = { CERT: lab.cert, KEY: lab.key, OTHER: makeCertificate('strange', 'DNS:x').key };
    const args = flags.map((flag) => files[flag] ?? flag);
    const exit = await runToEnd(['coordinator', '--port', '0', '--json', '--out', 'refused', ...args], { cwd });
    expect(exit.code).toBe(2);
    const error = JSON.parse(exit.stdout) as Line;
    expect(error).toMatchObject({ event: 'error', code, remedy: expect.stringMatching(remedy) });
  });
});

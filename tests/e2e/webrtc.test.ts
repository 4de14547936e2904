/** The WebRTC transport in a real Chromium: with Node at the other end, and between two pages. */
import fs from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { build } from 'esbuild';
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { hmacSha1 } from '@troupe/collective/node';
import { answerRtc, offerRtc, turnCredentials, type Signalling } from '@troupe/transport/webrtc';
import { findNodeRtc } from '@troupe/transport/webrtc-node';
import { findChromium, HOW_TO_GET_ONE, openChromium, type Chromium, type Tab } from './chromium.js';
import { hasCoturn, HOW_TO_GET_COTURN, startCoturn } from './coturn.js';
import { root, scratch } from './troupe.js';
import { makeBytes, receiveDigest, sendBytes } from './webrtc-page.js';

const BYTES = 8 * 1024 * 1024;
const [SEED, OTHER_SEED] = [1, 2];
/** Of the bytes of each seed. */
const DIGEST: string[] = [];
const executable = findChromium();
const rtc = await findNodeRtc();

let server: Server;
let chromium: Chromium;
let origin = '';
const bridges = new AbortController();
const failures: string[] = [];

async function bundle(): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [path.join(root, 'tests/e2e/webrtc-page.ts')],
    bundle: true,
    write: false,
    format: 'esm',
    conditions: ['@troupe/source'],
  });
  return outputFiles[0].text;
}

beforeAll(async () => {
  if (executable === undefined) return;
  for (const seed of [SEED, OTHER_SEED]) {
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', makeBytes(seed, BYTES)));
    DIGEST[seed] = Buffer.from(digest).toString('hex');
  }
  const script = await bundle();
  server = createServer(({ url }, response) => {
    const [type, body] =
      url === '/page.js' ? ['text/javascript', script] : ['text/html', '<script type="module" src="/page.js"></script>'];
    response.writeHead(200, { 'content-type': type }).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  chromium = await openChromium(executable);
});
afterAll(async () => {
  bridges.abort();
  await chromium?.close();
  server?.close();
  rtc?.close();
});

afterEach(() => expect(failures).toEqual([]));

async function openPage(): Promise<Tab> {
  const tab = await chromium.tab(origin);
  await tab.until('globalThis.page !== undefined');
  return tab;
}

const call = <T>(tab: Tab, method: string, ...args: unknown[]): Promise<T> =>
  tab.evaluate<T>(`page.${method}(${args.map((arg) => JSON.stringify(arg)).join(', ')})`);

/** Carries signals from a page until the tests are over. */
async function carry(tab: Tab, name: string, deliver: (signal: unknown) => unknown, ask = call): Promise<void> {
  while (!bridges.signal.aborted) {
    for (const signal of await ask<unknown[]>(tab, 'take', name)) await deliver(signal);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
/** A bridge ends with its page; a failure before that is one of the test. */
const begin = (bridge: Promise<void>): void => {
  bridge.catch((error: Error) => {
    if (!/Target|Session|ended/.test(error.message)) failures.push(error.message);
  });
};

/** The signalling of a link between Node and a page. */
function signallingWith(tab: Tab, name: string): Signalling {
  const waiting: unknown[] = [];
  begin(carry(tab, name, (signal) => waiting.push(signal)));
  return {
    send: (signal) => begin(call(tab, 'give', name, signal)),
    async receive(abort) {
      while (waiting.length === 0) {
        abort.throwIfAborted();
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      return waiting.shift();
    },
  };
}

const missing = executable === undefined ? HOW_TO_GET_ONE : undefined;

describe.skipIf(missing)(`a WebRTC link between two pages${missing ? ` (SKIPPED: ${missing})` : ''}`, () => {
  it('carries 8 MB each way, restarts ICE on the way, and is closed with a reason', async () => {
    const [near, far] = [await openPage(), await openPage()];
    await call(near, 'open', 'a', 'offer');
    await call(far, 'open', 'a', 'answer');
    begin(carry(near, 'a', (signal) => call(far, 'give', 'a', signal)));
    begin(carry(far, 'a', (signal) => call(near, 'give', 'a', signal)));
    expect(await call(near, 'remote', 'a')).toBe('webrtc:other');
    const exchange = () => Promise.all([call(near, 'exchange', 'a', SEED, BYTES), call(far, 'exchange', 'a', OTHER_SEED, BYTES)]);
    expect(await exchange()).toEqual([DIGEST[OTHER_SEED], DIGEST[SEED]]);
    const before = await userFragment(near);
    const during = exchange();
    await call(near, 'breakPath', 'a');
    expect(await during).toEqual([DIGEST[OTHER_SEED], DIGEST[SEED]]);
    await near.until(`page.links.get('a').peer.signalingState === 'stable'`);
    expect(await userFragment(near)).not.toBe(before);
    await call(near, 'close', 'a', 'done');
    expect(await call(far, 'closed', 'a')).toEqual({ kind: 'clean', reason: 'done' });
    expect(near.complaints).toEqual([]);
  });
});

describe.skipIf(missing)(`a link between the Web Workers of two pages${missing ? ` (SKIPPED: ${missing})` : ''}`, () => {
  it('carries 8 MB each way, and ends with its page', async () => {
    const tabs = [await openPage(), await openPage()];
    const inWorker = <T>(tab: Tab, method: string, ...args: unknown[]) => call<T>(tab, 'inWorker', method, ...args);
    const [near, far] = tabs;
    for (const [tab, role] of [[near, 'offer'] as const, [far, 'answer'] as const]) {
      await call(tab, 'startWorker');
      await inWorker(tab, 'open', 'a', role);
    }
    begin(carry(near, 'a', (signal) => inWorker(far, 'give', 'a', signal), inWorker));
    begin(carry(far, 'a', (signal) => inWorker(near, 'give', 'a', signal), inWorker));
    const exchanged = [inWorker(near, 'exchange', 'a', SEED, BYTES), inWorker(far, 'exchange', 'a', OTHER_SEED, BYTES)];
    expect(await Promise.all(exchanged)).toEqual([DIGEST[OTHER_SEED], DIGEST[SEED]]);
    expect(await inWorker(near, 'remote', 'a')).toBe('webrtc:other');
    const closed = inWorker(far, 'closed', 'a');
    await call(near, 'endWorker', 'the volunteer paused');
    expect(await closed).toEqual({ kind: 'clean', reason: 'the volunteer paused' });
    expect(tabs.flatMap(({ complaints }) => complaints)).toEqual([]);
  });
});

/** Changes with a restart of ICE. */
const userFragment = (tab: Tab): Promise<string> =>
  tab.evaluate(`/a=ice-ufrag:(\\S+)/.exec(page.links.get('a').peer.remoteDescription.sdp)[1]`);

const absent = missing ?? (rtc ? undefined : 'the package node-datachannel is not installed');

describe.skipIf(absent)(`a WebRTC link between Node and a page${absent ? ` (SKIPPED: ${absent})` : ''}`, () => {
  it.each(['offer', 'answer'] as const)('on which the page makes the %s carries 8 MB each way', async (role) => {
    const tab = await openPage();
    await call(tab, 'open', role, role);
    const signalling = signallingWith(tab, role);
    const open = role === 'offer' ? answerRtc : offerRtc;
    const link = await open({ rtc: rtc!, signalling, remote: 'page' });
    const [theirs, ours] = await Promise.all([
      call(tab, 'exchange', role, SEED, BYTES),
      receiveDigest(link, BYTES),
      sendBytes(link, makeBytes(OTHER_SEED, BYTES)),
    ]);
    expect([theirs, ours]).toEqual([DIGEST[OTHER_SEED], DIGEST[SEED]]);
    link.close('done');
    expect(await call(tab, 'closed', role)).toEqual({ kind: 'clean', reason: 'done' });
    expect(await link.closed).toEqual({ kind: 'clean', reason: 'done' });
  });

  it('is lost after some silence when the page is gone', async () => {
    const tab = await openPage();
    const options = { silenceMs: 2_000 };
    await call(tab, 'open', 'c', 'offer', options);
    const link = await answerRtc({ rtc: rtc!, signalling: signallingWith(tab, 'c'), remote: 'page', ...options });
    expect(await call(tab, 'remote', 'c')).toBe('webrtc:other');
    await tab.close();
    expect(await link.closed).toMatchObject({ kind: 'lost' });
  });
});

const own = Object.values(os.networkInterfaces())
  .flatMap((addresses) => addresses ?? [])
  .find(({ family, internal }) => family === 'IPv4' && !internal)?.address;
const without = missing ?? (!hasCoturn ? HOW_TO_GET_COTURN : own === undefined ? 'a network interface' : undefined);

describe.skipIf(without)(`a page and a TURN server${without ? ` (SKIPPED: ${without})` : ''}`, () => {
  it('connects through it, and names it when it refuses the credentials', async () => {
    const folder = await scratch();
    const server = await startCoturn({ folder, secret: 'right', listen: own!, relay: own!, lines: [`allowed-peer-ip=${own}`] });
    onTestFinished(async () => {
      await server.stop();
      await fs.rm(folder, { recursive: true, force: true });
    });
    const urls = `turn:${own}:${server.port}`;
    const optionsWith = (secret: string) => ({
      iceServers: [{ urls, ...turnCredentials({ secret, user: 'w', nowMs: Date.now() }, hmacSha1) }],
      iceTransportPolicy: 'relay',
    });
    const tab = await openPage();
    await call(tab, 'open', 'wrong', 'offer', optionsWith('wrong'));
    await expect(call(tab, 'remote', 'wrong')).rejects.toThrow(`the TURN server ${urls}?transport=udp refuses the credentials`);
    for (const role of ['offer', 'answer']) await call(tab, 'open', role, role, optionsWith('right'));
    begin(carry(tab, 'offer', (signal) => call(tab, 'give', 'answer', signal)));
    begin(carry(tab, 'answer', (signal) => call(tab, 'give', 'offer', signal)));
    const bytes = 256 * 1024;
    const digests = await Promise.all(['offer', 'answer'].map((name) => call(tab, 'exchange', name, SEED, bytes)));
    const digest = await crypto.subtle.digest('SHA-256', makeBytes(SEED, bytes));
    expect(digests).toEqual(Array(2).fill(Buffer.from(digest).toString('hex')));
  });
});

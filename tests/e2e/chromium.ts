/** Drives a real Chromium over the DevTools protocol, as far as the page tests need. */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import fsp from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { Readable, Writable } from 'node:stream';

const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome', '/opt/google/chrome/chrome'];
export const HOW_TO_GET_ONE = 'apt install chromium, or point TROUPE_CHROMIUM to one';

export function findChromium(): string | undefined {
  return [process.env['TROUPE_CHROMIUM'], ...PLACES].find((file) => file !== undefined && fs.existsSync(file));
}

const FLAGS = [
  '--headless=new',
  '--no-sandbox',
  '--no-first-run',
  '--disable-quic',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-dev-shm-usage',
  // Pipes instead of a port: Chromium ends with this process, even if it crashes.
  '--remote-debugging-pipe',
];

type Json = Record<string, unknown>;
type Listener = (params: Json) => void;

export interface Tab {
  /**
   * The value of an expression, awaited if it is a promise.
   * @throws Error with what the page threw
   */
  evaluate<T>(expression: string): Promise<T>;
  /**
   * Resolves with the expression's value once that is truthy.
   * @throws Error after `timeoutMs`, with the page's text
   */
  until<T>(expression: string, timeoutMs?: number): Promise<T>;
  click(selector: string): Promise<void>;
  /** Types into the element that has the focus. */
  type(text: string): Promise<void>;
  press(key: 'Tab' | 'Enter' | 'Space' | 'ArrowLeft' | 'ArrowRight'): Promise<void>;
  text(selector: string): Promise<string>;
  open(url: string): Promise<void>;
  reload(): Promise<void>;
  resize(width: number, height: number): Promise<void>;
  screenshot(file: string): Promise<void>;
  command(method: string, params?: Json): Promise<Json>;
  /** Errors and warnings of the console and the browser. */
  readonly complaints: readonly string[];
  close(): Promise<void>;
}

export interface Chromium {
  tab(url: string): Promise<Tab>;
  close(): Promise<void>;
}

const KEYS = {
  Tab: ['Tab', 9],
  Enter: ['Enter', 13],
  Space: [' ', 32],
  ArrowLeft: ['ArrowLeft', 37],
  ArrowRight: ['ArrowRight', 39],
};

export async function openChromium(executable: string, flags: readonly string[] = []): Promise<Chromium> {
  const profile = await fsp.mkdtemp(path.join(os.tmpdir(), 'troupe-chromium-'));
  const child = spawn(executable, [...FLAGS, ...flags, `--user-data-dir=${profile}`, 'about:blank'], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
  });
  const ended = new Promise<void>((resolve) => child.on('close', () => resolve()));
  const wire = createWire(child.stdio[3] as Writable, child.stdio[4] as Readable);
  await wire.send('Browser.getVersion');
  return {
    tab: (url) => openTab(wire, url),
    async close() {
      child.kill('SIGKILL');
      await ended;
      await fsp.rm(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

interface Wire {
  send(method: string, params?: Json, sessionId?: string): Promise<Json>;
  on(sessionId: string, listener: (method: string, params: Json) => void): void;
}

/** Each message is JSON, followed by a zero byte. */
function createWire(output: Writable, input: Readable): Wire {
  const waiting = new Map<number, { resolve: Listener; reject: (error: Error) => void }>();
  const listeners = new Map<string, (method: string, params: Json) => void>();
  let count = 0;
  const take = (text: string): void => {
    const message = JSON.parse(text) as Json & { id?: number; sessionId?: string; method: string; params: Json };
    if (message.id === undefined) {
      listeners.get(message.sessionId ?? '')?.(message.method, message.params);
      return;
    }
    const { resolve, reject } = waiting.get(message.id)!;
    waiting.delete(message.id);
    if (message.error) reject(new Error((message.error as { message: string }).message));
    else resolve(message.result as Json);
  };
  let parts: Buffer[] = [];
  input.on('data', (chunk: Buffer) => {
    let from = 0;
    for (let end = chunk.indexOf(0); end >= 0; end = chunk.indexOf(0, from)) {
      take(Buffer.concat([...parts, chunk.subarray(from, end)]).toString());
      parts = [];
      from = end + 1;
    }
    parts.push(chunk.subarray(from));
  });
  input.on('close', () => waiting.forEach(({ reject }) => reject(new Error('Chromium has ended'))));
  output.on('error', () => {});
  return {
    send: (method, params = {}, sessionId) =>
      new Promise((resolve, reject) => {
        const id = ++count;
        waiting.set(id, { resolve, reject });
        output.write(`${JSON.stringify({ id, method, params, ...(sessionId === undefined ? {} : { sessionId }) })}\0`);
      }),
    on: (sessionId, listener) => void listeners.set(sessionId, listener),
  };
}

async function openTab(wire: Wire, url: string): Promise<Tab> {
  // A window for each, because hidden tabs are not drawn, and a profile for each, so that tests
  // share no storage.
  const { browserContextId } = await wire.send('Target.createBrowserContext');
  const { targetId } = await wire.send('Target.createTarget', { url: 'about:blank', browserContextId, newWindow: true });
  const { sessionId } = (await wire.send('Target.attachToTarget', { targetId, flatten: true })) as { sessionId: string };
  const complaints: string[] = [];
  let loaded = (): void => {};
  let closed = false;
  wire.on(sessionId, (method, params) => {
    if (method === 'Page.loadEventFired') loaded();
    if (method === 'Runtime.exceptionThrown') complaints.push(JSON.stringify(params.exceptionDetails));
    if (method === 'Log.entryAdded') complaints.push((params.entry as { text: string }).text);
  });
  const command = (method: string, params: Json = {}): Promise<Json> => wire.send(method, params, sessionId);
  for (const domain of ['Page', 'Runtime', 'Log']) await command(`${domain}.enable`);

  const evaluate = async <T>(expression: string): Promise<T> => {
    const answer = await command('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true, userGesture: true });
    if (answer.exceptionDetails) throw new Error(`${expression}: ${JSON.stringify(answer.exceptionDetails)}`);
    return (answer.result as { value: T }).value;
  };
  const tab: Tab = {
    complaints,
    command,
    evaluate,
    async until(expression, timeoutMs = 30_000) {
      const endMs = performance.now() + timeoutMs;
      for (;;) {
        // While a page loads it has no document for a moment.
        const value = await evaluate(expression).catch((error: Error) =>
          performance.now() > endMs ? Promise.reject(error) : '',
        );
        if (value) return value as never;
        if (performance.now() > endMs) {
          throw new Error(`not true within ${timeoutMs} ms: ${expression}\n${await evaluate<string>('document.body.innerText')}`);
        }
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    },
    async click(selector) {
      // In one step, because the page may move between the check and the click.
      const hit = `(() => { const e = document.querySelector(${JSON.stringify(selector)}); e.scrollIntoView({ block: 'center' });
        const r = e.getBoundingClientRect(); const top = document.elementFromPoint(r.x + r.width / 2, r.y + r.height / 2);
        if (e.contains(top)) e.click(); return e.contains(top); })()`;
      if (!(await evaluate<boolean>(hit))) throw new Error(`${selector} cannot be clicked: something else is on top of it`);
    },
    type: (text) => command('Input.insertText', { text }).then(() => undefined),
    async press(name) {
      const [key, code] = KEYS[name];
      const text = name === 'Enter' ? '\r' : name === 'Space' ? ' ' : undefined;
      const event = { key, code: name, windowsVirtualKeyCode: code, ...(text === undefined ? {} : { text }) };
      await command('Input.dispatchKeyEvent', { type: 'keyDown', ...event });
      await command('Input.dispatchKeyEvent', { type: 'keyUp', ...event });
    },
    text: (selector) => evaluate<string>(`document.querySelector(${JSON.stringify(selector)}).textContent`),
    async open(to) {
      const done = new Promise<void>((resolve) => (loaded = resolve));
      // A change of the #fragment alone would not load the page again.
      await command('Page.navigate', { url: 'about:blank' });
      await done;
      const there = new Promise<void>((resolve) => (loaded = resolve));
      await command('Page.navigate', { url: to });
      await there;
    },
    async reload() {
      const there = new Promise<void>((resolve) => (loaded = resolve));
      await command('Page.reload');
      await there;
    },
    resize: (width, height) =>
      command('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: false }).then(() => undefined),
    async screenshot(file) {
      const { data } = await command('Page.captureScreenshot', { captureBeyondViewport: true });
      await fsp.writeFile(file, Buffer.from(data as string, 'base64'));
    },
    async close() {
      if (!closed) await wire.send('Target.closeTarget', { targetId });
      closed = true;
    },
  };
  await tab.open(url);
  return tab;
}

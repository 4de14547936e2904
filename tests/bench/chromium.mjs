/** Drives a real Chromium over the DevTools protocol. Implements only what the measurements of the pages need. */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { clearTimeout, setTimeout } from 'node:timers';
import { setTimeout as sleep } from 'node:timers/promises';
import { BenchError } from './bench-error.mjs';
import { interruption } from './interruption.mjs';

/** @typedef {Record<string, any>} Json */
/** @typedef {{ resolve: (result: Json) => void, reject: (error: Error) => void, command: string, deadline: NodeJS.Timeout }} Waiting */
/**
 * @typedef {object} Tab
 * @property {(url: string) => Promise<number>} open starts loading; returns the time of that request, performance.now()
 * @property {(expression: string) => Promise<any>} evaluate the value, awaited if it is a promise
 * @property {(expression: string, timeoutMs: number) => Promise<any>} until the value once it is truthy
 * @property {(method: string, params?: Json) => Promise<Json>} command
 * @property {() => Promise<void>} close
 */
/** @typedef {{ version: string, tab: (script: string) => Promise<Tab> }} Chromium `tab`: opens an empty tab; `script` runs first in every page that it opens */

const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome', '/opt/google/chrome/chrome'];
export const HOW_TO_GET_ONE = 'apt install chromium, or point TROUPE_CHROMIUM to one';

const FLAGS = [
  '--headless=new',
  '--no-sandbox',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-dev-shm-usage',
  // Pipes instead of a port: Chromium ends when this process ends, for any reason.
  '--remote-debugging-pipe',
];
const ANSWER_MS = 60_000;
const POLL_MS = 20;

/** @returns {string | undefined} */
export function findChromium() {
  return [process.env.TROUPE_CHROMIUM, ...PLACES].find((file) => file !== undefined && fs.existsSync(file));
}

/**
 * @template T
 * @param {string} executable
 * @param {(chromium: Chromium) => Promise<T>} use
 * @returns {Promise<T>}
 * @throws {BenchError} `ended`, `deadline`, `run_failed`
 */
export async function withChromium(executable, use) {
  interruption.throwIfAborted();
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'troupe-bench-chromium-'));
  const child = spawn(executable, [...FLAGS, `--user-data-dir=${profile}`, 'about:blank'], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
  });
  const closed = new Promise((resolve) => child.once('close', resolve));
  const end = () => void child.kill('SIGKILL');
  interruption.addEventListener('abort', end);
  try {
    const send = createWire(child);
    const { product } = await send('Browser.getVersion');
    return await use({ version: product, tab: (script) => openTab(send, script) });
  } finally {
    interruption.removeEventListener('abort', end);
    end();
    await closed;
    // Chromium's children may still write. A leftover temporary folder is no reason to lose the measurements.
    await fs.promises.rm(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 }).catch(() => undefined);
  }
}

/**
 * Messages are JSON, each terminated by a zero byte.
 * @param {import('node:child_process').ChildProcess} child
 * @returns {(method: string, params?: Json, sessionId?: string) => Promise<Json>}
 */
function createWire(child) {
  const output = /** @type {import('node:stream').Writable} */ (child.stdio[3]);
  const input = /** @type {import('node:stream').Readable} */ (child.stdio[4]);
  /** @type {Map<number, Waiting>} */
  const waiting = new Map();
  let [count, gone, rest] = [0, false, ''];
  const settle = (/** @type {number} */ id) => {
    const found = waiting.get(id);
    clearTimeout(found?.deadline);
    waiting.delete(id);
    return found;
  };
  const lose = () => {
    gone = true;
    for (const id of [...waiting.keys()]) settle(id)?.reject(chromiumGone());
  };
  child.once('error', lose).once('close', lose);
  output.on('error', lose);
  input.setEncoding('utf8').on('data', (/** @type {string} */ chunk) => {
    const messages = (rest + chunk).split('\0');
    rest = messages.pop() ?? '';
    for (const { id, error, result } of messages.map((text) => JSON.parse(text))) {
      const asked = settle(id);
      if (error) asked?.reject(new BenchError('run_failed', `${asked.command}: ${error.message}`, 'Try another Chromium.'));
      else asked?.resolve(result);
    }
  });
  return (method, params = {}, sessionId) =>
    new Promise((resolve, reject) => {
      if (gone) return reject(chromiumGone());
      const id = ++count;
      const late = new BenchError('deadline', `Chromium did not answer ${method} within ${ANSWER_MS / 1000} s`, 'Try again.');
      waiting.set(id, { resolve, reject, command: method, deadline: setTimeout(() => settle(id)?.reject(late), ANSWER_MS) });
      output.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    });
}

function chromiumGone() {
  return new BenchError('ended', 'Chromium ended', `Start it by hand to see why, or: ${HOW_TO_GET_ONE}.`);
}

/**
 * Opens a tab in its own profile, so that nothing is cached or remembered, and in its own window, because hidden tabs are not drawn.
 * @param {ReturnType<typeof createWire>} send
 * @param {string} script
 * @returns {Promise<Tab>}
 */
async function openTab(send, script) {
  const { browserContextId } = await send('Target.createBrowserContext');
  const { targetId } = await send('Target.createTarget', { url: 'about:blank', browserContextId, newWindow: true });
  const { sessionId } = await send('Target.attachToTarget', { targetId, flatten: true });
  /** @type {Tab['command']} */
  const command = (method, params) => send(method, params, sessionId);
  for (const domain of ['Page', 'Runtime', 'Performance']) await command(`${domain}.enable`);
  await command('Page.addScriptToEvaluateOnNewDocument', { source: script });

  /** @type {Tab['evaluate']} */
  const evaluate = async (expression) => {
    const { exceptionDetails, result } = await command('Runtime.evaluate', {
      expression,
      awaitPromise: true,
      returnByValue: true,
    });
    if (!exceptionDetails) return result.value;
    const said = exceptionDetails.exception?.description ?? exceptionDetails.text;
    throw new BenchError('run_failed', `${expression}: ${said}`, 'Open the page by hand to see why.');
  };
  return {
    command,
    evaluate,
    async open(url) {
      const startedMs = performance.now();
      await command('Page.navigate', { url });
      return startedMs;
    },
    async until(expression, timeoutMs) {
      for (const endMs = performance.now() + timeoutMs; ; await sleep(POLL_MS)) {
        interruption.throwIfAborted();
        const value = await evaluate(expression);
        if (value) return value;
        if (performance.now() > endMs) {
          const text = await evaluate('document.body.innerText');
          throw new BenchError(
            'deadline',
            `not within ${timeoutMs} ms: ${expression}\n${text}`,
            'Open the page by hand to see why.',
          );
        }
      }
    },
    async close() {
      await send('Target.closeTarget', { targetId });
    },
  };
}

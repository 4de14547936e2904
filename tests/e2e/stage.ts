/**
 * Shared by the page tests: the built page, a Chromium, and runs and tabs that end with their test.
 */
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, it } from 'vitest';
import { findChromium, HOW_TO_GET_ONE, openChromium, type Chromium, type Tab } from './chromium.js';
import { named, root, scratch, SMALL, start, type Running } from './troupe.js';

export const TOKEN = 'a-token-of-workers';

export interface Run {
  readonly running: Running;
  /** "http://127.0.0.1:PORT". */
  readonly origin: string;
  /** "127.0.0.1:PORT". */
  readonly host: string;
  readonly port: string;
}

interface Closing {
  close(): Promise<void>;
}

export interface Stage {
  /** Why the tests cannot run here; they are then skipped, with a message. */
  readonly missing: string | undefined;
  /**
   * Starts the coordinator of a small run in the folder `out` of a scratch folder. The run does not
   * end by itself by default.
   */
  coordinate(out: string, ...args: string[]): Promise<Run>;
  work(run: Run, name: string, ...flags: readonly string[]): Running;
  visit(url: string): Promise<Tab>;
  /** Closes `thing` after the test. */
  closeAfterTest<T extends Closing>(thing: T): T;
}

/** The folder in which `npm run build` puts a page. */
export const builtPage = (app: string): string => path.join(root, 'apps', app, 'dist');

/** Sets up and cleans up for the tests of the calling file. @param flags for Chromium */
export function setStage(app: string, flags: readonly string[]): Stage {
  const executable = findChromium();
  const built = fs.existsSync(path.join(builtPage(app), 'index.html'));
  const missing = !executable ? `no Chromium: ${HOW_TO_GET_ONE}` : built ? undefined : 'it is not built: npm run build';
  let cwd = '';
  let chromium: Chromium;
  const started: Running[] = [];
  const open: Closing[] = [];

  if (missing !== undefined) it.skip(`the page of apps/${app}: SKIPPED, ${missing}`);
  beforeAll(async () => {
    if (missing !== undefined) return;
    cwd = await scratch();
    chromium = await openChromium(executable!, flags);
  });
  afterEach(async () => {
    for (const thing of open.splice(0)) await thing.close();
    for (const { child, exited } of started.splice(0)) {
      child.kill('SIGKILL');
      await exited;
    }
  });
  afterAll(async () => {
    if (missing !== undefined) return;
    await chromium.close();
    fs.rmSync(cwd, { recursive: true, force: true });
  });

  const launch = (...args: string[]): Running => {
    const running = start(args, { cwd });
    started.push(running);
    return running;
  };
  const closeAfterTest = <T extends Closing>(thing: T): T => {
    open.push(thing);
    return thing;
  };
  return {
    missing,
    closeAfterTest,
    async coordinate(out, ...args) {
      const flags = ['--port', '0', '--rounds', '1000000', '--token', TOKEN, '--out', out, '--json'];
      const running = launch('coordinator', ...SMALL, ...flags, ...args);
      const { address } = await running.line(named('listening'));
      const { origin, host, port } = new URL((address as string).replace(/^ws/, 'http'));
      return { running, origin, host, port };
    },
    work: ({ host }, name, ...flags) =>
      launch('worker', `ws://${host}`, '--token', TOKEN, '--name', name, '--engine', 'wasm', '--threads', '1', ...flags),
    visit: async (url) => closeAfterTest(await chromium.tab(url)),
  };
}

/** Presses the button of the page for volunteers, as soon as it works; agrees to much traffic where the page asks. */
export async function startHelping(tab: Tab): Promise<void> {
  await tab.until(`(() => {
    const consent = document.querySelector('#consent');
    if (consent.checkVisibility() && !consent.checked) consent.click();
    const start = document.querySelector('#start');
    if (!start.checkVisibility() || start.disabled) return false;
    start.click();
    return !start.checkVisibility();
  })()`);
}

/** Chooses in a list of the page, as a person does. */
export const choose = (tab: Tab, selector: string, value: string): Promise<void> =>
  tab.evaluate(
    `(() => { const e = document.querySelector('${selector}'); e.value = '${value}'; e.dispatchEvent(new Event('input', { bubbles: true })); })()`,
  );

export type Scheme = 'light' | 'dark';

/**
 * Shows the page in light or dark colours, without animations: colours in transition belong to
 * neither.
 */
export async function show(tab: Tab, scheme: Scheme): Promise<void> {
  const features = [
    { name: 'prefers-color-scheme', value: scheme },
    { name: 'prefers-reduced-motion', value: 'reduce' },
  ];
  await tab.command('Emulation.setEmulatedMedia', { features });
}

/** The rules that axe-core finds broken, with the elements that break them. */
export async function violations(tab: Tab): Promise<{ id: string; nodes: string[] }[]> {
  const axe = fs.readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
  await tab.evaluate(`${axe}; 1`);
  return tab.evaluate(
    `axe.run().then(({ violations }) => violations.map(({ id, nodes }) => ({ id, nodes: nodes.map(({ html }) => html) })))`,
  );
}

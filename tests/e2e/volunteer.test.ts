/** The volunteer page in a real browser, with a real coordinator. */
import os from 'node:os';
import path from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Tab } from './chromium.js';
import { setStage, show, startHelping, TOKEN, violations, type Run } from './stage.js';
import { at, childrenOf, end, named, start, type Line } from './troupe.js';
import { servePage, type PageServer } from './volunteer-page.js';

const SOON = { timeout: 20_000 };
/** A name has at most 40 characters. */
const MARKUP = '<img src=x onerror=broken=1><b>Ada</b>';

// Gives the WebGPU engine a software-emulated GPU.
const stage = setStage('volunteer', ['--enable-unsafe-webgpu']);
const { coordinate, visit } = stage;

/** Serves the page from the test itself. */
const serve = async (coordinator?: string, isolated = true): Promise<PageServer> =>
  stage.closeAfterTest(await servePage({ coordinator, isolated }));

/** Opens the invitation link of a run. */
const join = ({ origin }: Pick<Run, 'origin'>, more = ''): Promise<Tab> => visit(`${origin}/join/#token=${TOKEN}${more}`);

const losses = ({ running }: Run): number[] =>
  running.lines.flatMap((line) => (line.event === 'round' ? [line.trainLoss as number] : []));

const isOfWorker =
  (change: string, name = '') =>
  (line: Line) =>
    line.event === 'worker' && line.change === change && JSON.stringify(line).includes(name);
const visible = (selector: string): string =>
  `(() => { const e = document.querySelector(${JSON.stringify(selector)}); return e.checkVisibility() && e.textContent.trim(); })()`;
const computing = `document.querySelector('#state').textContent.startsWith('Computing')`;
const credit = async (tab: Tab): Promise<number> =>
  Number((await tab.text('#credit-text')).replaceAll(/[^\d]*([\d,]+) characters.*/g, '$1').replaceAll(',', ''));

afterEach(() => void vi.unstubAllEnvs());

describe.skipIf(stage.missing !== undefined)('the volunteer page', () => {
  it('explains itself, does not start by itself, and puts no token into a server log', async () => {
    const run = await coordinate('explains');
    const page = await serve(run.host);
    const tab = await join(page);
    await tab.until(`document.querySelector('h1').textContent === 'Help train “1x32 LSTM on sonnets”'`);
    expect(await tab.text('#invite')).toMatch(/uses power.*uses data/s);
    expect(await tab.text('#facts')).toContain(`the coordinator is ${new URL(page.origin).host}`);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    expect(run.running.lines.filter(named('worker'))).toEqual([]);
    expect(page.requests.filter((url) => url.includes('trainer'))).toEqual([]);
    expect(page.requests.join('\n')).not.toContain(TOKEN);
  });

  it('contributes to a run whose gradients a service on another port sums', async () => {
    vi.stubEnv('TROUPE_ALLREDUCE_TOKEN', 'a-secret-of-this-test');
    const service = start(['allreduce', '--port', '0', '--json'], { cwd: os.tmpdir() });
    stage.closeAfterTest({ close: () => end(service) });
    const { address } = await service.line(named('listening'));
    const run = await coordinate('apart', '--allreduce', address as string);
    const tab = await join(run);
    await startHelping(tab);
    await run.running.line(at(5));
    await tab.until(computing);
  });

  it('contributes under a path of a proxy', async () => {
    const run = await coordinate('path', '--path-prefix', '/troupe');
    const proxy = stage.closeAfterTest(await servePage({ coordinator: run.host, under: '/troupe' }));
    const tab = await visit(`${proxy.origin}/troupe/join/#token=${TOKEN}`);
    await startHelping(tab);
    await run.running.line(at(5));
    await tab.until(computing);
    await tab.until(`document.querySelector('#facts').textContent.includes('sonnets')`);
    expect(proxy.requests.filter((url) => !url.startsWith('/troupe/') && url !== '/favicon.ico')).toEqual([]);
  });

  it('contributes to a real run, pauses, resumes, leaves, and keeps its credit over a reload', async () => {
    const run = await coordinate('contributes');
    const tab = await join(run);
    await tab.evaluate(`document.querySelector('#name').focus()`);
    await tab.type('Grace');
    await tab.click('#show-name');
    await startHelping(tab);
    await run.running.line(isOfWorker('ready', 'Grace'));
    await run.running.line(at(10));
    await tab.until(computing);
    await tab.until(`/characters\\/s/.test(document.querySelector('#stat-speed').textContent)`);
    await tab.until(visible('#credit'));
    const headers = { authorization: `Bearer ${TOKEN}` };
    const credits = async (): Promise<string> => (await fetch(`${run.origin}/api/credits`, { headers })).text();
    await expect.poll(credits, SOON).toContain('"names":[{"name":"Grace"');
    const trials = await tab.text('#engine-trials');

    await tab.click('#pause');
    await run.running.line(isOfWorker('left', 'Grace'));
    await tab.until(`document.querySelector('#state').textContent.startsWith('Paused')`);
    const paused = run.running.lines.filter((line) => line.event === 'round').length;
    await tab.click('#pause');
    await tab.until(computing);
    await expect.poll(() => run.running.lines.filter((line) => line.event === 'round').length, SOON).toBeGreaterThan(paused);

    // Another measurement would give other figures.
    expect(await tab.text('#engine-trials')).toBe(trials);

    await tab.click('#leave');
    await tab.until(visible('#start'));
    await expect.poll(() => run.running.lines.filter(isOfWorker('left', 'Grace')).length, SOON).toBe(2);
    const earned = await credit(tab);
    expect(earned).toBeGreaterThan(0);
    await tab.reload();
    await tab.until(visible('#credit'));
    // The trainer's last report may have arrived after the credit was read.
    expect(await credit(tab)).toBeGreaterThanOrEqual(earned);
    expect(await tab.evaluate(`document.querySelector('#name').value`)).toBe('Grace');
    expect(tab.complaints.filter((text) => /Security Policy|exception/i.test(text))).toEqual([]);
  });

  it('comes from the coordinator, which describes the run', async () => {
    const run = await coordinate('itself');
    const tab = await join(run);
    expect(await tab.evaluate('crossOriginIsolated')).toBe(true);
    await tab.until(`/LSTM/.test(document.querySelector('#facts').textContent)`);
    expect(await tab.text('#what-traffic')).toMatch(/in each round it sends about [\d.]+\skB and receives about [\d.]+\skB/);
    await startHelping(tab);
    await run.running.line(at(10));
    await tab.until(`document.querySelector('#curve svg')`);
    await tab.until(visible('#finish'));
    await tab.click('#finish');
    await run.running.line(isOfWorker('left', 'the volunteer finishes'));
    await tab.until(visible('#start'));
    expect(tab.complaints.filter((text) => /Security Policy|exception/i.test(text))).toEqual([]);
  });

  it.each([
    ['wasm', true, 'one CPU core'],
    ['wasm', false, 'one CPU core'],
    ['wasm-threads', true, 'several CPU cores'],
    ['webgpu', true, 'GPU (WebGPU)'],
  ])('computes with %s (isolated: %s) and shows its speed', async (engine, isolated, words) => {
    const run = await coordinate(`engine-${engine}-${isolated}`);
    const tab = await join(isolated ? run : await serve(run.host, false), `&engine=${engine}`);
    expect(await tab.evaluate('crossOriginIsolated')).toBe(isolated);
    // One core has no threads to use.
    if (engine === 'wasm-threads' && (await tab.evaluate<number>('navigator.hardwareConcurrency')) < 2) return;
    await startHelping(tab);
    await tab.until(computing);
    expect(await tab.text('#engine-name')).toContain(words);
    expect(await tab.text('#engine-trials')).toMatch(/characters\/s in a short trial/);
    await run.running.line(at(5));
  });

  it('gives its lease back at once even when the trainer computes and reads no messages', async () => {
    const run = await coordinate('deaf', '--hidden', '512', '--batch', '64', '--window', '128', '--eval-every', '0');
    const tab = await join(await serve(run.host, false), '&engine=wasm');
    await startHelping(tab);
    await run.running.line(isOfWorker('ready'));
    await tab.click('#pause');
    await run.running.line(isOfWorker('left'));
    expect(run.running.lines.filter(named('round'))).toEqual([]);
    await tab.click('#pause');
    await run.running.line(at(1));
  });

  it('neither delays nor changes the run when its tab is closed in the middle of a round', async () => {
    const run = await coordinate('closed');
    const tab = await join(run);
    await startHelping(tab);
    await run.running.line(isOfWorker('ready'));
    await startHelping(await join(run));
    await expect.poll(() => run.running.lines.filter(isOfWorker('ready', 'volunteer')).length, SOON).toBe(2);
    stage.work(run, 'stays');
    await run.running.line(isOfWorker('ready', 'stays'));
    const ready = losses(run).length;
    await expect.poll(() => losses(run).length, SOON).toBeGreaterThan(ready + 20);
    await tab.close();
    await run.running.line(isOfWorker('left', 'volunteer'));
    const left = losses(run).length;
    await expect.poll(() => losses(run).length, SOON).toBeGreaterThan(left + 20);
    const together = losses(run);

    const alone = await coordinate('alone');
    stage.work(alone, 'alone');
    await expect.poll(() => losses(alone).length, SOON).toBeGreaterThanOrEqual(together.length);
    const difference = together.map((loss, i) => Math.abs(loss - losses(alone)[i]));
    expect(Math.max(...difference)).toBeLessThan(1e-3);
  });

  it('reconnects to a coordinator that was killed and started again', async () => {
    const run = await coordinate('restarted', '--checkpoint-every', '5');
    const tab = await join(run);
    await startHelping(tab);
    await run.running.line(at(20));
    await run.running.line(named('checkpoint'));
    const [app] = await childrenOf(run.running.child.pid!);
    process.kill(app.pid, 'SIGKILL');
    await tab.until(`/The connection broke/.test(document.querySelector('#state').textContent)`);
    const again = await coordinate('restarted', '--resume', '--port', run.port);
    await again.running.line(at(20));
    await tab.until(computing);
  });

  it('opens new links when the network comes back', async () => {
    const run = await coordinate('network');
    const tab = await join(run);
    await startHelping(tab);
    await run.running.line(at(10));
    await tab.evaluate(`dispatchEvent(new Event('online'))`);
    await run.running.line(isOfWorker('left'));
    await expect.poll(() => run.running.lines.filter(isOfWorker('ready')).length, SOON).toBe(2);
    await tab.until(computing);
  });

  it('shows text from outside as text, never as markup', async () => {
    const run = await coordinate('markup');
    const page = await serve();
    page.facts = {
      ...{ name: MARKUP, organizer: MARKUP, model: MARKUP, corpus: MARKUP, parameters: 900_000, round: 7, rounds: 100 },
      ...{
        workers: 3,
        lossHistory: [
          [1, 4.1],
          [5, 3.2],
          [7, 2.9],
        ],
        sample: { round: 7, text: MARKUP },
      },
    };
    const tab = await join(page);
    await tab.until(`document.querySelector('h1').textContent.includes(${JSON.stringify(MARKUP)})`);
    for (const place of ['#facts', '#sample', '#run-title']) expect(await tab.text(place)).toContain(MARKUP);
    expect(await tab.text('#what-traffic')).toMatch(/sends about 1\.8\sMB and receives about 1\.8\sMB/);
    expect(await tab.evaluate(`document.querySelector('#curve svg').getAttribute('aria-label')`)).toMatch(/4\.10 down to 2\.90/);

    const worker = await join(run);
    await worker.evaluate(`document.querySelector('#name').focus()`);
    await worker.type(MARKUP);
    await worker.click('#show-name');
    await startHelping(worker);
    await run.running.line(isOfWorker('ready', 'Ada'));
    await worker.until(visible('#credit'));
    expect(await worker.text('#credit-text')).toContain(MARKUP);
    for (const one of [tab, worker]) {
      expect(await one.evaluate('document.querySelectorAll("img, b").length')).toBe(0);
      expect(await one.evaluate('window.broken')).toBeUndefined();
    }
  });

  it('says why it cannot take part, and what to do', async () => {
    const run = await coordinate('refuses');
    const incomplete = await visit(`${run.origin}/join/`);
    expect(await incomplete.until(visible('#problem'))).toMatch(/link is incomplete.*whole link/s);
    expect(await incomplete.evaluate(`document.querySelector('#start').disabled`)).toBe(true);

    const wrong = await visit(`${run.origin}/join/#token=guess`);
    await startHelping(wrong);
    expect(await wrong.until(visible('#problem'))).toMatch(/link has expired.*new link/s);
    expect(await wrong.until(visible('#again'))).toBe('Try again');

    // The test's server answers HTTP but no WebSocket, like a proxy that blocks them.
    const blocked = await join(await serve());
    await startHelping(blocked);
    expect(await blocked.until(`${visible('#notice')}`)).toMatch(/WebSocket.*another network/s);

    run.running.child.kill('SIGTERM');
    await run.running.exited;
  });

  it('says thank you when the run is over, how much it has computed, and what the model writes, also to those who come later', async () => {
    const run = await coordinate('over', '--rounds', '60', '--keep-serving');
    const tab = await join(run);
    await startHelping(tab);
    await run.running.line(named('serving'));
    await tab.until(`/The run is complete/.test(document.querySelector('#state').textContent)`);
    await tab.until(`/60 of 60, over/.test(document.querySelector('#facts').textContent)`);
    expect(await tab.until(visible('#notice'))).toMatch(/This device computed about [\d.]+% of it/);
    expect(await tab.evaluate(`document.querySelector('#pause').checkVisibility()`)).toBe(false);

    const late = await join(run);
    await late.until(`/The run is complete/.test(document.querySelector('#state').textContent)`);
    await late.until(`document.querySelector('#sample').textContent.length > 20`);
    expect(await late.evaluate(`document.querySelector('#start').checkVisibility()`)).toBe(false);
    expect(await late.evaluate(`document.querySelector('#problem').checkVisibility()`)).toBe(false);
    run.running.child.kill('SIGTERM');
    expect((await run.running.exited).code).toBe(0);
  });

  it('ends when an admin removes it, says so, and does not come back by itself', async () => {
    const admin = 'a-token-of-admins';
    // Leases that take long enough for a removal in the middle of one.
    const large = ['--hidden', '512', '--batch', '32', '--window', '64', '--eval-every', '0'];
    const run = await coordinate('dismissed', '--admin-token', admin, ...large);
    const tab = await join(run);
    await startHelping(tab);
    await tab.until(computing);
    await run.running.line(at(2));
    const workerId = (run.running.lines.find(isOfWorker('ready')) as { workerId?: string }).workerId;
    const headers = { authorization: `Bearer ${admin}`, 'content-type': 'application/json' };
    const body = JSON.stringify({ action: 'kick', workerId });
    expect((await fetch(`${run.origin}/api/control`, { method: 'POST', headers, body })).status).toBe(200);
    await tab.until(`/has ended your session/.test(document.querySelector('#state').textContent)`);
    await run.running.line(isOfWorker('left'));
    // Longer than the first backoff.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect(run.running.lines.filter(isOfWorker('joined'))).toHaveLength(1);
  });

  it('works with the keyboard alone', async () => {
    const run = await coordinate('keyboard');
    const tab = await join(run);
    const focused = (): Promise<string> => tab.evaluate('document.activeElement.id');
    const order: string[] = [];
    // Rounds of this model take a moment: the page asks.
    await tab.until(visible('#consent-field'));
    while (!order.includes('cap') && order.length < 12) {
      await tab.press('Tab');
      order.push(await focused());
    }
    expect(order).toEqual(['language', 'sample', 'consent', 'more', 'share', 'name', 'team', 'show-name', 'cap']);
    await tab.evaluate(`document.querySelector('#consent').focus()`);
    await tab.press('Space');
    await tab.until(`!document.querySelector('#start').disabled`);
    await tab.press('Tab');
    expect(await focused()).toBe('start');
    await tab.press('Enter');
    await run.running.line(isOfWorker('ready'));
    expect(await focused()).toBe('state');
    await tab.press('Tab');
    expect(await focused()).toBe('pause');
    await tab.press('Space');
    await run.running.line(isOfWorker('left'));
    await tab.until(`document.querySelector('#pause').textContent === 'Resume'`);
  });

  it('fits a narrow screen, with targets large enough for fingers', async () => {
    const page = await serve();
    page.facts = { name: 'A run with a rather long name, as people give them', parameters: 900_000, round: 3, rounds: 10 };
    const tab = await join(page);
    await tab.resize(320, 640);
    await tab.until(visible('#run-title'));
    expect(await tab.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(320);
    const small = `[...document.querySelectorAll('button, select, input, .checks label')].filter((e) => e.checkVisibility()
      && !e.closest('.checks input') && !e.matches('.checks input')).filter((e) => e.getBoundingClientRect().height < 44).map((e) => e.id || e.textContent)`;
    expect(await tab.evaluate(small)).toEqual([]);
    const shots = process.env['TROUPE_SCREENSHOTS'];
    if (shots !== undefined) await tab.screenshot(path.join(shots, 'narrow.png'));
  });

  it('switches to Chinese', async () => {
    const page = await serve();
    const tab = await join(page);
    await tab.evaluate(
      `(() => { const s = document.querySelector('#language'); s.value = 'zh'; s.dispatchEvent(new Event('change')); })()`,
    );
    await tab.until(`document.documentElement.lang === 'zh'`);
    expect(await tab.text('#start')).toBe('开始参与');
    const untranslated = `[...document.querySelectorAll('[data-text]')].filter((e) => !/[\\u4e00-\\u9fff]/.test(e.textContent)).map((e) => e.outerHTML)`;
    expect(await tab.evaluate(untranslated)).toEqual([]);
    await tab.reload();
    await tab.until(`document.documentElement.lang === 'zh'`);
  });

  describe('is accessible', () => {
    const schemes = ['light', 'dark'] as const;
    it.each(schemes)('by the names, roles and contrasts that the browser computes (%s)', async (scheme) => {
      const run = await coordinate(`accessible-${scheme}`);
      const tab = await join(run);
      await show(tab, scheme);
      expect(await nameless(tab)).toEqual([]);
      expect(await pale(tab)).toEqual([]);
      await startHelping(tab);
      await tab.until(computing);
      expect(await nameless(tab)).toEqual([]);
      expect(await pale(tab)).toEqual([]);
      expect(await tab.evaluate(`document.querySelector('#state').getAttribute('aria-live')`)).toBe('polite');
    });

    it.each(schemes)('by the rules of axe-core (%s)', async (scheme) => {
      const page = await serve();
      page.facts = {
        name: 'A run',
        parameters: 1000,
        round: 2,
        rounds: 3,
        lossHistory: [
          [1, 3],
          [2, 2],
        ],
        sample: { text: 'Ay me' },
      };
      const tab = await join(page);
      await show(tab, scheme);
      await tab.until(`document.querySelector('#sample').textContent === 'Ay me'`);
      expect(await violations(tab)).toEqual([]);
    });
  });
});

/** Roles of controls without a name in the browser's accessibility tree. */
async function nameless(tab: Tab): Promise<string[]> {
  const { nodes } = (await tab.command('Accessibility.getFullAXTree')) as {
    nodes: { role?: { value: string }; name?: { value: string }; ignored: boolean }[];
  };
  const controls = new Set(['button', 'checkbox', 'combobox', 'slider', 'textbox', 'heading', 'img', 'region', 'form']);
  const found = nodes.filter(({ ignored, role }) => !ignored && controls.has(role?.value ?? ''));
  expect(found.length).toBeGreaterThan(5);
  return found.filter(({ name }) => !name?.value.trim()).map(({ role }) => role!.value);
}

/** Visible texts whose contrast with their background is below 4.5 : 1 (WCAG 2.2, 1.4.3). */
async function pale(tab: Tab): Promise<string[]> {
  const script = `(() => {
    const parse = (c) => (c.match(/[\\d.]+/g) ?? []).map(Number);
    const linear = (v) => ((v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const ground = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c; } return [255, 255, 255]; };
    return [...document.querySelectorAll('body *')].filter((e) => e.checkVisibility() && !e.disabled
      && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())).map((e) => {
        const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
        return [(a + 0.05) / (b + 0.05), e.outerHTML.slice(0, 80)]; }).filter(([ratio]) => ratio < 4.5).map(String);
  })()`;
  return tab.evaluate(script);
}

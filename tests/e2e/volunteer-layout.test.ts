/** The layout of the page for volunteers in every situation, on a phone, a tablet and a laptop: what matters is there without scrolling. */
import fs from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import type { Tab } from './chromium.js';
import { faults, settled } from './layout.js';
import { builtPage, choose, setStage, violations } from './stage.js';
import { stageRun, type Situation } from './staged-run.js';

const stage = setStage('volunteer', ['--lang=en-GB']);
/** CSS pixels. */
const SCREENS = [
  [360, 740],
  [800, 720],
  [1280, 720],
] as const;
/** Bytes of the page's files that a first visit loads, each compressed. */
const MAX_FIRST_LOAD = 150_000;

/** In place of the trainer: the test says what it reports. */
const FAKE_TRAINER = `globalThis.Worker = class {
  constructor() { globalThis.trainer = this; this.orders = []; }
  addEventListener(type, listener) { if (type === 'message') this.report = (data) => listener({ data }); }
  postMessage(order) { this.orders.push(order); }
  terminate() {}
};`;

const KNOWN = `{ key: '', kind: 'wasm-threads', variant: 'simd', trials: [], share: 0.7, charsPerSecond: undefined }`;
const TRIALS = `[{ name: 'wasm-threads', charsPerSecond: 21000 }, { name: 'wasm', charsPerSecond: 11000 }, { name: 'webgpu', why: 'no' }]`;
const COUNTS = `computed: 2048, characters: 2048, rounds: 1, elapsedMs: 500, threads: 4, sentBytes: 84, receivedBytes: 4200000, heatFactor: 1`;
/** A trainer that has computed for a while. */
const COMPUTING = `trainer.report({ kind: 'log', entry: { kind: 'welcome', runId: 'staged', workerId: 'w', parameters: 352321 } });
  trainer.report({ kind: 'engine', engine: 'wasm-threads', variant: 'wasm simd', trials: ${TRIALS}, known: ${KNOWN} });
  for (let i = 0; i < 4; i++) trainer.report({ kind: 'progress', round: 1500, ${COUNTS} });`;
/** Finishes its work, and ends. */
const AT_LIMIT = `trainer.report({ kind: 'progress', round: 1501, ${COUNTS.replace('4200000', '2000000000')} }); trainer.report({ kind: 'ended' });`;
const STOPPED = (
  code: string,
): string => `trainer.report({ kind: 'log', entry: { kind: 'stopped', code: '${code}', reason: 'over' } });
  trainer.report({ kind: 'ended' });`;

/** Agrees to much traffic, and starts. */
const START = `document.querySelector('#consent').checked = true; document.querySelector('#settings').requestSubmit()`;

interface State {
  readonly run: Situation;
  /** The volunteer presses the button, and this happens. */
  readonly then?: string;
  /** What a person would press now. */
  readonly button?: string;
  readonly says?: RegExp;
  /** In the title of the tab. */
  readonly title: string;
  /** It asks for consent to much traffic. */
  readonly asks?: boolean;
  /** It uses no data. */
  readonly isFree?: boolean;
}

const STATES: Readonly<Record<string, State>> = {
  empty: { run: 'empty', button: '#start', title: 'Help train' },
  offered: { run: 'running', button: '#start', title: 'Help train', asks: true },
  computing: { run: 'running', then: COMPUTING, button: '#pause', says: /^Computing/, title: 'Computing –' },
  finishing: {
    ...{ run: 'running', then: `${COMPUTING} document.querySelector('#finish').click();` },
    ...{ button: '#leave', says: /^Finishing/, title: 'Computing –' },
  },
  'paused by the volunteer': {
    ...{ run: 'running', then: `${COMPUTING} document.querySelector('#pause').click();` },
    ...{ button: '#pause', says: /^Paused/, title: 'Paused –' },
  },
  'at its data limit': {
    ...{ run: 'running', then: `${COMPUTING} ${AT_LIMIT}` },
    ...{ button: '#pause', says: /^Paused: your data limit is reached.*Thank you/, title: 'Paused –' },
  },
  'on standby': {
    ...{
      run: 'running',
      then: `${COMPUTING} trainer.report({ kind: 'log', entry: { kind: 'parked', reason: 'faster without' } });`,
    },
    ...{ button: '#pause', says: /^On standby/, title: 'Paused –', isFree: true },
  },
  'paused by the organizer': {
    run: 'paused',
    then: COMPUTING.replaceAll('1500', '900'),
    button: '#pause',
    says: /organizer has paused/,
    title: 'Paused –',
  },
  'without its coordinator': {
    run: 'running',
    then: `${COMPUTING} trainer.report({ kind: 'log', entry: { kind: 'lost', reason: 'gone', remedy: '', retryInMs: 9000 } });`,
    ...{ button: '#pause', says: /connection broke/, title: 'Problem –' },
  },
  resumed: {
    run: 'running',
    then: `${COMPUTING} trainer.report({ kind: 'log', entry: { kind: 'lost', reason: 'gone', remedy: '', retryInMs: 1 } }); ${COMPUTING}`,
    ...{ button: '#pause', says: /^Computing/, title: 'Computing –' },
  },
  diverged: { run: 'diverged', then: COMPUTING + STOPPED('diverged'), says: /unstable/, title: 'Problem –' },
  finished: { run: 'finished', then: COMPUTING + STOPPED('completed'), button: '#card', says: /complete/, title: 'Finished –' },
  'finished before the visit': { run: 'finished', button: '#home', says: /complete/, title: 'Finished –' },
};
/** The states whose pages differ most are also checked with axe-core, which takes seconds for each. */
const CHECKED = ['offered', 'computing', 'finished'];

/** Those of the elements that are not whole on the screen before anybody scrolls. */
const outOfSight = (tab: Tab, selectors: readonly string[]): Promise<string[]> =>
  tab.evaluate(`${JSON.stringify(selectors)}.filter((selector) => {
    const element = document.querySelector(selector);
    const { top, bottom, left, right, height } = element.getBoundingClientRect();
    return !element.checkVisibility() || height < 1 || top < 0 || left < 0 || bottom > innerHeight || right > innerWidth;
  })`);

async function open({ run, then, prelude = '' }: State & { readonly prelude?: string }): Promise<Tab> {
  const { origin } = stage.closeAfterTest(await stageRun(run));
  const tab = await stage.visit('about:blank');
  await tab.command('Page.addScriptToEvaluateOnNewDocument', { source: `${FAKE_TRAINER} ${prelude}` });
  await tab.open(`${origin}/join/#token=any`);
  await tab.until(`document.querySelector('#facts').textContent.includes('1x256 LSTM')`);
  await tab.until(`document.querySelector('#home').checkVisibility()`);
  if (then !== undefined) {
    // Of a run that ended while this device took part: nobody starts in a finished one.
    await tab.evaluate(`${START}; ${then}`);
  }
  await settled(tab);
  return tab;
}

describe.skipIf(stage.missing !== undefined)('the page for volunteers', () => {
  it.for(Object.entries(STATES))('fits every screen, with all that matters on it: %s', async ([name, state]) => {
    const tab = await open(state);
    for (const [width, height] of SCREENS) {
      await tab.resize(width, height);
      await tab.evaluate('scrollTo(0, 0)');
      await settled(tab);
      const isFree = state.isFree ?? (state.run === 'finished' || state.run === 'diverged');
      const needed = [
        '#title',
        '#sample',
        '#progress',
        '#progress-text',
        state.button,
        state.asks ? '#consent-field' : undefined,
        isFree ? undefined : '#hour',
      ];
      const shots = process.env['TROUPE_SCREENSHOTS'];
      if (shots !== undefined) await tab.screenshot(path.join(shots, `${name.replaceAll(' ', '-')}-${width}.png`));
      expect(await faults(tab), `${width} px`).toEqual([]);
      const shown = needed.filter((one) => one !== undefined);
      expect(await outOfSight(tab, shown), `${width} px`).toEqual([]);
    }
    if (state.says) expect(await tab.text('#state')).toMatch(state.says);
    expect(await tab.evaluate('document.title')).toContain(state.title);
    if (CHECKED.includes(name)) expect(await violations(tab)).toEqual([]);
    expect(tab.complaints).toEqual([]);
  });

  it('says what it costs before anybody presses the button, also in Chinese', async () => {
    const tab = await open(STATES['offered']);
    await tab.resize(360, 740);
    expect(await tab.text('#hour')).toMatch(/^About [\d.]+\s[MG]B of data an hour, at the rate of this run so far$/);
    expect(await tab.text('#offer')).toMatch(
      /70% of its power.*electricity.*Sends numbers to 127\.0\.0\.1:\d+;.*Stop at any time/s,
    );
    await tab.evaluate(
      `(() => { const s = document.querySelector('#language'); s.value = 'zh'; s.dispatchEvent(new Event('change')); })()`,
    );
    await tab.until(`/每小时约/.test(document.querySelector('#hour').textContent)`);
    await settled(tab);
    expect(await faults(tab)).toEqual([]);
    expect(await outOfSight(tab, ['#sample', '#progress', '#start', '#hour', '#consent-field', '#offer'])).toEqual([]);
  });

  it('asks before it uses more than 1 GB an hour, and not for less', async () => {
    const tab = await open(STATES['offered']);
    const isOff = `document.querySelector('#start').disabled`;
    expect(await tab.evaluate(isOff)).toBe(true);
    await tab.evaluate(`document.querySelector('#settings').requestSubmit()`);
    expect(await tab.evaluate(`globalThis.trainer === undefined`)).toBe(true);
    await tab.evaluate(`document.querySelector('#consent').focus()`);
    await tab.press('Space');
    await tab.until(`!${isOff}`);
    await tab.press('Space');
    await tab.until(isOff);
    // 2 x 1 Mbit/s are at most 0.9 GB an hour.
    await choose(tab, '#rate', '1');
    await tab.until(`!${isOff} && document.querySelector('#consent-field').hidden`);
    expect(await tab.text('#hour')).toMatch(/^About [89]\d0\sMB/);
    await tab.click('#start');
    expect(await tab.evaluate('trainer.orders[0].rateMbit')).toBe(1);
  });

  it('has a limit of traffic by the device until the volunteer chooses one, and goes on when asked', async () => {
    const tab = await open(STATES['at its data limit']);
    expect(await tab.text('#pause')).toMatch(/^Go on, with another 2\sGB$/);
    await tab.click('#pause');
    await tab.until(`trainer.orders[0]?.kind === 'start' && /^Connecting/.test(document.querySelector('#state').textContent)`);
    await tab.evaluate(COMPUTING);
    await tab.until(`/^Computing/.test(document.querySelector('#state').textContent)`);
    await choose(tab, '#cap', '100');
    await tab.reload();
    await tab.until(`document.querySelector('#cap').value === '100'`);
  });

  it.each([
    ['a phone', `Object.defineProperty(navigator, 'userAgentData', { value: { mobile: true } })`],
    [
      'a metered link',
      `Object.defineProperty(navigator, 'connection', { value: Object.assign(new EventTarget(), { type: 'cellular' }) })`,
    ],
  ])('allows less by itself on %s', async (_, prelude) => {
    const tab = await open({ ...STATES['offered'], prelude });
    expect(await tab.text('#cap option')).toMatch(/^250\sMB/);
  });

  it('shows what counted, who has helped, and a card to keep', async () => {
    const tab = await open(STATES['computing']);
    expect(await tab.text('#stat-traffic')).toBe('336\u00a0B / 16.8\u00a0MB');
    // Three contributions of 2,048 characters in 1.5 s: when the first was begun, nobody knows.
    expect(await tab.text('#stat-speed')).toBe('4.1K characters/s');
    await tab.until(`document.querySelectorAll('#board-names li').length === 5`);
    expect(await tab.text('#board')).toMatch(/Grace Hopper · Room 214.*30%.*Without a name/s);
    expect(await tab.text('#helping')).toBe('3 helping now');
    await tab.evaluate(`globalThis.saved = []; URL.createObjectURL = (blob) => (saved.push(blob), 'blob:none')`);
    await tab.click('#card');
    const svg = await tab.evaluate<string>('saved[0].text()');
    expect(svg).toMatch(/8,192 characters computed/);
    // A document that a browser draws.
    const size = `(async () => { const image = new Image(); image.src = 'data:image/svg+xml,' + encodeURIComponent(await saved[0].text());
      await image.decode(); return image.naturalWidth; })()`;
    expect(await tab.evaluate(size)).toBe(1200);
    await tab.click('#home');
    await tab.until('saved.length === 2');
  });

  it('says what happens without losing the token in its address', async () => {
    const tab = await open(STATES['offered']);
    // A link of two lines has nothing in its middle.
    await tab.evaluate(`document.querySelector('#more').click()`);
    expect(await tab.evaluate('document.activeElement.id')).toBe('invite');
    expect(await tab.evaluate('location.hash')).toBe('#token=any');
  });

  it('does not send a name that is not to be shown', async () => {
    const tab = await open(STATES['offered']);
    await tab.evaluate(`document.querySelector('#name').focus()`);
    await tab.type('Ada');
    const start = `${START}; trainer.orders[0]`;
    const hidden = await tab.evaluate<{ name: string }>(start);
    expect(hidden).toMatchObject({ name: 'Anonymous volunteer' });
    expect(hidden).not.toHaveProperty('credited');
    await tab.evaluate(`document.querySelector('#leave').click()`);
    await tab.click('#show-name');
    expect(await tab.evaluate(start)).toMatchObject({ name: 'Ada', credited: { team: '' } });
  });
});

it.skipIf(stage.missing !== undefined)('the first load of the page for volunteers is at most 150 kB compressed', () => {
  const files = ['index.html', 'volunteer.css', 'page.js'];
  const script = fs.readFileSync(path.join(builtPage('volunteer'), 'page.js'), 'utf8');
  const chunks = [...script.matchAll(/(?:from|import)"\.\/([\w.-]+\.js)"/g)].map(([, name]) => name);
  const sizes = [...files, ...chunks].map((name) => gzipSync(fs.readFileSync(path.join(builtPage('volunteer'), name))).length);
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(MAX_FIRST_LOAD);
});

/** The layout of the dashboard in every situation of a run, on a phone, a tablet, a laptop and a wall. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import { reportPage } from '@troupe/run';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Tab } from './chromium.js';
import { faults, settled } from './layout.js';
import { builtPage, setStage, show, violations, type Scheme } from './stage.js';
import { stagedHistory, stageRun, type Situation, type StagedRun } from './staged-run.js';

const stage = setStage('dashboard', ['--lang=en-GB']);
const WIDTHS = [320, 360, 800, 1280, 2560] as const;
const SITUATIONS = [
  'empty',
  'running',
  'paused',
  'waiting',
  'diverged',
  'finished',
  'resumed',
] as const satisfies readonly Situation[];
/** The situations whose pages differ most are also checked with axe-core, which takes seconds for each. */
const CHECKED: Partial<Record<Situation, readonly Scheme[]>> = {
  empty: ['light'],
  running: ['light', 'dark'],
  diverged: ['dark'],
};
/** Bytes of the page's files together, each compressed: what a first visit loads. */
const MAX_FIRST_LOAD = 150_000;

async function expectNoFaults(tab: Tab): Promise<void> {
  for (const width of WIDTHS) {
    await tab.resize(width, 1_000);
    await settled(tab);
    expect(await faults(tab), `${width} px`).toEqual([]);
  }
}

async function open(situation: Situation, query = ''): Promise<Tab> {
  return openRun(stage.closeAfterTest(await stageRun(situation)), query);
}

async function openRun(run: StagedRun, query = ''): Promise<Tab> {
  const tab = await stage.visit(`${run.origin}/${query}#admin=any`);
  await tab.until(`!document.querySelector('#run').hidden`);
  return tab;
}

describe.skipIf(stage.missing !== undefined)('the layout of the dashboard', () => {
  it.for(SITUATIONS)('fits every screen while the run is %s', async (situation) => {
    const tab = await open(situation);
    if (situation !== 'empty') await tab.until(`document.querySelector('#runs-table tbody tr') !== null`);
    await expectNoFaults(tab);
    await tab.evaluate(`for (const details of document.querySelectorAll('details')) details.open = true`);
    for (const scheme of CHECKED[situation] ?? []) {
      await show(tab, scheme);
      expect(await violations(tab), scheme).toEqual([]);
    }
    expect(tab.complaints).toEqual([]);
  });

  it('fits every screen while the coordinator is gone, and offers no order', async () => {
    const run = stage.closeAfterTest(await stageRun('running'));
    const tab = await stage.visit(`${run.origin}/#admin=any`);
    await tab.until(`document.querySelector('#runs-table tbody tr') !== null`);
    await run.close();
    await tab.until(`/^Reconnecting/.test(document.querySelector('#link').textContent)`);
    await expectNoFaults(tab);
    expect(await tab.evaluate(`['pause', 'checkpoint', 'stop'].every((id) => document.getElementById(id).disabled)`)).toBe(true);
  });
});

describe.skipIf(stage.missing !== undefined)('what a run is asked', () => {
  const visible = (tab: Tab, selector: string): Promise<boolean> =>
    tab.evaluate(`document.querySelector('${selector}').checkVisibility()`);

  it('is nothing when it is over, and the page says how to continue', async () => {
    const tab = await open('finished');
    await tab.until(`/larger --rounds/.test(document.querySelector('#settings-fixed').textContent)`);
    expect([await visible(tab, '#controls'), await visible(tab, '#invite')]).toEqual([false, false]);
    expect(await tab.evaluate(`document.querySelector('#apply').disabled`)).toBe(true);
  });

  it('says so if only this machine can open the invitation', async () => {
    const tab = await open('waiting');
    await tab.until(`/--host 0\\.0\\.0\\.0/.test(document.querySelector('#invite-here').textContent)`);
    expect(await visible(tab, '#invite-here')).toBe(true);
    const other = await open('resumed');
    await other.until(`document.querySelector('#invite-link').href.includes('192.0.2.7')`);
    expect(await visible(other, '#invite-here')).toBe(false);
    await other.until(`document.querySelector('#markers').textContent.includes('↻')`);
  });
});

describe.skipIf(stage.missing !== undefined)('buttons under the pointer', () => {
  it('stay where they are while samples change and the model writes', async () => {
    const tab = await open('running');
    await tab.resize(1_280, 1_600);
    await tab.until(`Number(document.querySelector('#sample-slider').max) > 2`);
    const tops = `['#sample-play', '#sample-newest', '#write', '#apply', '#workers'].map((id) => document.querySelector(id).getBoundingClientRect().top)`;
    const before = await tab.evaluate<number[]>(tops);
    await tab.evaluate(`(() => { const slider = document.querySelector('#sample-slider');
      for (const value of ['0', '1', '2']) { slider.value = value; slider.dispatchEvent(new Event('input')); } })()`);
    await tab.evaluate(`document.querySelector('#written').append('many words '.repeat(200))`);
    await settled(tab);
    expect(await tab.evaluate(tops)).toEqual(before);
  });
});

describe.skipIf(stage.missing !== undefined)('the charts of the dashboard', () => {
  const choose = (tab: Tab, id: string, value: string, event: string): Promise<void> =>
    tab.evaluate(`(() => { const field = document.getElementById('${id}'); field.value = '${value}';
      field.dispatchEvent(new Event('${event}')); })()`);
  /** The first and the last x in the table of the loss. */
  const ENDS = `(() => { const details = document.querySelector('#chart-grid details'); details.open = true;
    const rows = [...details.querySelectorAll('tbody tr')].map((row) => row.firstElementChild.textContent);
    return [rows[0], rows.at(-1)].join(' '); })()`;

  it('count rounds, characters or time, and keep their zoom in each', async () => {
    const tab = await open('finished');
    await tab.resize(1_280, 1_600);
    await tab.until(`${ENDS} === '1 2,000'`);
    await choose(tab, 'x-kind', 'characters', 'change');
    await tab.until(`${ENDS} === '2.05k 4.1m'`);
    await choose(tab, 'x-kind', 'clock', 'change');
    await tab.until(`${ENDS} === '0ms 6m'`);
    await tab.click('#range button:nth-child(3)');
    await choose(tab, 'x-kind', 'rounds', 'change');
    await tab.until(`${ENDS} === '1,800 2,000'`);
  });

  it('smooth the training loss over as many rounds as the person chooses', async () => {
    const tab = await open('running');
    await tab.resize(1_280, 1_600);
    const value = `document.querySelector('#chart-grid .legend li:nth-child(2) b').textContent`;
    await tab.until(`/^1\\.4/.test(${value})`);
    await choose(tab, 'smoothing', '4', 'input');
    await tab.until(`Number(${value}) > 1.5`);
  });

  it('are saved as CSV, SVG and PNG', async () => {
    const tab = await open('running');
    await tab.resize(1_280, 1_600);
    await tab.until(`${ENDS} === '1 1,500'`);
    await tab.evaluate(`globalThis.saved = []; URL.createObjectURL = (blob) => (saved.push(blob), 'blob:none');
      for (const button of document.querySelectorAll('#chart-grid details[open] .segments button')) button.click()`);
    await tab.until('saved.length === 3');
    const types = await tab.evaluate<string[]>('saved.map(({ type }) => type).sort()');
    expect(types).toEqual(['image/png', 'image/svg+xml', 'text/csv']);
    const csv = await tab.evaluate<string>(`saved.find(({ type }) => type === 'text/csv').text()`);
    expect(csv.split('\n')).toHaveLength(1_502);
    const svg = await tab.evaluate<string>(`saved.find(({ type }) => type === 'image/svg+xml').text()`);
    expect(svg).toMatch(/^<svg[\s\S]*training, smoothed[\s\S]*<path d="M/);
    expect(await tab.evaluate(`saved.find(({ type }) => type === 'image/png').size`)).toBeGreaterThan(5_000);
  });
});

describe.skipIf(stage.missing !== undefined)('a person at the dashboard', () => {
  const element = (selector: string): string => `document.querySelector(${JSON.stringify(selector)})`;
  const says = (selector: string, pattern: RegExp): string => `${pattern.toString()}.test(${element(selector)}.textContent)`;
  /** Rows of the table of the first chart, which shows the loss. */
  const LOSS_TABLE = `(() => { const d = document.querySelector('#chart-grid details'); d.open = true;
    return [...d.querySelectorAll('tbody tr')].map((row) => [...row.children].map((cell) => cell.textContent)); })()`;

  it('zooms and reads values with the mouse and with the keyboard', async () => {
    const tab = await open('running');
    await tab.resize(1_280, 1_600);
    await tab.until(`${LOSS_TABLE}.length === 12`);
    const plot = '#chart-grid .plot';
    await tab.evaluate(`${element(plot)}.scrollIntoView({ block: 'center' })`);
    const { x, y, width, height } = await tab.evaluate<Record<'x' | 'y' | 'width' | 'height', number>>(
      `${element(`${plot} .u-over`)}.getBoundingClientRect().toJSON()`,
    );
    const mouse = (type: string, at: number): Promise<unknown> =>
      tab.command('Input.dispatchMouseEvent', {
        type,
        x: x + width * at,
        y: y + height / 2,
        button: 'left',
        buttons: type === 'mouseReleased' ? 0 : 1,
        clickCount: 1,
      });
    await mouse('mouseMoved', 0.25);
    // All charts share one crosshair: the second shows the round too.
    await tab.until(says('#chart-grid .chart:nth-child(2) .legend .at', /round \d+/));
    await mouse('mousePressed', 0.25);
    await mouse('mouseMoved', 0.4);
    await mouse('mouseMoved', 0.5);
    await mouse('mouseReleased', 0.5);
    const first = `Number(${LOSS_TABLE}[0][0])`;
    await tab.until(`${first} > 10`);

    await tab.evaluate(`${element(plot)}.focus()`);
    await tab.press('ArrowRight');
    await tab.until(says('#reading', /^round \d+: training \d/));
    await tab.command('Input.dispatchKeyEvent', { type: 'keyDown', key: '0', text: '0' });
    await tab.until(`${first} === 1`);
    expect(await tab.evaluate(`${element('#range button')}.getAttribute('aria-pressed')`)).toBe('true');
  });

  it('switches to Chinese', async () => {
    const tab = await open('running');
    await tab.evaluate(`(() => { const s = ${element('#language')}; s.value = 'zh'; s.dispatchEvent(new Event('change')); })()`);
    expect(await tab.text('#charts-title')).toBe('训练');
    await tab.until(says('#phase', /运行中/));
    expect(await tab.evaluate('document.documentElement.lang')).toBe('zh-CN');
    await tab.reload();
    await tab.until(says('#charts-title', /训练/));
  });
});

describe.skipIf(stage.missing !== undefined)('the dashboard on a wall', () => {
  it('shows large figures, a sample and a dot for each worker, and fits every screen', async () => {
    const tab = await open('running', '?wall');
    await tab.until(`document.querySelectorAll('#wall-ring circle').length === 3`);
    await tab.until(`/summer's day/.test(document.querySelector('#wall-sample').textContent)`);
    for (const width of WIDTHS) {
      await tab.resize(width, width === 2_560 ? 1_440 : 1_000);
      await settled(tab);
      expect(await faults(tab), `${width} px`).toEqual([]);
    }
    expect(await tab.evaluate('document.documentElement.scrollHeight')).toBeLessThanOrEqual(1_440);
    const size = `parseFloat(getComputedStyle(document.querySelector('#wall-loss')).fontSize)`;
    expect(await tab.evaluate(size)).toBeGreaterThan(80);
    expect(await violations(tab)).toEqual([]);
    expect(tab.complaints).toEqual([]);
  });
});

describe.skipIf(stage.missing !== undefined)('the run doctor', () => {
  it('copies the invitation with one click when no worker is connected', async () => {
    const tab = await open('waiting');
    await tab.until(`/No worker is connected/.test(document.querySelector('#doctor-what').textContent)`);
    await tab.click('#doctor-do');
    await tab.until(`document.querySelector('#announcement').textContent !== ''`);
  });

  it('takes a run that has diverged back with one click, and says so', async () => {
    const run = stage.closeAfterTest(await stageRun('diverged'));
    const tab = await openRun(run);
    await tab.until(`/round 380 at half the learning rate, 0\\.005/.test(document.querySelector('#doctor-what').textContent)`);
    expect(await tab.evaluate(`document.querySelector('#doctor-also').checkVisibility()`)).toBe(false);
    await tab.click('#doctor-do');
    await tab.until(`document.querySelector('#announcement').textContent !== ''`);
    expect(run.orders).toEqual([{ action: 'back', round: 380, learningRate: 0.005 }]);
  });
});

describe.skipIf(stage.missing !== undefined)('the report of a run', () => {
  it('fits a phone and a laptop, in light and in dark', async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'troupe-report-'));
    stage.closeAfterTest({ close: async () => fs.rmSync(folder, { recursive: true, force: true }) });
    const files = [{ name: 'best.safetensors', bytes: 4e6, sha256: 'ab'.repeat(32) }];
    const page = reportPage([{ folder: 'runs/001', program: 'troupe', files, history: stagedHistory('finished') }]);
    fs.writeFileSync(path.join(folder, 'report.html'), page);
    const tab = await stage.visit(pathToFileURL(path.join(folder, 'report.html')).href);
    for (const width of [360, 1_280]) {
      await tab.resize(width, 1_000);
      await settled(tab);
      expect(await tab.evaluate('document.documentElement.scrollWidth'), `${width} px`).toBeLessThanOrEqual(width);
    }
    for (const scheme of ['light', 'dark'] as const) {
      await show(tab, scheme);
      expect(await violations(tab), scheme).toEqual([]);
    }
    expect(tab.complaints).toEqual([]);
  });
});

describe('the first load of the dashboard', () => {
  let files: string[];
  beforeAll(() => {
    files = fs.readdirSync(builtPage('dashboard')).filter((name) => /\.(html|js|css)$/.test(name));
  });

  it('is at most 150 kB compressed', () => {
    const sizes = files.map((name) => gzipSync(fs.readFileSync(path.join(builtPage('dashboard'), name))).length);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(MAX_FIRST_LOAD);
  });
});

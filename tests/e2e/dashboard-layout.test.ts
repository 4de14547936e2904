/** The layout of the dashboard in every situation of a run, on a phone, a tablet, a laptop and a wall. */
import fs from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Tab } from './chromium.js';
import { faults, settled } from './layout.js';
import { builtPage, setStage, violations } from './stage.js';
import { stageRun, type Situation } from './staged-run.js';

const stage = setStage('dashboard', ['--lang=en-GB']);
const WIDTHS = [360, 800, 1280, 2560] as const;
const SITUATIONS = ['empty', 'running', 'paused', 'waiting', 'diverged', 'finished'] as const satisfies readonly Situation[];
/** The situations whose pages differ most are also checked with axe-core, which takes seconds for each. */
const CHECKED: readonly Situation[] = ['empty', 'running', 'diverged'];
/** Bytes of the page's files together, each compressed: what a first visit loads. */
const MAX_FIRST_LOAD = 150_000;

async function open(situation: Situation, query = ''): Promise<Tab> {
  const run = stage.closeAfterTest(await stageRun(situation));
  const tab = await stage.visit(`${run.origin}/${query}#admin=any`);
  await tab.until(`!document.querySelector('#run').hidden`);
  return tab;
}

describe.skipIf(stage.missing !== undefined)('the layout of the dashboard', () => {
  it.for(SITUATIONS)('fits every screen while the run is %s', async (situation) => {
    const tab = await open(situation);
    if (situation !== 'empty') await tab.until(`document.querySelector('#runs-table tbody tr') !== null`);
    for (const width of WIDTHS) {
      await tab.resize(width, 1_000);
      await settled(tab);
      expect(await faults(tab), `${width} px`).toEqual([]);
    }
    if (CHECKED.includes(situation)) expect(await violations(tab)).toEqual([]);
    expect(tab.complaints).toEqual([]);
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

  it('says what to type where the coordinator can do nothing', async () => {
    const tab = await open('diverged');
    await tab.until(`/round 380 .* --resume --lr 0\\.005/.test(document.querySelector('#doctor-what').textContent)`);
    expect(await tab.evaluate(`document.querySelector('#doctor-do').checkVisibility()`)).toBe(false);
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

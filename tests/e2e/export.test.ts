/**
 * A model taken home as a web page: made by the real command, opened from a file in a real browser
 * that reaches no network.
 */
import { execFile } from 'node:child_process';
import fs from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeCheckpoint } from '@troupe/checkpoint/node';
import { createLayout, initialParameters, stateSize, type ModelConfig } from '@troupe/model';
import type { Tab } from './chromium.js';
import { setStage } from './stage.js';
import { root, run, scratch, SMALL } from './troupe.js';

const call = promisify(execFile);
/** Each test starts several processes, on machines that others use as well. */
const SLOW = { timeout: 240_000 };
const MAX_PAGE_BYTES = 3e6;
/** What tiny-shakespeare has. */
const VOCABULARY = [..."\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"].sort();
const LARGE: ModelConfig = { cell: 'lstm', layers: 2, hidden: 256, vocabulary: VOCABULARY.length };
const OTHERS: readonly ModelConfig[] = [
  { ...LARGE, cell: 'gru', hidden: 24, embedding: 24, tied: true },
  { ...LARGE, cell: 'gru-reset-after', hidden: 20, layerNorm: true, dropout: 0.5 },
];

// Every name resolves to nothing: what the page would load fails, and its log says so.
const stage = setStage('player', ['--host-resolver-rules=MAP * ~NOTFOUND', '--allow-file-access-from-files']);
let folder = '';
beforeAll(async () => {
  folder = await scratch();
});
afterAll(() => fs.rm(folder, { recursive: true, force: true }));

/** Characters that are not all as likely: weights as a trained model has. */
async function checkpointOf(model: ModelConfig, name: string): Promise<string> {
  const parameters = initialParameters(model, createLayout(model), 5).map((weight) => weight * 3);
  const { path: file } = await writeCheckpoint(path.join(folder, name), {
    runId: 'r1',
    round: 1500,
    model,
    config: {},
    vocabulary: VOCABULARY,
    corpus: { name: 'plays </script><b>', sha256: 'ab'.repeat(32), characters: 1_115_394, trainFraction: 0.9 },
    parameters,
    parametersDigest: '0123456789abcdef',
    optimizer: { slots: [], scalars: [] },
    streamStates: new Float32Array(stateSize(model)),
    cursors: [0],
    rng: null,
    history: null,
  });
  return file;
}

async function troupe(...args: string[]): Promise<string> {
  const { stdout } = await call(process.execPath, [path.join(root, 'apps/cli/bin/troupe.mjs'), ...args], { cwd: folder });
  return stdout;
}

async function pageOf(checkpoint: string, ...flags: string[]): Promise<string> {
  const out = `${checkpoint}${flags.join('')}.html`;
  await troupe('export', '--web', checkpoint, '--out', out, ...flags);
  return out;
}

const set = (tab: Tab, id: string, value: string | number): Promise<void> =>
  tab.evaluate(`(() => { document.getElementById('${id}').value = ${JSON.stringify(String(value))}; })()`);

/** Without transitions between colours, which axe would measure half-way. */
const CALM = { name: 'prefers-reduced-motion', value: 'reduce' };

const IDLE = `document.querySelector('#status').textContent.includes('characters written')`;

async function write(tab: Tab, fields: Readonly<Record<string, string | number>>): Promise<string> {
  for (const [id, value] of Object.entries(fields)) await set(tab, id, value);
  await tab.until(`!document.querySelector('#write').disabled`);
  await tab.click('#write');
  await tab.until(IDLE, 60_000);
  return tab.text('#text');
}

async function open(file: string): Promise<Tab> {
  const tab = await stage.visit('about:blank');
  await tab.open(pathToFileURL(file).href);
  await tab.until(`!document.querySelector('#write').disabled`);
  return tab;
}

describe.skipIf(stage.missing !== undefined)('an exported page of 2x256', SLOW, () => {
  let checkpoint = '';
  let page = '';
  beforeAll(async () => {
    checkpoint = await checkpointOf(LARGE, 'large');
    page = await pageOf(checkpoint);
  });

  it('is one file of at most 3 MB that names no other file or address', async () => {
    const html = await fs.readFile(page, 'utf8');
    expect(Buffer.byteLength(html)).toBeLessThanOrEqual(MAX_PAGE_BYTES);
    const [markup] = html.split('<script');
    expect(`${markup}${html.slice(html.lastIndexOf('</script>'))}`).not.toMatch(/(src|href)=(?!"data:)/);
    expect(html).toContain(`content="default-src 'none'; script-src 'sha256-`);
  });

  it('writes what troupe sample writes with the same seed and float16 weights, offline from a file', async () => {
    const tab = await open(page);
    const shown = await write(tab, { opening: 'Shall I ', length: 2000, temperature: 0.9, seed: 7 });
    const flags = ['--checkpoint', checkpoint, '--prime', 'Shall I ', '--length', '2000', '--temperature', '0.9', '--seed', '7'];
    expect(`${shown}\n`).toBe(await troupe('sample', ...flags, '--precision', 'float16'));
    expect(shown).toHaveLength(2008);
    expect(await tab.text('h1')).toBe('A model trained on plays </script><b>');
    expect(tab.complaints).toEqual([]);
  });

  it('writes what plain troupe sample writes if its weights are float32', async () => {
    const tab = await open(await pageOf(checkpoint, '--precision', 'float32'));
    const shown = await write(tab, { length: 600, 'top-k': 12 });
    expect(`${shown}\n`).toBe(await troupe('sample', '--checkpoint', checkpoint, '--length', '600', '--top-k', '12'));
  });

  it('goes on with the same text when asked for more', async () => {
    const tab = await open(page);
    await write(tab, { opening: 'O ', length: 40 });
    await tab.click('#more');
    await tab.until(`document.querySelector('#text').textContent.length === 82`);
    const flags = ['--checkpoint', checkpoint, '--prime', 'O ', '--length', '80', '--precision', 'float16'];
    expect(`${await tab.text('#text')}\n`).toBe(await troupe('sample', ...flags));
  });

  it('stops at once, and begins again with the same text', async () => {
    const tab = await open(page);
    await set(tab, 'length', 1_000_000);
    await tab.click('#write');
    await tab.until(`document.querySelector('#written').textContent.length > 300`);
    await tab.click('#stop');
    await tab.until(`document.querySelector('#status').textContent.includes('then stopped')`);
    const first = await tab.text('#text');
    expect((await write(tab, { length: 300 })).slice(0, 300)).toBe(first.slice(0, 300));
  });

  it('names a character that the model does not know, and says which it knows', async () => {
    const tab = await open(page);
    await set(tab, 'opening', 'Naïve');
    await tab.click('#write');
    await tab.until(`!document.querySelector('#problem').hidden`);
    const problem = await tab.text('#problem');
    expect(problem).toContain('The model cannot read this opening: "ï" (U+00EF)');
    expect(problem).toContain('abcdefghi');
    expect(await tab.evaluate('document.activeElement.id')).toBe('opening');
    expect(await tab.evaluate(`document.querySelector('#opening').getAttribute('aria-invalid')`)).toBe('true');
  });

  it('is used with the keyboard alone', async () => {
    const tab = await open(page);
    await tab.press('Tab');
    expect(await tab.evaluate('document.activeElement.id')).toBe('opening');
    await tab.type('To be');
    for (let presses = 0; (await tab.evaluate('document.activeElement.id')) !== 'write'; presses++) {
      expect(presses).toBeLessThan(12);
      await tab.press('Tab');
    }
    await tab.press('Enter');
    await tab.until(IDLE);
    expect(await tab.text('#text')).toMatch(/^To be/);
  });

  it.each([360, 800, 1280, 2560])('fits a window of %i px, light and dark, and axe finds nothing', async (width) => {
    const tab = await open(page);
    await tab.resize(width, 800);
    await write(tab, { length: 200 });
    await tab.evaluate(`document.querySelector('details').open = true`);
    const axe = await fs.readFile(path.join(root, 'node_modules/axe-core/axe.min.js'), 'utf8');
    await tab.evaluate(`${axe}; 0`);
    for (const value of ['light', 'dark']) {
      await tab.command('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value }, CALM] });
      expect(await tab.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(width);
      expect(
        await tab.evaluate(
          `axe.run().then(({ violations }) => violations.map(({ id, nodes }) => [id, ...nodes.map(({ html }) => html)].join(' ')))`,
        ),
      ).toEqual([]);
      const out = process.env['TROUPE_SCREENSHOTS'];
      if (out !== undefined) await tab.screenshot(path.join(out, `export-${width}-${value}.png`));
    }
  });

  it('says that a file cut short is not whole', async () => {
    const cut = path.join(folder, 'cut.html');
    const html = await fs.readFile(page, 'utf8');
    const at = html.indexOf('<script id="weights"') + 5000;
    await fs.writeFile(cut, html.slice(0, at) + html.slice(at + 4000));
    const tab = await stage.visit('about:blank');
    await tab.open(pathToFileURL(cut).href);
    await tab.until(`!document.querySelector('#problem').hidden`);
    expect(await tab.text('#problem')).toContain('This file is not whole');
  });
});

describe.skipIf(stage.missing !== undefined)('an exported page', SLOW, () => {
  it.each(OTHERS.map((model) => [model.cell, model] as const))(
    'of a %s writes what troupe sample writes',
    async (name, model) => {
      const checkpoint = await checkpointOf(model, name);
      const tab = await open(await pageOf(checkpoint));
      const shown = await write(tab, { length: 400 });
      expect(`${shown}\n`).toBe(await troupe('sample', '--checkpoint', checkpoint, '--length', '400', '--precision', 'float16'));
    },
  );
});

describe('an export of the weights only', SLOW, () => {
  const train = (...flags: string[]) =>
    run(['train', ...SMALL, '--workers', '1', '--corpus', 'words.txt', '--rounds', '8', '--port', '0', ...flags], {
      cwd: folder,
    });

  it('starts a new run, and continues none', async () => {
    await fs.writeFile(path.join(folder, 'words.txt'), 'To be or not to be, that is the question.\n'.repeat(200));
    expect((await train('--out', 'first')).code).toBe(0);
    await fs.mkdir(path.join(folder, 'home'));
    await troupe('export', '--weights-only', 'first', '--out', 'home/best.safetensors');
    const resumed = await run(['train', '--resume', '--out', 'home', '--rounds', '20', '--port', '0'], { cwd: folder });
    expect(resumed.code).toBe(1);
    expect(resumed.stderr).toContain('holds the weights of a model and nothing else');
    expect(resumed.stderr).toContain('leave --resume out and add --init');
    // As the remedy says.
    const started = await run(
      [
        'train',
        '--init',
        'home/best.safetensors',
        '--workers',
        '1',
        '--batch',
        '4',
        '--window',
        '8',
        '--corpus',
        'words.txt',
        '--rounds',
        '4',
        '--port',
        '0',
        '--out',
        'second',
      ],
      { cwd: folder },
    );
    expect(started.code).toBe(0);
    expect((await fs.readdir(path.join(folder, 'second'))).join()).toContain('round-00000004.safetensors');
  });
});

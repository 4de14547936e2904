/** The viewer of the runs in a folder. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { encodeEntry, type LiveMessage } from '@troupe/run';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openStoredRun } from '../src/view/stored-run.js';
import { view, ViewError } from '../src/view/viewer.js';
import { askHttp, openViewer, scratch, startCoordinator, type Answer } from './running.js';

let folder = '';
let host = '';
const stop = new AbortController();
let ended: Promise<void>;

/** Two runs: one that is finished, and one that was interrupted and has a strange name. */
beforeAll(async () => {
  folder = await scratch();
  const run = await startCoordinator(`--out=${path.join(folder, '001')}`, '--rounds=4', '--eval-every=2');
  run.join('w');
  await run.ended;
  const other = path.join(folder, 'my run <2>');
  await fs.mkdir(other);
  const lines = (await fs.readFile(path.join(folder, '001', 'history.jsonl'), 'utf8')).split('\n');
  await fs.writeFile(
    path.join(other, 'history.jsonl'),
    lines
      .slice(
        0,
        lines.findIndex((line) => line.startsWith('[3')),
      )
      .join('\n') + '\n',
  );
  await fs.mkdir(path.join(folder, 'no run'));
  let listening = (_link: string): void => undefined;
  const link = new Promise<string>((resolve) => (listening = resolve));
  ended = view({ folder, host: '127.0.0.1', port: 0, report: () => undefined, onListening: listening, signal: stop.signal });
  host = new URL(await Promise.race([link, ended.then(() => 'http://ended')])).host;
});
afterAll(async () => {
  stop.abort(new Error('enough'));
  await ended;
  await fs.rm(folder, { recursive: true, force: true });
});

const ask = (where: string, asking: Parameters<typeof askHttp>[2] = {}): Promise<Answer> => askHttp(host, where, asking);

describe('the list of runs', () => {
  it('links every run, and shows names as text', async () => {
    const { text, headers } = await ask('/');
    expect(text).toContain('<a href="./001/">001</a>');
    expect(text).toContain('<a href="./my-run--2-/">my-run--2-</a>');
    expect(text).not.toContain('no run<');
    expect(text).toContain('all rounds are complete');
    expect(headers['content-security-policy']).toMatch(/default-src 'none'; style-src 'sha256-/);
  });

  it('has a run that was started later', async () => {
    await fs.cp(path.join(folder, '001'), path.join(folder, '002'), { recursive: true });
    expect((await ask('/')).text).toContain('./002/');
    expect((await ask('/002/api/run')).status).toBe(200);
    await fs.rm(path.join(folder, '002'), { recursive: true });
  });

  it('is only for pages of this machine', async () => {
    expect((await ask('/', { headers: { host: 'evil.example' } })).status).toBe(403);
    expect((await ask('/001/api/run', { headers: { host: 'evil.example' } })).status).toBe(403);
  });
});

describe('a run in a folder', () => {
  it('gives its model to take home, if it has saved one', async () => {
    const { status, headers } = await ask('/001/api/model/pytorch');
    expect([status, headers['content-type']]).toEqual([200, 'application/gzip']);
    expect(headers['content-disposition']).toMatch(/filename="model-pytorch-round-\d+\.tar\.gz"/);
    expect((await ask('/my-run--2-/api/model/web')).json).toMatchObject({ code: 'no_checkpoint', remedy: /--resume/ });
  });

  it('has its dashboard, its curves, its samples and its log', async () => {
    expect((await ask('/001/')).headers['content-type']).toContain('text/html');
    expect((await ask('/001/api/run')).json).toMatchObject({
      ...{ phase: 'over', phaseReason: 'all rounds are complete', round: 4, rounds: 4, access: ['read'] },
      corpus: { name: 'sonnets', characters: 94_476 },
    });
    expect((await ask('/001/api/history')).json.points.round).toEqual([1, 2, 3, 4]);
    expect((await ask('/001/api/samples')).json.samples.at(-1)).toMatchObject({ round: 4 });
    expect((await ask('/001/api/events')).json.events.length).toBeGreaterThan(0);
    expect((await ask('/my-run--2-/api/run')).json).toMatchObject({ phase: 'over', phaseReason: 'stopped', round: 2 });
  });

  it('can be compared with the others', async () => {
    const { runs } = (await ask('/001/api/runs')).json;
    expect(runs.map((run: { folder: string }) => run.folder).sort()).toEqual(['001', 'my run <2>']);
  });

  it('writes with its best model', async () => {
    const { text } = await ask('/001/api/sample', { body: { length: 12, seed: 1 } });
    expect(text).toContain('"type":"end"');
    const none = await ask('/my-run--2-/api/sample', { body: { length: 12 } });
    expect([none.status, none.json.code]).toEqual([404, 'no_checkpoint']);
  });

  it('is not controlled, and gives nothing away but what it shows', async () => {
    expect((await ask('/001/api/control', { body: { action: 'stop' } })).json).toMatchObject({ code: 'read_only' });
    expect((await ask('/001/api/checkpoint')).status).toBe(403);
    expect((await ask('/001/secrets.json')).status).toBe(404);
    expect((await ask('/001/api/network')).status).toBe(404);
  });

  it('shows on the live link what its coordinator appends', async () => {
    const file = path.join(folder, 'my run <2>', 'history.jsonl');
    const viewer = openViewer(`ws://${host}/my-run--2-/live`, {});
    await viewer.message(({ type }) => type === 'hello');
    const point = (await ask('/001/api/history')).json.points;
    const next = Object.fromEntries(Object.entries(point).map(([field, values]) => [field, (values as number[])[2]]));
    const line = encodeEntry({ type: 'round', point: next as never });
    await fs.appendFile(file, line.slice(0, 10));
    await fs.appendFile(file, `${line.slice(10)}\n`);
    const isNew = (message: LiveMessage): boolean => message.type === 'update' && message.points?.round.includes(3) === true;
    await viewer.message(isNew);
    viewer.socket.close();
  });
});

it('a history is read again when it has been rewound, and a line that is not whole yet is left for later', async () => {
  const other = await scratch();
  const file = path.join(other, 'history.jsonl');
  const header = (await fs.readFile(path.join(folder, '001', 'history.jsonl'), 'utf8')).split('\n', 1)[0];
  await fs.writeFile(file, `${header}\n{"type":"evaluation","evaluation":{"round":2,"validationLoss":1.5}}\n{"type":"eval`);
  const run = (await openStoredRun(other, () => 0))!;
  expect(run.best).toEqual({ round: 2, validationLoss: 1.5 });
  await fs.appendFile(file, 'uation","evaluation":{"round":3,"validationLoss":1.25}}\n');
  expect(await run.refresh()).toBe(true);
  expect(run.best).toEqual({ round: 3, validationLoss: 1.25 });
  await fs.writeFile(file, `${header}\n`);
  expect(await run.refresh()).toBe(false);
  await fs.rm(other, { recursive: true, force: true });
});

it('a folder that is not there ends the viewer with a remedy', async () => {
  const nowhere = { folder: path.join(folder, 'nowhere'), host: '127.0.0.1', port: 0, report: () => undefined };
  const attempt = view({ ...nowhere, onListening: () => undefined, signal: stop.signal });
  await expect(attempt).rejects.toThrow(ViewError);
  await expect(attempt).rejects.toMatchObject({ remedy: expect.stringContaining('folder of your runs') as string });
});

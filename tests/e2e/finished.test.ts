/** The end of a run with real processes: who comes after it still finds pages, playground and model. */
import fs from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { end, hasTerminals, named, scratch, SMALL, start, type Running } from './troupe.js';

let cwd = '';
const started: Running[] = [];
beforeAll(async () => {
  cwd = await scratch();
});
afterEach(async () => {
  for (const one of started.splice(0)) await end(one);
});
afterAll(() => fs.rm(cwd, { recursive: true, force: true }));

function launch(args: readonly string[], isTerminal = false): Running {
  const running = start(args, { cwd, env: { TERM: 'xterm' }, terminal: isTerminal });
  started.push(running);
  return running;
}

const TRAIN = ['train', ...SMALL, '--workers', '1', '--engine', 'wasm'];

interface Place {
  readonly origin: string;
  readonly admin: string;
}

/** @param dashboard "http://127.0.0.1:4242/#admin=TOKEN" */
function placeOf(dashboard: string): Place {
  const url = new URL(dashboard);
  return { origin: url.origin, admin: decodeURIComponent(url.hash.replace('#admin=', '')) };
}

async function ask({ origin, admin }: Place, where: string, body?: unknown): Promise<Response> {
  const headers = { authorization: `Bearer ${admin}`, 'content-type': 'application/json' };
  const post = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) };
  return fetch(`${origin}${where}`, { headers, signal: AbortSignal.timeout(20_000), ...post });
}

async function expectViewed(run: string, round: number): Promise<void> {
  const viewer = launch(['view', '.', '--port', '0', '--json']);
  const { link } = await viewer.line(named('viewing'));
  expect(await (await fetch(link as string)).text()).toContain(`./${run}/`);
  await expectFinished({ origin: `${String(link)}${run}`, admin: '' }, round);
  viewer.child.kill('SIGINT');
  expect((await viewer.exited).code).toBe(0);
}

async function expectFinished(place: Place, round: number): Promise<void> {
  expect((await ask(place, '/')).status).toBe(200);
  expect(await (await ask(place, '/api/run')).json()).toMatchObject({ phase: 'over', round, rounds: round });
  expect(await (await ask(place, '/api/sample', { length: 40, seed: 1 })).text()).toContain('"type":"end"');
}

it.skipIf(!hasTerminals)(
  'in a terminal the pages stay open after the last round, and Ctrl-C ends the command with 0 (SKIPPED without python3)',
  async () => {
    const run = launch([...TRAIN, '--rounds', '30', '--out', 'terminal'], true);
    await expect.poll(() => run.text(), { timeout: 60_000 }).toContain('The pages stay open');
    const place = placeOf(/http:\S+#admin=\S+/.exec(run.text())![0]);
    await expectFinished(place, 30);
    expect((await ask(place, '/join/')).status).toBe(200);
    expect(run.text()).toMatch(/validation +best [\d.]+ nats\/char, after round \d+/);
    expect(run.text().match(/saved terminal\/round-00000030/g)).toBeNull();
    expect(run.text()).not.toContain('join with');
    run.child.kill('SIGINT');
    expect((await run.exited).code).toBe(0);
  },
);

describe('a run that is resumed', () => {
  it('is at the same port with the same tokens, is finished there for those who come late, and is shown by troupe view', async () => {
    const first = launch([...TRAIN, '--rounds', '100000', '--out', 'resumed', '--json']);
    const before = await first.line(named('listening'));
    await first.line((line) => line.event === 'round' && (line.round as number) >= 5);
    first.child.kill('SIGTERM');
    expect((await first.exited).code).toBe(0);
    const { round } = await first.line(named('finished'));

    const rounds = String((round as number) + 5);
    const again = launch([
      'train',
      '--resume',
      '--out',
      'resumed',
      '--rounds',
      rounds,
      '--workers',
      '1',
      '--keep-serving',
      '--json',
    ]);
    const { address, dashboard, volunteer } = await again.line(named('listening'));
    expect([address, dashboard, volunteer]).toEqual([before.address, before.dashboard, before.volunteer]);
    await again.line(named('serving'));
    const place = placeOf(before.dashboard as string);
    expect(await (await ask(place, '/api/run')).json()).toMatchObject({ phase: 'over', round: Number(rounds) });
    again.child.kill('SIGTERM');
    expect((await again.exited).code).toBe(0);
    await expectViewed('resumed', Number(rounds));
  });
});

/** A coordinator whose run is finished: it keeps serving, and a resumed run is found at the same place. */
import fs from 'node:fs/promises';
import path from 'node:path';
import type { RunEvent } from '@troupe/run';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { keepOpen, LINGER_MS, whenDoneOf } from '../src/afterwards.js';
import { runCoordinator } from '../src/coordinator.js';
import { parseSettings } from '../src/settings.js';
import { ADMIN, scratch, startCoordinator, TOKEN, type RunningCoordinator } from './running.js';

let out: string;
const running: RunningCoordinator[] = [];
beforeEach(async () => {
  out = await scratch();
});
afterEach(async () => {
  for (const one of running.splice(0)) await one.stop();
  await fs.rm(out, { recursive: true, force: true });
});

async function finishedRun(...flags: string[]): Promise<RunningCoordinator> {
  const run = await startCoordinator(`--out=${out}`, '--rounds=3', '--eval-every=1', ...flags);
  running.push(run);
  const { done } = run.join('w');
  await run.event('serving');
  expect(await done).toBe('ended');
  return run;
}

describe('a finished coordinator that keeps serving', () => {
  it('answers those who come after the end: pages, API and playground', async () => {
    const run = await finishedRun('--keep-serving');
    expect((await run.ask('/join/')).status).toBe(200);
    expect((await run.ask('/')).status).toBe(200);
    const { json } = await run.ask('/api/run', { token: TOKEN });
    expect(json).toMatchObject({ phase: 'over', phaseReason: 'all rounds are complete', round: 3, rounds: 3 });
    expect(json.sample.text.length).toBeGreaterThan(0);
    expect(json.lossHistory).toHaveLength(3);
    const played = await run.ask('/api/sample', { token: ADMIN, body: { length: 20, seed: 1 } });
    expect(played.status).toBe(200);
    expect(played.text).toContain('"type":"end"');
    expect((await run.ask('/api/checkpoint', { token: ADMIN })).status).toBe(200);
    expect((await run.ask('/api/model/web', { token: TOKEN })).status).toBe(200);
    expect((await run.ask('/healthz')).json).toMatchObject({ phase: 'over' });
  });

  it('tells a dashboard that reconnects that the run is complete, and refuses orders', async () => {
    const run = await finishedRun('--keep-serving');
    const viewer = run.live({ token: ADMIN });
    const hello = await viewer.message(({ type }) => type === 'hello');
    expect(hello).toMatchObject({ view: { phase: 'over', round: 3 }, lastRound: 3 });
    expect((await run.steer({ action: 'pause' })).json).toMatchObject({ code: 'run_over' });
    viewer.socket.close();
  });

  it('tells a worker that comes late that the run is over', async () => {
    const run = await finishedRun('--keep-serving');
    expect(await run.join('late').done).toMatchObject({ code: 'run_over' });
  });

  it('writes with the best model, and says so', async () => {
    const run = await finishedRun('--keep-serving');
    const { bestRound } = await run.event('finished');
    expect(bestRound).toBeGreaterThan(0);
    const { text } = await run.ask('/api/sample', { token: ADMIN, body: { length: 1, seed: 1 } });
    expect(text).toContain(`"type":"start","round":${bestRound}`);
  });

  it('frees its folder, and writes nothing to it any more', async () => {
    const run = await finishedRun('--keep-serving');
    await expect(fs.access(path.join(out, 'run.lock'))).rejects.toThrow();
    const history = path.join(out, 'history.jsonl');
    const before = await fs.readFile(history, 'utf8');
    await run.join('late').done;
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    expect(await fs.readFile(history, 'utf8')).toBe(before);
    expect(before).toContain('completed at round 3');
    expect(await fs.readFile(path.join(out, 'report.html'), 'utf8')).toMatch(/Complete: 3 rounds[\s\S]*[0-9a-f]{64}/);
  });

  it('ends without an error when it is told to', async () => {
    const run = await finishedRun('--keep-serving');
    await run.stop();
    await run.ended;
  });

  it('opens its pages again after a restart', async () => {
    await (await finishedRun('--keep-serving')).stop();
    const again = await startCoordinator(`--out=${out}`, '--resume', '--keep-serving');
    running.push(again);
    await again.event('serving');
    expect((await again.ask('/api/run', { token: TOKEN })).json).toMatchObject({ phase: 'over', round: 3 });
    expect(again.events.filter(({ event }) => event === 'evaluation')).toEqual([]);
  });
});

it('a coordinator without a terminal ends with its run', async () => {
  const run = await startCoordinator(`--out=${out}`, '--rounds=2');
  run.join('w');
  await run.ended;
  expect(run.events.some(({ event }) => event === 'serving')).toBe(false);
});

describe('what happens at the end', () => {
  it('follows from the flags, or else from the terminal', () => {
    const flags = (...names: string[]) => new Map(names.map((name) => [name, 'true']));
    expect(whenDoneOf(flags(), true)).toBe('serve');
    expect(whenDoneOf(flags(), false)).toBe('exit');
    expect(whenDoneOf(flags('--linger'), false)).toBe('linger');
    expect(whenDoneOf(flags('--linger', '--exit-when-done'), true)).toBe('exit');
    expect(whenDoneOf(flags('--keep-serving'), false)).toBe('serve');
  });

  it('is not two things at once', () => {
    expect(() => parseSettings(['--keep-serving', '--exit-when-done'], {})).toThrow(/exclude each other/);
  });

  it('comes for a lingering one when nobody has looked for long enough', async () => {
    const never = new AbortController().signal;
    await keepOpen('linger', { lastLookMs: () => -Infinity, nowMs: createClock(0, LINGER_MS) }, never);
    const looked = { times: 0, at: [100, -Infinity] };
    const company = { lastLookMs: () => looked.at[looked.times++] ?? -Infinity, nowMs: createClock(0, LINGER_MS, LINGER_MS) };
    await keepOpen('linger', company, never);
    expect(looked.times).toBe(2);
  });
});

/** Answers with these times, and then with the last one. */
function createClock(...times: number[]): () => number {
  return () => (times.length > 1 ? times.shift()! : times[0]);
}

describe('a run that is resumed', () => {
  it('has its port and the tokens that it made up again, which only their owner can read', async () => {
    const first = await addressesOf(['--port=0', '--rounds=5']);
    expect(((await fs.stat(path.join(out, 'secrets.json'))).mode & 0o777).toString(8)).toBe('600');
    expect(await fs.readFile(path.join(out, 'run.json'), 'utf8')).not.toContain(first.token);
    expect(await addressesOf(['--resume'])).toEqual(first);
  });

  it('stores no token that a person chose', async () => {
    await addressesOf(['--port=0', '--rounds=5'], { TROUPE_TOKEN: 'chosen-by-a-person' });
    expect(await fs.readFile(path.join(out, 'secrets.json'), 'utf8')).not.toContain('chosen-by-a-person');
  });

  it('listens at another port if its own is taken, and says so', async () => {
    const first = await addressesOf(['--port=0', '--rounds=5']);
    const squatter = await startCoordinator(`--out=${out}-other`, `--port=${new URL(first.address).port}`);
    running.push(squatter);
    const notes: RunEvent[] = [];
    const second = await addressesOf(['--resume'], {}, (event) => notes.push(event));
    expect(second.token).toBe(first.token);
    expect(second.address).not.toBe(first.address);
    expect(notes).toContainEqual(
      expect.objectContaining({ level: 'warn', text: expect.stringContaining('open pages of this run will not find') as string }),
    );
    await running.pop()!.stop();
    await fs.rm(`${out}-other`, { recursive: true, force: true });
  });

  it('does not start with a damaged file of secrets, and says what to do', async () => {
    await addressesOf(['--port=0', '--rounds=5']);
    await fs.writeFile(path.join(out, 'secrets.json'), '{"format":1,"port":"x"}');
    await expect(addressesOf(['--resume'])).rejects.toMatchObject({ code: 'cannot_read', remedy: /remove it/ });
  });
});

interface Links {
  readonly address: string;
  readonly token?: string | undefined;
  readonly dashboard?: string | undefined;
}

/** Starts a coordinator with a checkpoint at once, and stops it. */
async function addressesOf(
  flags: readonly string[],
  env: NodeJS.ProcessEnv = {},
  hear?: (event: RunEvent) => void,
): Promise<Links> {
  const settings = parseSettings(['--hidden=8', '--batch=4', '--window=8', `--out=${out}`, ...flags], env);
  const stop = new AbortController();
  let links: Links | undefined;
  const report = (event: RunEvent): void => {
    hear?.(event);
    if (event.event === 'listening') links = { address: event.address, token: event.token, dashboard: event.dashboard };
    // After the links are stored.
    if (event.event === 'started') setTimeout(() => stop.abort(new Error('enough')), 300);
  };
  await runCoordinator({ settings, env, report, signal: stop.signal });
  return links!;
}

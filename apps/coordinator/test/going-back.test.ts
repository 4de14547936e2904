/** An admin takes a run back to a checkpoint. */
import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import type { RunEvent } from '@troupe/run';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ADMIN, scratch, startCoordinator, TOKEN, type RunningCoordinator } from './running.js';

// Takes a second or two on two idle cores.
vi.setConfig({ testTimeout: 60_000 });

let out: string;
const running: RunningCoordinator[] = [];
beforeEach(async () => {
  out = await scratch();
});
afterEach(async () => {
  for (const one of running.splice(0)) await one.stop().catch(() => undefined);
  await fs.rm(out, { recursive: true, force: true });
});

async function start(...flags: string[]): Promise<RunningCoordinator> {
  const run = await startCoordinator(`--out=${out}`, '--eval-every=0', '--checkpoint-every=10', ...flags);
  running.push(run);
  return run;
}

type EventOf<K extends RunEvent['event']> = Extract<RunEvent, { event: K }>;

/** The nth event of a kind, counted from 1. */
async function nth<K extends RunEvent['event']>(
  { events, ended }: RunningCoordinator,
  kind: K,
  count: number,
): Promise<EventOf<K>> {
  for (;;) {
    const found = events.filter((event): event is EventOf<K> => event.event === kind);
    if (found.length >= count) return found[count - 1];
    await Promise.race([new Promise((resolve) => setTimeout(resolve, 5)), ended]);
  }
}

const checkpoints = async (...folder: string[]): Promise<string[]> =>
  (await fs.readdir(path.join(out, ...folder))).filter((name) => name.endsWith('.safetensors')).sort();
const leftBehind = async (): Promise<string[]> => (await fs.readdir(out)).filter((name) => name.startsWith('left-at-round-'));

describe('a run that an admin takes back', () => {
  it('goes on from the checkpoint with its workers, at the new rate, and loses nothing of what it leaves behind', async () => {
    const run = await start('--rounds=1000000', '--keep=100');
    run.join('w');
    const { round: target } = await nth(run, 'checkpoint', 1);
    const later = await nth(run, 'checkpoint', 2);
    const seen = Math.max(...run.events.map((event) => (event.event === 'round' ? event.round : 0)));
    const { status, json } = await run.steer({ action: 'back', round: target, learningRate: 0.0001 });
    expect({ status, text: json.text }).toEqual({
      status: 200,
      text: expect.stringMatching(
        new RegExp(`^the run goes back from round \\d+ to round ${target} with learning rate 0\\.0001$`),
      ),
    });
    expect((await nth(run, 'started', 2)).round).toBe(target);
    const after = run.events.slice(run.events.findLastIndex(({ event }) => event === 'started'));
    const next = await (async () => {
      for (;;) {
        const found = run.events.filter((event) => event.event === 'round').at(-1)!;
        if (run.events.indexOf(found) > run.events.indexOf(after[0]) && found.round > target) return found;
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    })();
    expect(next.learningRate).toBeCloseTo(0.0001, 8);

    const [left] = await leftBehind();
    const round = Number(/\d+$/.exec(left)![0]);
    const names = await checkpoints(left);
    expect(names).toEqual(expect.arrayContaining([path.basename(later.path)]));
    // It was saved as it was when the order came.
    expect(Number(/\d+/.exec(names.at(-1)!)![0])).toBeGreaterThanOrEqual(seen);
    const history = await fs.readFile(path.join(out, left, 'history.jsonl'), 'utf8');
    expect(history).toContain(`\n[${round},`);
    const { json: events } = await run.ask('/api/events', { token: ADMIN });
    const texts = (events.events as { text: string }[]).map(({ text }) => text);
    expect(texts).toContain(`an admin took the run back from round ${round} to round ${target}; what came after is in ${left}`);
  });

  it('is refused where there is no such checkpoint, and for those who are no admins', async () => {
    const run = await start('--rounds=1000000', '--keep=2');
    run.join('w');
    await nth(run, 'checkpoint', 3);
    await run.steer({ action: 'pause' });
    const { status, json } = await run.steer({ action: 'back', round: 7 });
    expect({ status, code: json.code }).toEqual({ status: 404, code: 'no_checkpoint' });
    expect(json.remedy).toMatch(/^Kept are those of rounds \d+, \d+\./);
    expect((await run.steer({ action: 'back', learningRate: 0 })).status).toBe(400);
    expect((await run.ask('/api/control', { token: TOKEN, body: { action: 'back' } })).status).toBe(401);
    expect(await leftBehind()).toEqual([]);
  });

  it('stays paused, and keeps what was set', async () => {
    const run = await start('--rounds=1000000');
    run.join('w');
    await run.steer({ action: 'set', learningRate: 0.00025 });
    await nth(run, 'checkpoint', 1);
    await run.steer({ action: 'pause' });
    expect((await run.steer({ action: 'back' })).status).toBe(200);
    await nth(run, 'started', 2);
    const view = async () => (await run.ask('/api/run', { token: TOKEN }).catch(() => ({ json: {} }))).json;
    await expect.poll(view, { timeout: 5_000 }).toMatchObject({ phase: 'paused', config: { learningRate: 0.00025 } });
  });

  it('has the rounds of the checkpoint, and those that its flags ask for if that is from before they changed', async () => {
    const flags = ['--rounds=1000000', '--keep=1000', '--eval-every=8', '--ema=0.9'];
    const exact = await start(...flags, '--reproducible');
    exact.join('w');
    const { round: early } = await nth(exact, 'checkpoint', 1);
    await nth(exact, 'checkpoint', 2);
    await exact.stop();

    const run = await start(...flags, '--resume', '--local-steps=4', '--tracks=2');
    run.join('w');
    const config = async () => (await run.ask('/api/run', { token: TOKEN })).json.config;
    const changed = await config();
    const { round: late } = await nth(run, 'checkpoint', 2);
    expect(changed).toMatchObject({ localSteps: 4, ema: 0.6561 });
    expect(late).toBeGreaterThan(changed.changedRound);
    expect((await run.steer({ action: 'back', round: late })).status).toBe(200);
    expect((await nth(run, 'started', 2)).round).toBe(late);
    await expect.poll(config, { timeout: 5_000 }).toEqual(changed);
    expect((await run.steer({ action: 'back', round: early })).status).toBe(200);
    expect((await nth(run, 'started', 3)).round).toBe(early);
    await expect.poll(config, { timeout: 5_000 }).toMatchObject({ localSteps: 4, ema: 0.6561, changedRound: early });
  });

  it('gives the same bits as if nothing had happened, when it is reproducible, and keeps its settings', async () => {
    const flags = ['--rounds=60', '--reproducible', '--keep=100'];
    const hash = async (): Promise<string> =>
      createHash('sha256')
        .update(await fs.readFile(path.join(out, 'round-00000060.safetensors')))
        .digest('hex');
    const undisturbed = await start(...flags);
    undisturbed.join('w');
    await undisturbed.ended;
    const expected = await hash();
    await fs.rm(out, { recursive: true });

    const run = await start(...flags, '--keep-serving');
    run.join('w');
    await run.event('serving');
    const { round } = await nth(run, 'checkpoint', 1);
    expect(round).toBeLessThan(60);
    expect((await run.steer({ action: 'back', round, learningRate: 0.001 })).json).toMatchObject({ code: 'reproducible' });
    expect((await run.steer({ action: 'back', round })).status).toBe(200);
    await nth(run, 'started', 2);
    run.join('again');
    await nth(run, 'serving', 2);
    expect(await hash()).toBe(expected);
    expect(await checkpoints('left-at-round-00000060')).toContain('round-00000060.safetensors');
  });
});

describe('a run that has diverged', () => {
  const diverge = async (): Promise<RunningCoordinator> => {
    const run = await start('--rounds=1000000', '--keep-serving', '--optimizer=sgd', '--lr=0.01', '--clip=0');
    run.join('w');
    await nth(run, 'checkpoint', 1);
    await run.steer({ action: 'set', learningRate: 1e3 });
    await run.event('serving');
    return run;
  };

  it('keeps serving, goes back to the last good checkpoint at a lower rate, and ends without an error', async () => {
    const run = await diverge();
    const { json } = await run.ask('/api/run', { token: TOKEN });
    expect(json).toMatchObject({ phase: 'over', phaseReason: expect.stringMatching(/^failed/) });
    const { status, json: reply } = await run.steer({ action: 'back', learningRate: 0.005 });
    expect({ status, reply }).toMatchObject({
      status: 200,
      reply: { text: expect.stringMatching(/with learning rate 0\.005$/) },
    });
    const { round } = await nth(run, 'started', 2);
    expect(round % 10).toBe(0);
    expect(round).toBeGreaterThan(0);
    const before = run.events.filter((event) => event.event === 'round').length;
    run.join('again');
    await nth(run, 'round', before + 5);
    await run.stop();
  });

  it('ends as diverged when nobody does so', async () => {
    const run = await diverge();
    await expect(run.stop()).rejects.toMatchObject({ code: 'diverged' });
  });
});

import fs from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Gradient } from '@troupe/model';
import type { Ban, RunEvent, WorkerView } from '@troupe/run';
import { afterEach, describe, expect, it } from 'vitest';
import { scratch, startCoordinator, type RunningCoordinator } from './running.js';

const VOLUNTEERS = 'token-of-volunteers';
let coordinator: RunningCoordinator;
let folder: string;

afterEach(async () => {
  await coordinator.stop().catch(() => undefined);
  await fs.rm(folder, { recursive: true, force: true });
});

async function start(...flags: string[]): Promise<void> {
  folder = await scratch();
  coordinator = await startCoordinator('--out', folder, '--volunteer-token', VOLUNTEERS, ...flags);
}

const flipped = (result: Gradient): Gradient => ({ ...result, gradient: result.gradient.map((value) => -value) });
const bans = () =>
  coordinator.events.flatMap((event) =>
    event.event === 'decision' && event.decision.kind === 'auditFailed' ? [event.decision] : [],
  );

const admin = { token: 'token-of-admins' };
const bansNow = async () => (await coordinator.ask('/api/bans', admin)).json.bans as Ban[];
const fileOfBans = () => path.join(folder, 'bans.json');
/** The same run in a new process, as far as its memory is concerned. */
async function again(): Promise<void> {
  await coordinator.stop();
  coordinator = await startCoordinator('--out', folder, '--volunteer-token', VOLUNTEERS, '--resume');
}
const workersNow = async () => (await coordinator.ask('/api/run', admin)).json.workers as WorkerView[];
const workerNamed = async (name: string): Promise<WorkerView | undefined> =>
  (await workersNow()).find((worker) => worker.name === name);
const workerThere = async (name: string): Promise<WorkerView | undefined> =>
  (await workersNow()).find((worker) => worker.name === name && worker.state !== 'left');

describe('a coordinator', () => {
  it('bans a volunteer that lies, keeps honest ones, and lets nothing of it count', async () => {
    await start('--rounds=1000000', '--codec=fp16');
    coordinator.join('honest', { token: VOLUNTEERS });
    const liar = coordinator.join('liar', { token: VOLUNTEERS, lie: flipped });
    expect(await liar.done).toBe('ended');
    expect(bans()).toEqual([
      expect.objectContaining({ worker: 'liar', reason: expect.stringMatching(/off by 200 % of the norm/) }),
    ]);
    expect(bans()[0].since).toBeUndefined();
    expect(await coordinator.join('liar', { token: VOLUNTEERS }).done).toMatchObject({ code: 'banned' });
    // The honest one was at the address of the liar. It has joined again by itself, and all of its work is audited.
    let honest: WorkerView | undefined;
    while (!((honest?.audits?.passed ?? 0) > 3)) [honest] = [await workerThere('honest'), await delay(20)];
    expect(honest!.audits!.onProbation).toBe(true);
    expect(coordinator.events).toContainEqual(
      expect.objectContaining({ name: 'honest', change: 'left', reason: expect.stringMatching(/^a worker at this address/) }),
    );
  });

  it('goes back, by itself, to a checkpoint that a lie has not touched, and goes on', async () => {
    await start('--rounds=400', '--checkpoint-every=20', '--eval-every=0', '--lr=0.0001');
    coordinator.join('honest', { token: VOLUNTEERS });
    coordinator.join('turning', { token: VOLUNTEERS, lie: (result, computed) => (computed < 40 ? result : flipped(result)) });
    await coordinator.ended;
    expect(bans()).toEqual([expect.objectContaining({ worker: 'turning', since: expect.any(Number) })]);
    const since = bans()[0].since!;
    const continued = coordinator.events.filter((event) => event.event === 'started').map(({ round }) => round);
    expect(continued).toHaveLength(2);
    expect(continued[1]).toBeLessThanOrEqual(since);
    expect(await fs.readdir(folder)).toContainEqual(expect.stringMatching(/\.tainted$/));
    expect(coordinator.events).toContainEqual(expect.objectContaining({ event: 'finished', round: 400 }));
  });
});

describe('the bans of a run', () => {
  const findLiar = async (): Promise<void> => {
    await start('--rounds=1000000', '--checkpoint-every=5');
    coordinator.join('honest', { token: VOLUNTEERS });
    await coordinator.join('liar', { token: VOLUNTEERS, lie: flipped }).done;
  };

  it('outlive the process, with what was found, in a file that only its owner may read', async () => {
    await findLiar();
    const before = await bansNow();
    expect(before).toEqual([
      expect.objectContaining({
        ...{ id: 'b1', by: 'audit', address: '127.0.0.1', name: 'liar', refused: true, held: true },
        reason: expect.stringMatching(/off by 200 % of the norm/) as string,
      }),
    ]);
    expect((await coordinator.ask('/api/bans', { token: VOLUNTEERS })).status).toBe(401);
    await again();
    expect(((await fs.stat(fileOfBans())).mode & 0o777).toString(8)).toBe('600');
    expect(await bansNow()).toEqual(before);
    expect(await coordinator.join('liar', { token: VOLUNTEERS }).done).toMatchObject({ code: 'banned' });
  });

  it('hold the address of a liar after a resume: what comes from there is always audited', async () => {
    await findLiar();
    await again();
    coordinator.join('neighbour', { token: VOLUNTEERS });
    let neighbour: WorkerView | undefined;
    while ((neighbour?.rounds ?? 0) < 30) [neighbour] = [await workerNamed('neighbour'), await delay(20)];
    const { rounds, audits } = neighbour!;
    expect(audits!.passed).toBeGreaterThanOrEqual(rounds - 2);
  });

  it('can be lifted by an admin, also for the next process', async () => {
    await findLiar();
    expect((await coordinator.steer({ action: 'unban', ban: 'b7' })).json).toMatchObject({ code: 'no_such_ban' });
    expect((await coordinator.steer({ action: 'unban', ban: 'b1' })).json.text).toBe('the ban of liar at 127.0.0.1 was lifted');
    expect(await bansNow()).toEqual([]);
    const pardoned = coordinator.join('liar', { token: VOLUNTEERS });
    while (!(await workerNamed('liar'))) await delay(20);
    pardoned.leave();
    await again();
    expect(await bansNow()).toEqual([]);
    await expect(fs.stat(fileOfBans())).rejects.toThrow('ENOENT');
  });

  it('are not lost silently when their file is damaged', async () => {
    await findLiar();
    await coordinator.stop();
    const whole = JSON.parse(await fs.readFile(fileOfBans(), 'utf8')) as { bans: Ban[] };
    const others = [
      { ...whole.bans[0], name: 'two\nlines' },
      { ...whole.bans[0], held: 'yes' },
      { ...whole.bans[0], extra: 1 },
    ];
    const damaged = [
      '',
      '{"format":1}',
      '{"format":2,"bans":[]}',
      ...others.map((ban) => JSON.stringify({ format: 1, bans: [ban] })),
    ];
    for (const text of damaged) {
      await fs.writeFile(fileOfBans(), text);
      await expect(startCoordinator('--out', folder, '--resume')).rejects.toMatchObject({
        ...{ code: 'cannot_read', remedy: 'Correct the file, or move it away: nobody is banned then.' },
      });
    }
  });

  it('of another run in the folder are none of a new run', async () => {
    await findLiar();
    await coordinator.stop();
    for (const name of await fs.readdir(folder))
      if (name !== 'bans.json') await fs.rm(path.join(folder, name), { recursive: true });
    coordinator = await startCoordinator('--out', folder, '--volunteer-token', VOLUNTEERS);
    expect(await bansNow()).toEqual([]);
    while (await fs.stat(fileOfBans()).catch(() => undefined)) await delay(20);
  });

  it('are those of before when the run goes back in the same process, although the file has not been written', async () => {
    await start('--rounds=1000000', '--checkpoint-every=5');
    // A folder is where the file is written before it gets its name.
    await fs.mkdir(path.join(folder, `.bans.json.tmp-${process.pid}`));
    coordinator.join('honest', { token: VOLUNTEERS });
    await coordinator.join('liar', { token: VOLUNTEERS, lie: flipped }).done;
    const unsaved = (event: RunEvent) => event.event === 'note' && /list of bans is not stored/.test(event.text);
    while (!coordinator.events.some(unsaved)) await delay(20);
    await coordinator.event('checkpoint');
    expect((await coordinator.steer({ action: 'back' })).json).toMatchObject({ ok: true });
    const starts = () => coordinator.events.filter(({ event }) => event === 'started').length;
    while (starts() < 2) await Promise.race([delay(20), coordinator.ended]);
    expect(await bansNow()).toEqual([expect.objectContaining({ name: 'liar' })]);
  });
});
